"""The public names, for editors and type checkers; `__init__.py` imports each at its first use."""

from planners.algorithms.categorical_cem import CategoricalCEM as CategoricalCEM
from planners.algorithms.cem import CEM as CEM
from planners.algorithms.gaussian_base import GaussianSearch as GaussianSearch
from planners.algorithms.gradient import GradientDescent as GradientDescent
from planners.algorithms.icem import ICEM as ICEM
from planners.algorithms.mppi import MPPI as MPPI
from planners.algorithms.predictive_sampling import PredictiveSampling as PredictiveSampling
from planners.algorithms.random_shooting import RandomShooting as RandomShooting
from planners.bounds import Fixed as Fixed
from planners.energies.action import ActionPenalty as ActionPenalty
from planners.energies.action import Smoothness as Smoothness
from planners.energies.goal import GoalCosine as GoalCosine
from planners.energies.goal import GoalL1 as GoalL1
from planners.energies.goal import GoalL2 as GoalL2
from planners.energies.read_state import ReadStateGoal as ReadStateGoal
from planners.energies.state import StateGoal as StateGoal
from planners.errors import PlannerError as PlannerError
from planners.protocols import Context as Context
from planners.protocols import Energy as Energy
from planners.protocols import Iteration as Iteration
from planners.protocols import Plan as Plan
from planners.protocols import Planner as Planner
from planners.protocols import WorldModel as WorldModel
from planners.protocols import energy_for as energy_for
from planners.registry import build_energy as build_energy
from planners.registry import build_planner as build_planner
from planners.registry import register_energy as register_energy
from planners.registry import register_planner as register_planner
from planners.sampling import make_generators as make_generators
from planners.search_loop import Search as Search
from planners.wrappers.background import Action as Action
from planners.wrappers.background import BackgroundPlanner as BackgroundPlanner
from planners.wrappers.proposals import ProposalPlanner as ProposalPlanner
from planners.wrappers.receding_horizon import Latency as Latency
from planners.wrappers.receding_horizon import RecedingHorizon as RecedingHorizon
from planners.wrappers.receding_horizon import shift as shift
from planners.wrappers.replicas import Replicas as Replicas
from planners.wrappers.subgoals import SubGoals as SubGoals

__all__: list[str]

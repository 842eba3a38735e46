"""Planners over world models: they see an opaque context, never an encoder or a simulator.

model: WorldModel                     # action_low, action_high, encode, encode_goal, rollout
planner = RecedingHorizon(CEM(model, energy=GoalL1(), horizon=2, num_samples=128, num_elites=10))
goal = model.encode_goal(goal_frames)
generators = make_generators([0])     # one a problem
plan = planner.plan(model.encode(frames, states), goal, generators=generators)
action = plan.actions[:, 0]
"""

from planners.algorithms.cem import CEM
from planners.algorithms.gradient import GradientDescent
from planners.algorithms.icem import ICEM
from planners.algorithms.mppi import MPPI
from planners.algorithms.predictive_sampling import PredictiveSampling
from planners.algorithms.random_shooting import RandomShooting
from planners.bounds import Fixed
from planners.energies.action import ActionPenalty, Smoothness
from planners.energies.goal import GoalCosine, GoalL1, GoalL2
from planners.energies.state import StateGoal
from planners.errors import PlannerError
from planners.protocols import Context, Energy, Iteration, Plan, Planner, WorldModel
from planners.sampling import make_generators
from planners.wrappers.background import Action, BackgroundPlanner
from planners.wrappers.proposals import Proposing
from planners.wrappers.receding_horizon import Latency, RecedingHorizon, shift
from planners.wrappers.replicas import Replicas
from planners.wrappers.subgoals import SubGoals

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Action",
    "ActionPenalty",
    "BackgroundPlanner",
    "Context",
    "Fixed",
    "GoalCosine",
    "GoalL1",
    "GoalL2",
    "GradientDescent",
    "Iteration",
    "Latency",
    "Energy",
    "Plan",
    "Planner",
    "PlannerError",
    "PredictiveSampling",
    "Proposing",
    "RandomShooting",
    "RecedingHorizon",
    "Replicas",
    "Smoothness",
    "StateGoal",
    "SubGoals",
    "WorldModel",
    "make_generators",
    "shift",
]

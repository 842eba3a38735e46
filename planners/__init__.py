"""Planners over world models: they see an opaque context, never an encoder or a simulator.

model: WorldModel                     # action_low, action_high, encode, encode_goal, rollout
planner = RecedingHorizon(CEM(model, objective=GoalL1(), horizon=2, num_samples=128, num_elites=10))
goal = model.encode_goal(goal_frames)
generators = make_generators([0])     # one a problem
plan = planner.plan(model.encode(frames, states), goal, generators=generators)
action = plan.actions[:, 0]
"""

from planners.action_objectives import ActionPenalty, Smoothness
from planners.background import Action, BackgroundPlanner
from planners.box import Fixed
from planners.cem import CEM
from planners.errors import PlannerError
from planners.gradient import GradientDescent
from planners.icem import ICEM
from planners.mppi import MPPI
from planners.objectives import GoalCosine, GoalL1, GoalL2
from planners.predictive_sampling import PredictiveSampling
from planners.proposing import Proposing
from planners.protocols import Context, Iteration, Objective, Plan, Planner, WorldModel
from planners.random_shooting import RandomShooting
from planners.receding_horizon import Latency, RecedingHorizon, shift
from planners.replicas import Replicas
from planners.sampling import make_generators
from planners.state_objectives import StateGoal
from planners.subgoals import SubGoals

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
    "Objective",
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

"""Planners over world models: they see an opaque context, never an encoder or a simulator.

model: WorldModel                     # action_low, action_high, encode, encode_goal, rollout
planner = RecedingHorizon(CEM(model, objective=GoalL1(), horizon=2, num_samples=128, num_elites=10))
goal = model.encode_goal(goal_frames)
generators = make_generators([0])     # one a problem
plan = planner.plan(model.encode(frames, states), goal, generators=generators)
action = plan.actions[:, 0]
"""

from planners.cem import CEM
from planners.errors import PlannerError
from planners.objectives import GoalL1
from planners.proposing import Proposing
from planners.protocols import Context, Iteration, Objective, Plan, Planner, WorldModel
from planners.receding_horizon import RecedingHorizon, shift
from planners.sampling import make_generators

__all__ = [
    "CEM",
    "Context",
    "GoalL1",
    "Iteration",
    "Objective",
    "Plan",
    "Planner",
    "PlannerError",
    "Proposing",
    "RecedingHorizon",
    "WorldModel",
    "make_generators",
    "shift",
]

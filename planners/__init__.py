"""Planners over world models. A planner never reads the content of a context: no encoder, no simulator is needed.

model: WorldModel                     # action_low, action_high, encode, encode_goal, rollout
planner = RecedingHorizon(CEM(model, energy=GoalL1(), horizon=2, num_samples=128, num_elites=10))
goal = model.encode_goal(goal_frames)
generators = make_generators([0])     # one for each problem
plan = planner.plan(model.encode(frames, states), goal, generators=generators)
action = plan.actions[:, 0]

Names are imported at their first use, so that `planners.config` and `planners.registry` stay free of torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from planners.registry import build_energy, build_planner, register_energy, register_planner
    from planners.sampling import make_generators
    from planners.search import Search
    from planners.wrappers.background import Action, BackgroundPlanner
    from planners.wrappers.proposals import ProposalPlanner
    from planners.wrappers.receding_horizon import Latency, RecedingHorizon, shift
    from planners.wrappers.replicas import Replicas
    from planners.wrappers.subgoals import SubGoals

_MODULES = {
    "algorithms.cem": ("CEM",),
    "algorithms.gradient": ("GradientDescent",),
    "algorithms.icem": ("ICEM",),
    "algorithms.mppi": ("MPPI",),
    "algorithms.predictive_sampling": ("PredictiveSampling",),
    "algorithms.random_shooting": ("RandomShooting",),
    "bounds": ("Fixed",),
    "energies.action": ("ActionPenalty", "Smoothness"),
    "energies.goal": ("GoalCosine", "GoalL1", "GoalL2"),
    "energies.state": ("StateGoal",),
    "errors": ("PlannerError",),
    "protocols": ("Context", "Energy", "Iteration", "Plan", "Planner", "WorldModel"),
    "registry": ("build_energy", "build_planner", "register_energy", "register_planner"),
    "sampling": ("make_generators",),
    "search": ("Search",),
    "wrappers.background": ("Action", "BackgroundPlanner"),
    "wrappers.proposals": ("ProposalPlanner",),
    "wrappers.receding_horizon": ("Latency", "RecedingHorizon", "shift"),
    "wrappers.replicas": ("Replicas",),
    "wrappers.subgoals": ("SubGoals",),
}
_MODULE_OF = {name: f"planners.{module}" for module, names in _MODULES.items() for name in names}

__all__ = [
    "CEM",
    "ICEM",
    "MPPI",
    "Action",
    "ActionPenalty",
    "BackgroundPlanner",
    "Context",
    "Energy",
    "Fixed",
    "GoalCosine",
    "GoalL1",
    "GoalL2",
    "GradientDescent",
    "Iteration",
    "Latency",
    "Plan",
    "Planner",
    "PlannerError",
    "PredictiveSampling",
    "ProposalPlanner",
    "RandomShooting",
    "RecedingHorizon",
    "Replicas",
    "Search",
    "Smoothness",
    "StateGoal",
    "SubGoals",
    "WorldModel",
    "build_energy",
    "build_planner",
    "make_generators",
    "register_energy",
    "register_planner",
    "shift",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'planners' has no attribute '{name}'; it has: {', '.join(__all__)}")
    value = getattr(importlib.import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

"""Planners over world models. A planner never reads the content of a context: no encoder, no simulator is needed.

model: WorldModel                     # action_low, action_high, encode, encode_goal, rollout
planner = RecedingHorizon(CEM(model, energy=GoalL1(), horizon=2, num_samples=128, num_elites=10))
goal = model.encode_goal(goal_frames)
generators = make_generators([0])     # one for each problem
plan = planner.plan(model.encode(frames, states), goal, generators=generators)
action = plan.actions[:, 0]

The public names are listed in `__init__.pyi`; each is imported at its first use, so that `planners.config` and
`planners.registry` stay free of torch.
"""

from __future__ import annotations

import functools
import importlib
import re
from pathlib import Path
from typing import Any


@functools.cache
def _modules() -> dict[str, str]:
    """Return the module of each public name."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    found = re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE)
    return {name: module for module, name in found}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*_modules()]
    if name not in _modules():
        raise AttributeError(f"module 'planners' has no attribute '{name}'; it has: {', '.join(_modules())}")
    value = getattr(importlib.import_module(_modules()[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_modules()})

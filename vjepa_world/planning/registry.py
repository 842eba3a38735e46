"""The planners and energies that a configuration selects by `kind`: those of `planners` and those of plugins.

A plugin registers with `planners.register_planner` and `planners.register_energy`.
"""

from __future__ import annotations

from typing import Any

import planners.registry
from vjepa_world.registry import Registry

PLANNERS: Registry[Any] = Registry("planner", also=planners.registry.PLANNERS)
ENERGIES: Registry[Any] = Registry("energy", also=planners.registry.ENERGIES)

"""The adapters by their config groups, with the package that each is for."""

from __future__ import annotations

import gymnasium
import pytest
import yaml

import vjepa_world.environments.adapters  # noqa: F401  (registers the ids)
from tests.paths import REPO
from vjepa_world.environments.adapters.base import AdaptedEnv
from vjepa_world.environments.config import EnvConfig

#: Package by config group.
PACKAGES = {
    "fetch_reach": "gymnasium_robotics",
    "fetch_push": "gymnasium_robotics",
    "fetch_pick_and_place": "gymnasium_robotics",
    "dmc_reacher": "dm_control",
    "ogbench_cube": "ogbench",
    "pusht": "gym_pusht",
}


def group(name: str) -> EnvConfig:
    """Return the configuration of a group."""
    return EnvConfig(**yaml.safe_load((REPO / "configs" / "env" / f"{name}.yaml").read_text()))


def adapted(name: str) -> AdaptedEnv:
    """Return a group's environment, or skip the test where its package is missing."""
    pytest.importorskip(PACKAGES[name])
    made = gymnasium.make(group(name).id.rpartition(":")[2], disable_env_checker=True).unwrapped
    assert isinstance(made, AdaptedEnv)
    return made

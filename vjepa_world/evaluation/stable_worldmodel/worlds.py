"""The four worlds of stable-worldmodel that published results are from, and what is particular about each.

Legend: T steps of an episode.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium

from vjepa_world.errors import ConfigError, InstallationError, nearest
from vjepa_world.evaluation.stable_worldmodel import strict
from vjepa_world.system.packages import load_triton_before_opengl

#: How the package is installed: it asks for torchvision and data formats that this does not need.
INSTALL = "pip install --no-deps stable-worldmodel==0.1.1, and what docs/stable_worldmodel.md lists"


@dataclass(frozen=True, kw_only=True)
class WorldSpec:
    """A world.

    Attributes:
        env_id: Its Gymnasium id.
        state: Columns of its infos that are the robot's state.
        callables: How an episode is put into a recorded start with a recorded goal, as `World.evaluate` takes it.
        criterion: The strict one.
        kwargs: Arguments of the environment.
        recording_kwargs: Others while data is recorded.
        behaviour: `module:class` of the policy that the package records with.
        behaviour_kwargs: Its arguments besides the seed.
        has_size: Whether the environment takes the size of its images.
    """

    env_id: str
    state: tuple[str, ...]
    callables: tuple[Mapping[str, Any], ...]
    criterion: strict.Criterion
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    recording_kwargs: Mapping[str, Any] = field(default_factory=dict)
    behaviour: str = "stable_worldmodel.policy:RandomPolicy"
    behaviour_kwargs: Mapping[str, Any] = field(default_factory=dict)
    has_size: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the criterion looks at."""
        return self.criterion.columns

    def make_behaviour(self, seed: int) -> Any:
        """Return the package's policy for recording."""
        module, _, name = self.behaviour.partition(":")
        return getattr(importlib.import_module(module), name)(seed=seed, **self.behaviour_kwargs)

    def make(
        self,
        count: int,
        image_size: int,
        max_steps: int,
        *,
        recording: bool,
        extra_wrappers: Sequence[Any] = (),
    ) -> Any:
        """Return a `stable_worldmodel.World` of `count` environments.

        Raises:
            InstallationError: If the package or one that it needs cannot be imported.
        """
        load_triton_before_opengl()
        kwargs = {**self.kwargs, **(self.recording_kwargs if recording else {})}
        if self.has_size:
            kwargs |= {"width": image_size, "height": image_size}
        return package().World(
            self.env_id,
            num_envs=count,
            image_shape=(image_size, image_size),
            max_episode_steps=max_steps,
            pre_wrappers=[QuickPictures],
            extra_wrappers=list(extra_wrappers),
            **kwargs,
        )


def package() -> Any:
    """Return the module `stable_worldmodel`.

    Raises:
        InstallationError: If it cannot be imported.
    """
    try:
        return importlib.import_module("stable_worldmodel")
    except ImportError as error:
        raise InstallationError(
            f"stable-worldmodel cannot be imported ({type(error).__name__}: {error}); install it: {INSTALL}."
        ) from error


class QuickPictures(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Renders MuJoCo's scenes without shadows, and of OGBench without multisampling, which take most of the time."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Reset; the settings hold from the first picture on."""
        found = self.env.reset(**kwargs)
        inner: Any = self.env.unwrapped
        if hasattr(inner, "_model"):
            inner._model.vis.quality.shadowsize = inner._model.vis.quality.offsamples = 0
        elif hasattr(inner, "dmc_env"):
            # dm_control's own renderer returns garbage without multisampling.
            inner.dmc_env.physics.model.vis.quality.shadowsize = 0
        return found


def _call(method: str, **columns: str) -> dict[str, Any]:
    return {"method": method, "args": {name: {"value": column} for name, column in columns.items()}}


_CUBE_TARGET = {
    "cube_id": {"value": 0, "in_dataset": False},
    "target_pos": {"value": "goal_privileged/block_0_pos"},
    "target_quat": {"value": "goal_privileged/block_0_quat"},
}

#: Worlds by name. Ids, arguments and callables are those of the package's `scripts/plan/config`.
WORLDS: dict[str, WorldSpec] = {
    "push_t": WorldSpec(
        env_id="swm/PushT-v1",
        state=("proprio",),
        callables=(_call("_set_state", state="state"), _call("_set_goal_state", goal_state="goal_state")),
        criterion=strict.PushT(),
        behaviour="stable_worldmodel.envs.pusht.expert_policy:WeakPolicy",
        behaviour_kwargs={"dist_constraint": 100},
    ),
    "two_room": WorldSpec(
        env_id="swm/TwoRoom-v1",
        state=("proprio",),
        callables=(_call("_set_state", state="state"), _call("_set_goal_state", goal_state="goal_state")),
        criterion=strict.TwoRoom(),
        behaviour="stable_worldmodel.envs.two_room:ExpertPolicy",
        behaviour_kwargs={"action_noise": 2.0, "action_repeat_prob": 0.05},
    ),
    "reacher": WorldSpec(
        env_id="swm/ReacherDMControl-v0",
        state=("qpos", "qvel"),
        callables=(
            _call("set_state", qpos="qpos", qvel="qvel"),
            _call("set_target_qpos", target_qpos="goal_qpos"),
        ),
        criterion=strict.Reacher(),
        kwargs={"task": "qpos_match"},
        recording_kwargs={"task": "hard"},
    ),
    "cube": WorldSpec(
        env_id="swm/OGBCube-v0",
        state=("proprio/effector_pos", "proprio/effector_yaw", "proprio/gripper_opening"),
        callables=(
            _call("set_state", qpos="qpos", qvel="qvel"),
            {"method": "set_target_pos", "args": _CUBE_TARGET},
        ),
        criterion=strict.Cube(),
        kwargs={"env_type": "single", "ob_type": "states", "visualize_info": False},
        recording_kwargs={"terminate_at_goal": False, "mode": "data_collection"},
        behaviour="stable_worldmodel.envs.ogbench.expert_policy:ExpertPolicy",
        has_size=True,
    ),
}


def world_spec(name: str) -> WorldSpec:
    """Return a world by name.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in WORLDS:
        raise ConfigError(f"'{name}' is no world of stable-worldmodel that is known; {nearest(name, WORLDS)}")
    return WORLDS[name]

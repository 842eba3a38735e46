"""No motion as an environment defines it: the policy, and when it is a control."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from vjepa_world.cli.shared.closed_loop_controls import HOLD, ControlsConfig, build_controls
from vjepa_world.evaluation.closed_loop.hold_policy import EnvHoldPolicy
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.planning.policy import HoldPolicy, Problem


class Targets:
    """An environment whose actions are places to go to, in a frame of its own."""

    def __init__(self, offset: float) -> None:
        self.offset = offset
        self.unwrapped = self

    def hold(self, observation: dict[str, np.ndarray]) -> np.ndarray:
        return observation["state"] - self.offset


def test_each_environment_says_what_no_motion_is_and_ended_ones_are_left_out() -> None:
    policy = EnvHoldPolicy()
    rng = np.random.default_rng(0)
    image = np.zeros((8, 8, 3), np.uint8)
    policy.reset([Problem(image, rng, Targets(offset)) for offset in (0.0, 1.0, 2.0)])
    states = [{"state": np.array([x, 5.0])} for x in (3.0, 4.0, 5.0)]
    assert policy.act(states).tolist() == [[3, 5], [3, 4], [3, 3]]
    policy.select([0, 2])
    actions = policy.act([states[0], states[2]])
    assert actions.tolist() == [[3, 5], [3, 3]] and actions.dtype == np.float32


def controls(env: Any, meaning: str | None) -> Any:
    wanted = ControlsConfig(inverse=False, expert=False)
    planning: Any = None
    load: Any = None
    if meaning is None:
        return build_controls(wanted, env, None, planning, load)
    robot = EmbodimentConfig(action_dim=2, state_dim=2, numbers="given", actions=meaning)
    low = torch.zeros(2)
    model = SimpleNamespace(action_low=low, robot=robot)
    policy: Any = SimpleNamespace(model=model, action_low=low.numpy(), action_high=low.numpy() + 1)
    return build_controls(wanted, env, policy, planning, load)


def test_the_environment_is_asked_where_the_data_does_not_say_what_an_action_is() -> None:
    assert isinstance(controls(Targets(0.0), "given").policies[HOLD], EnvHoldPolicy)
    assert isinstance(controls(Targets(0.0), "delta").policies[HOLD], HoldPolicy)
    without = controls(SimpleNamespace(), "given")
    assert HOLD not in without.policies
    assert without.left_out[HOLD].startswith("left out: the data does not say what an action is")


def test_no_motion_needs_no_model_where_the_environment_defines_it() -> None:
    assert [*controls(Targets(0.0), None).policies] == [HOLD]
    assert not controls(SimpleNamespace(), None).policies

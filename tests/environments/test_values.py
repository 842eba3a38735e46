"""What an environment reports, of any type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.environments import toys
from vjepa_world.environments.config import EnvConfig
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.goal_env import GoalEnv
from vjepa_world.environments.observed import ObservedEnv
from vjepa_world.environments.recording import Recorder
from vjepa_world.environments.values import flag, flags, labels, number, vector

CONFIG = EnvConfig(id="tests.environments.toys:toys/Point-v0", image_size=32)


@pytest.mark.parametrize(
    "value", [True, np.bool_(True), 1, np.float32(1), np.array([True]), np.array(1), [1.0]]
)
def test_flags_of_usual_types(value: Any) -> None:
    assert flag(value, "it") is True
    assert flag(np.logical_not(value), "it") is False


@pytest.mark.parametrize("value", ["False", "", None, float("nan"), 0.5, 2, np.array([True, True]), [], {}])
def test_what_is_no_flag_is_refused(value: Any) -> None:
    with pytest.raises(EnvironmentFailure, match=r"it is .*; allowed are True and False, or 1 and 0"):
        flag(value, "it")


def test_numbers() -> None:
    assert number(np.array([0.5], np.float32), "it") == 0.5
    assert np.isnan(number(float("nan"), "it"))
    for value in ("far", None, np.zeros(2)):
        with pytest.raises(EnvironmentFailure, match=r"it is .*; allowed is one real number"):
            number(value, "it")


def test_vectors() -> None:
    np.testing.assert_array_equal(vector([[1, 2.5]], "it"), np.array([1, 2.5], np.float32))
    for value in ("here", ["a"], [None, 1], [[1], [1, 2]]):
        with pytest.raises(EnvironmentFailure, match=r"it is .*; allowed are real numbers"):
            vector(value, "it")
    for endless in ([np.nan], [1e300]):
        with pytest.raises(EnvironmentFailure, match="it is not finite"):
            vector(endless, "it")


def test_labels_become_values_of_json() -> None:
    found = labels({"a": np.bool_(True), "b": np.float32(0.5), "c": np.str_("x"), "d": 3}, "it")
    assert found == {"a": True, "b": 0.5, "c": "x", "d": 3.0}
    assert {type(value) for value in found.values()} == {bool, float, str}
    for value in (None, np.zeros(2), float("nan"), [1, 2]):
        with pytest.raises(EnvironmentFailure, match=r"it\['a'\] is .*; allowed are True and False, texts"):
            labels({"a": value}, "it")
    with pytest.raises(EnvironmentFailure, match="allowed is a dictionary of labels"):
        labels(["a"], "it")
    with pytest.raises(EnvironmentFailure, match=r"it is True .*; allowed is a list of True and False"):
        flags(True, "it")


def reporting(monkeypatch: pytest.MonkeyPatch, change: Any) -> GoalEnv:
    """Return a point whose info is changed by `change(info, step)`, or whose key is a value of a dictionary."""
    original = toys.Point.info

    def info(self: toys.Point) -> dict[str, Any]:
        found = original(self)
        return {**found, **change} if isinstance(change, dict) else change(found, self.steps)

    monkeypatch.setattr(toys.Point, "info", info)
    env = CONFIG.make()
    assert isinstance(env, GoalEnv)
    return env


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"success": "False"}, r"info\['success'\] is 'False' \(str\)"),
        ({"distance": "far"}, r"info\['distance'\] is 'far'"),
        ({"contact": "no"}, r"info\['contact'\] is 'no'"),
        ({"factors": ["a"]}, r"info\['factors'\] is \['a'\]"),
        ({"goal_state": "here"}, r"the goal's state is 'here'"),
        ({"redrawn_scenes": "many"}, r"info\['redrawn_scenes'\] is 'many'"),
    ],
)
def test_a_wrong_value_of_an_info_is_named(
    info: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EnvironmentFailure, match=message):
        reporting(monkeypatch, info)


def test_infos_that_change_within_an_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    env = reporting(monkeypatch, lambda info, step: {} if step == 2 else info)
    env.reset(seed=0)
    env.step(np.zeros(2))
    message = r"at step 2: info has no success or is_success, only nothing, and had it before"
    with pytest.raises(EnvironmentFailure, match=message):
        env.step(np.zeros(2))
    monkeypatch.undo()
    env = reporting(monkeypatch, lambda info, step: {**info, "subgoals_reached": [False] * (1 + step // 2)})
    env.reset(seed=0)
    assert env.step(np.zeros(2))[4]["subgoals_reached"].tolist() == [False]
    with pytest.raises(EnvironmentFailure, match=r"has 2 flags after step 2, and had 1 before"):
        env.step(np.zeros(2))


def test_a_label_that_is_no_flag_ends_a_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder.of(CONFIG)
    monkeypatch.setattr(toys.Point, "info", lambda self: {"contact": "no"})
    with pytest.raises(
        EnvironmentFailure, match=r"episode 4 \(seed 0\): info\['contact'\] after step 0 is 'no'"
    ):
        recorder.record(Still(), seed=0, rng=np.random.default_rng(0), steps=2, index=4)


class Still:
    """Does nothing."""

    summary = "nothing"

    def reset(self, env: Any, rng: np.random.Generator) -> None:
        pass

    def act(self, observation: Any) -> np.ndarray:
        return np.zeros(2, np.float32)


@pytest.mark.parametrize(
    ("method", "returned", "message"),
    [
        (
            "reset",
            {"image": 0, "state": 1},
            r"at reset: reset returned a dict; allowed is \(observation, info\)",
        ),
        (
            "step",
            (0, 0.0, False, {}),
            r"at step 1: step returned 4 values; allowed is \(observation, reward, te",
        ),
        ("step", None, r"step returned a NoneType"),
        ("step", ({}, None, False, False, {}), r"at step 1: the reward is None"),
        ("step", ({}, 0.0, "no", False, {}), r"at step 1: terminated is 'no'"),
    ],
)
def test_what_steps_and_resets_return(
    method: str, returned: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = CONFIG.make(goals=False)
    monkeypatch.setattr(toys.Point, method, lambda self, *args, **options: returned)
    with pytest.raises(EnvironmentFailure, match=message):
        env.reset() if method == "reset" else env.step(np.zeros(2))


def test_an_error_at_closing_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def close(self: toys.Point) -> None:
        raise RuntimeError("the window is gone")

    monkeypatch.setattr(toys.Point, "close", close)
    CONFIG.make().close()
    assert "toys/Point-v0 at step 1: close raised RuntimeError" in caplog.text


def test_a_state_keeps_its_size_and_an_exit_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    env = CONFIG.make(goals=False)
    assert isinstance(env, ObservedEnv)
    original = toys.Point.observation

    def longer(self: toys.Point) -> dict[str, Any]:
        return {**original(self), "state": np.zeros(3)}

    monkeypatch.setattr(toys.Point, "observation", longer)
    with pytest.raises(EnvironmentFailure, match=r"the state has shape \[3\], and had \[2\] before"):
        env.step(np.zeros(2))

    def leave(self: toys.Point, action: Any) -> Any:
        raise SystemExit(0)

    monkeypatch.setattr(toys.Point, "step", leave)
    with pytest.raises(EnvironmentFailure, match=r"step raised SystemExit"):
        env.step(np.zeros(2))

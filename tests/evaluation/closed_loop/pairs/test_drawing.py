from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.pairs.drawing import check_reproduced, draw_pairs
from vjepa_world.evaluation.closed_loop.pairs.manifest import Manifest, read_manifest
from vjepa_world.evaluation.statistics import EvaluationError

ENVIRONMENT = {"id": "Box-v0", "variation": "test", "image_size": 32, "camera": None}


class DriverEnv(BoxEnv):
    """Draws all pictures a little differently, as another graphics driver does: `off` of 255 in every tenth pixel."""

    def __init__(self, off: int, shift_m: float = 0.0) -> None:
        super().__init__()
        self.off, self.shift_m = off, shift_m

    def reset(self, **given: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        observation, info = super().reset(**given)
        observation["image"].reshape(-1)[::10] ^= self.off
        return observation | {"state": observation["state"] + np.float32(self.shift_m)}, info


def test_pairs_solved_at_reset_are_left_out_and_counted() -> None:
    env = BoxEnv(near=0.5)
    drawn = draw_pairs(env, seed=5, n=30)
    tried = list(env.seeds)
    assert tried == np.random.SeedSequence(5).generate_state(len(tried)).tolist()
    solved = [s for s in tried if env.reset(seed=s)[1]["success"]]
    assert 5 < len(solved) < 60
    assert [pair.seed for pair in drawn.pairs] == [s for s in tried if s not in solved]
    assert drawn.solved_at_reset == len(solved)


def test_more_pairs_start_with_the_same_ones() -> None:
    env = BoxEnv(near=0.3)
    assert draw_pairs(env, seed=1, n=12).pairs[:5] == draw_pairs(env, seed=1, n=5).pairs
    assert draw_pairs(env, seed=1, n=5) != draw_pairs(env, seed=2, n=5)


def test_a_task_that_is_always_solved_at_reset_is_refused() -> None:
    with pytest.raises(
        EvaluationError, match="only 0 of 30 seeds drawn from seed 0 begin unsolved, 3 were requested"
    ):
        draw_pairs(BoxEnv(near=1.0), seed=0, n=3)
    with pytest.raises(EvaluationError, match="0 episodes were requested"):
        draw_pairs(BoxEnv(), seed=0, n=0)


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path) -> None:
    drawn = draw_pairs(BoxEnv(near=0.3), seed=1, n=4)
    options = Pair(drawn.pairs[0].seed, {"start": [0.1, 0.2]}, episode="ab12")
    drawn = dataclasses.replace(drawn, pairs=[options, *drawn.pairs[1:]])
    Manifest(ENVIRONMENT, drawn, seed=1).write(tmp_path / "manifest.json")
    for path in (tmp_path, tmp_path / "manifest.json"):
        read = read_manifest(path)
        assert (read.environment, read.pairs, read.seed) == (ENVIRONMENT, drawn, 1)
        read.check_environment(ENVIRONMENT)
    assert check_reproduced(BoxEnv(near=0.3), read.pairs)


def test_a_manifest_of_another_task_is_refused_with_the_words_that_fit_it() -> None:
    manifest = Manifest(ENVIRONMENT, draw_pairs(BoxEnv(), 0, 1))
    with pytest.raises(
        EvaluationError,
        match=r"another task or environment: env.camera is 'wrist', the manifest's None; env.id is 'Push-v0', the "
        r"manifest's 'Box-v0'. .* with env.camera=null env.id=Box-v0, or draw new pairs",
    ):
        manifest.check_environment(ENVIRONMENT | {"id": "Push-v0", "camera": "wrist"})


def test_a_manifest_that_repeats_a_pair_is_refused_with_the_count() -> None:
    drawn = draw_pairs(BoxEnv(), 0, 3)
    Manifest(ENVIRONMENT, drawn).check_distinct()
    other_start = Pair(drawn.pairs[0].seed, {"start": [0.1, 0.2]})
    pairs = [*drawn.pairs, other_start, drawn.pairs[1], Pair(other_start.seed, dict(other_start.options))]
    repeated = dataclasses.replace(drawn, pairs=pairs, appearances=[*drawn.appearances] * 2)
    with pytest.raises(
        EvaluationError,
        match=rf"repeats 2 of 6 pairs: pair 4 \(seed {pairs[1].seed}\) is the same as pair 1\. .*remove the repeated",
    ):
        Manifest(ENVIRONMENT, repeated).check_distinct()


def test_an_environment_that_has_changed_is_noticed_and_another_driver_is_not() -> None:
    drawn = draw_pairs(BoxEnv(), 0, 3)
    assert check_reproduced(BoxEnv(), drawn) is True
    assert check_reproduced(DriverEnv(off=3), drawn) is False
    with pytest.raises(
        EvaluationError, match=r"pair 0 of 3 pairs \(seed \d+\) is not reproduced: the start image differs"
    ):
        check_reproduced(DriverEnv(off=128), drawn)
    with pytest.raises(
        EvaluationError, match=r"the start state differs \(a number by 0.01\). The environment"
    ):
        check_reproduced(DriverEnv(off=0, shift_m=0.01), drawn)

    class Moved(BoxEnv):
        def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
            observation, info = super().reset(**given)
            return observation, info | {"goal_image": np.roll(info["goal_image"], 3, axis=1)}

    with pytest.raises(EvaluationError, match="the goal image differs"):
        check_reproduced(Moved(), drawn)
    with pytest.raises(EvaluationError, match="solved at the reset"):
        check_reproduced(BoxEnv(near=1.0), drawn)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "other"},
            "has format 'other' and version 1; allowed is 'vjepa-world evaluation pairs', version 1",
        ),
        ({"version": 2}, "version 2; allowed is 'vjepa-world evaluation pairs', version 1"),
        ({"pairs": []}, "has no pairs; evaluate again to write it"),
        ({"pairs": [{"seed": 1}]}, r"appearance is malformed \('digest'\)"),
        ({"pairs": [{"seed": "x"}]}, r"is malformed \(seed is 'x', and allowed are whole numbers from 0\)"),
        ({"pairs": [{"seed": 1.5}]}, r"seed is 1.5, and allowed"),
        ({"pairs": [{"seed": -1}]}, r"seed is -1, and allowed"),
        ({"pairs": [{"seed": float("inf")}]}, r"seed is inf, and allowed"),
        ({"pairs": [{"seed": 1, "episode": "zz"}]}, r"episode is 'zz', and allowed are hexadecimal numbers"),
        ({"pairs": [{}]}, "has no seed; evaluate again"),
        ({"solved_at_reset": float("inf")}, r"solved_at_reset is inf, and allowed"),
        ({"environment": 3}, "environment is 3; expected keys with values"),
    ],
)
def test_a_broken_manifest_is_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    Manifest(ENVIRONMENT, draw_pairs(BoxEnv(), 0, 1)).write(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(EvaluationError, match=message):
        read_manifest(path)


def test_a_state_of_a_manifest_is_finite(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    Manifest(ENVIRONMENT, draw_pairs(BoxEnv(), 0, 1)).write(path)
    stored = json.loads(path.read_text())
    stored["pairs"][0]["state"] = [float("nan")]
    path.write_text(json.dumps(stored))
    with pytest.raises(EvaluationError, match="its state has numbers that are not finite"):
        read_manifest(path)


def test_a_manifest_without_a_setting_has_no_words_for_it() -> None:
    manifest = Manifest(ENVIRONMENT, draw_pairs(BoxEnv(), 0, 1))
    with pytest.raises(EvaluationError, match=r"the manifest's None\. Draw new pairs without manifest="):
        manifest.check_environment(ENVIRONMENT | {"max_steps": 6})
    manifest = Manifest(ENVIRONMENT | {"cameras": ["a", "b"]}, draw_pairs(BoxEnv(), 0, 1))
    with pytest.raises(EvaluationError, match=r"with env.cameras=\[a,b\], or draw"):
        manifest.check_environment(ENVIRONMENT)


class ThreeRecordings(BoxEnv):
    """Draws one of three recorded episodes as start and goal, whatever the seed."""

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        episode = (options or {}).get("episode", (seed or 0) % 3)
        observation, info = super().reset(seed=episode)
        return observation, {**info, "options": {"episode": episode}}


def test_no_recorded_episode_is_drawn_twice(caplog: pytest.LogCaptureFixture) -> None:
    found = draw_pairs(ThreeRecordings(), 0, 50)
    assert sorted(pair.options["episode"] for pair in found.pairs) == [0, 1, 2]
    assert found.repeated >= 15
    assert "50 pairs requested, and there are only 3 different ones of start and goal: " in caplog.text

    caplog.clear()
    assert len(draw_pairs(ThreeRecordings(), 0, 2).pairs) == 2
    assert not caplog.text


def test_a_manifest_that_repeats_a_recorded_episode_is_refused() -> None:
    env = ThreeRecordings()
    drawn = draw_pairs(env, 0, 2)
    again = dataclasses.replace(drawn.pairs[0], seed=drawn.pairs[0].seed + 1, episode="ab")
    pairs = dataclasses.replace(
        drawn, pairs=[*drawn.pairs, again], appearances=[*drawn.appearances, drawn.appearances[0]]
    )
    with pytest.raises(EvaluationError, match=r"repeats 1 of 3 pairs: pair 2 .* is the same as pair 0"):
        Manifest(ENVIRONMENT, pairs).check_distinct()


def test_a_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EvaluationError, match="there is no manifest .*; give a manifest.json that evaluate wrote"
    ):
        read_manifest(tmp_path)

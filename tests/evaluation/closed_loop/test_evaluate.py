from __future__ import annotations

import dataclasses
import json
import tracemalloc
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.evaluation.closed_loop.attribution import environment_errors
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.episode import Episode, Recording
from vjepa_world.evaluation.closed_loop.evaluate import POLICY, RANDOM, EvaluationResult, evaluate
from vjepa_world.evaluation.closed_loop.pairs.drawing import draw_pairs
from vjepa_world.evaluation.closed_loop.summary import by_factor, difference, summarise
from vjepa_world.evaluation.statistics import EvaluationError, wilson_interval
from vjepa_world.planning.policy import RandomPolicy


def run_both(env: BoxEnv, n: int) -> EvaluationResult:
    return evaluate(env, CentroidPolicy(), episodes=n)


def made(index: int, *, success: bool = True, seed: int | None = None, **values: Any) -> Episode:
    return Episode(
        index=index,
        pair=Pair(index if seed is None else seed),
        success=success,
        held=success,
        initial_distance=1.0,
        distances=(0.5,),
        seconds_per_action=(0.1,),
        **values,
    )


def test_both_policies_run_the_same_episodes() -> None:
    shown: dict[tuple[str, int], Recording] = {}
    evaluate(
        BoxEnv(near=0.3),
        CentroidPolicy(),
        episodes=6,
        on_episode=lambda name, recording: shown.update({(name, recording.episode.index): recording}),
    )
    for index in range(6):
        a, b = shown[POLICY, index], shown[RANDOM, index]
        assert (a.episode.pair, a.episode.initial_distance) == (b.episode.pair, b.episode.initial_distance)
        assert np.array_equal(a.frames[0], b.frames[0])
        assert np.array_equal(a.goal_images[0], b.goal_images[0])


def test_the_summary_has_the_metrics() -> None:
    found = run_both(BoxEnv(near=0.3), 12)
    result = found.metrics()
    random = result["controls"][RANDOM]
    assert (result["episodes"], result["successes"], result["success_rate"]) == (12, 12, 1.0)
    assert (result["wilson_low"], result["wilson_high"]) == wilson_interval(12, 12)
    assert result["held"]["success_rate"] == 1.0
    assert random["success_rate"] == sum(e.success for e in found.controls[RANDOM]) / 12 < 0.7
    assert random["difference"]["value"] == 1.0 - random["success_rate"]
    assert result["solved_at_reset"] == draw_pairs(BoxEnv(near=0.3), 0, 12).solved_at_reset > 0
    assert result["final_distance"]["median"] == np.median([e.distances[-1] for e in found.episodes])
    assert result["final_distance"]["p90"] == np.percentile([e.distances[-1] for e in found.episodes], 90)
    assert 0 < result["seconds_per_action"]["p50"] <= result["seconds_per_action"]["p95"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (found.success_rate, found.interval) == (1.0, wilson_interval(12, 12))


def test_controls_run_on_the_same_pairs_or_the_first_ones_and_each_is_reported() -> None:
    reported: list[tuple[str, int]] = []
    found = evaluate(
        BoxEnv(),
        CentroidPolicy(),
        episodes=3,
        seed=2,
        controls={"again": CentroidPolicy(), "slow": CentroidPolicy()},
        only_first={"slow": 2},
        on_episode=lambda name, recording: reported.append((name, recording.episode.pair.seed)),
    )
    seeds = [pair.seed for pair in draw_pairs(BoxEnv(), 2, 3).pairs]
    full = [(name, seed) for name in (POLICY, RANDOM, "again") for seed in seeds]
    assert reported == full + [("slow", seed) for seed in seeds[:2]]
    metrics = found.metrics()
    assert metrics["controls"]["again"]["final_distance"] == metrics["final_distance"]
    assert metrics["controls"]["slow"]["difference"]["episodes"] == 2


def test_random_actions_fill_the_action_space_where_no_other_box_is_given() -> None:
    env = BoxEnv()
    evaluate(env, RandomPolicy(np.zeros(2), np.zeros(2)), episodes=4)
    actions = np.stack(env.actions)
    moved = actions[np.abs(actions).max(axis=1) > 0]
    assert moved.min() < -0.09 and moved.max() > 0.09 and np.abs(moved).max() <= np.float32(0.1)


def test_random_choices_are_drawn_alike_and_reach_the_environment_as_its_numbers() -> None:
    class Keys(BoxEnv):
        action_space = gymnasium.spaces.Discrete(4, start=2)  # type: ignore[assignment]
        keys: ClassVar = 0.1 * np.array([[1, 0], [-1, 0], [0, 1], [0, -1]], np.float32)

        def step(self, action: Any) -> Any:
            self.pressed = [*getattr(self, "pressed", []), action]
            return super().step(self.keys[action - 2])

    env, third = Keys(), np.eye(4)[2]
    found = evaluate(env, RandomPolicy(third, third), episodes=8)
    own = sum(episode.steps for episode in found.episodes)
    assert set(env.pressed[:own]) == {4}
    counts = np.bincount(env.pressed[own:], minlength=6)
    assert counts[:2].sum() == 0 and counts[2:].min() > 0.15 * counts.sum()


def test_an_action_space_that_is_neither_a_box_nor_choices_is_refused() -> None:
    class Several(BoxEnv):
        action_space = gymnasium.spaces.Dict(arm=BoxEnv.action_space)  # type: ignore[assignment]

    with pytest.raises(EvaluationError, match=r"action space is Dict.*; allowed are Box and Discrete. Wrap"):
        evaluate(Several(), CentroidPolicy(), episodes=1)


def test_episodes_that_run_together_are_the_same_and_in_order() -> None:
    alone, together = (
        evaluate([BoxEnv() for _ in range(count)], CentroidPolicy(), episodes=7) for count in (1, 3)
    )
    for ours, theirs in zip(alone.controls[RANDOM], together.controls[RANDOM], strict=True):
        assert (ours.pair, ours.distances) == (theirs.pair, theirs.distances)
    assert [episode.index for episode in together.episodes] == list(range(7))


def test_memory_does_not_grow_with_the_number_of_episodes() -> None:
    """A frame has 3 kB, an episode of 20 actions 60 kB; the numbers of an episode take less than 4."""

    class Forgetful(BoxEnv):
        def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
            self.actions, self.actions_of, self.seeds = [], {}, []
            return super().reset(**given)

    pairs = draw_pairs(BoxEnv(), 0, 100)
    still = RandomPolicy(np.zeros(2), np.zeros(2))

    def peak_bytes(count: int) -> int:
        first = dataclasses.replace(pairs, pairs=pairs.pairs[:count])
        tracemalloc.start()
        try:
            evaluate(Forgetful(), still, pairs=first, random_policy=still)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak_bytes(100) - peak_bytes(20) < 2 * 80 * 4000


def test_a_rate_is_broken_down_by_factors_that_differ() -> None:
    episodes = [
        made(k, success=k < 4, factors={"unseen": k % 2 == 0, "light": "dim", "turn": k / 8})
        for k in range(9)
    ]
    found = by_factor(episodes)
    assert set(found) == {"unseen", "turn"}  # the light is the same in all
    assert {value: (g["episodes"], g["successes"]) for value, g in found["unseen"].items()} == {
        "no": (4, 2),
        "yes": (5, 2),
    }
    assert [(g["episodes"], g["successes"]) for g in found["turn"].values()] == [(3, 3), (3, 1), (3, 0)]
    assert list(found["turn"]) == ["up to 0.333", "0.333 to 0.667", "above 0.667"]
    assert (found["unseen"]["no"]["wilson_low"], found["unseen"]["no"]["wilson_high"]) == wilson_interval(
        2, 4
    )


def test_subgoals_and_events_are_counted() -> None:
    names = ("grasped", "placed")
    episodes = [made(k, subgoals=(k > 0, k > 1), subgoal_names=names, events=("contact",)) for k in range(4)]
    found = summarise(episodes)
    assert [(s["name"], s["successes"], s["episodes"]) for s in found["subgoals"]] == [
        ("grasped", 3, 4),
        ("placed", 2, 4),
    ]
    assert found["events"] == {"contact": 4}


def test_distances_that_are_not_known_are_none() -> None:
    class Blind(BoxEnv):
        def _info(self) -> dict[str, Any]:
            return super()._info() | {"distance": float("nan")}

    metrics = run_both(Blind(), 2).metrics()
    assert metrics["final_distance"] == {"median": None, "p90": None}
    json.dumps(metrics, allow_nan=False)


def test_a_difference_over_other_pairs_is_refused() -> None:
    with pytest.raises(EvaluationError, match="2 episodes and 2 episodes were given, on different pairs"):
        difference([made(0), made(1)], [made(0), made(1, seed=7)])
    with pytest.raises(EvaluationError, match="1 episode and 1 episode were given, on no common pairs"):
        difference([made(0)], [made(1)])
    with pytest.raises(EvaluationError, match="0 episodes were given"):
        summarise([])


class SeedlessEnv(BoxEnv):
    """Draws starts and goals from its own generator, whatever the seed."""

    def __init__(self) -> None:
        super().__init__()
        self.rng = np.random.default_rng(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        return super().reset(seed=int(self.rng.integers(2**31)), options=options)


class FailingEnv(BoxEnv):
    """Raises at the third action of an episode."""

    def step(self, action: np.ndarray) -> Any:
        if self.taken == 2:
            raise RuntimeError("the motor is stuck")
        return super().step(action)


def test_an_environment_that_ignores_its_seed_is_refused() -> None:
    seed = draw_pairs(BoxEnv(), seed=0, n=1).pairs[0].seed
    with pytest.raises(
        EvaluationError,
        match=rf"pair 0 \(seed {seed}\) with {POLICY} is not the pair that was drawn: the start image differs.*"
        r"env\.reset\(seed=, options=\) must reproduce",
    ):
        run_both(SeedlessEnv(), 2)


def test_the_error_of_an_environment_names_pair_seed_and_policy() -> None:
    seed = draw_pairs(BoxEnv(), seed=0, n=1).pairs[0].seed
    with pytest.raises(
        EvaluationError,
        match=rf"pair 0 \(seed {seed}\) with {POLICY}, at action 3: the environment raised RuntimeError: the motor",
    ) as caught:
        evaluate(FailingEnv(), RandomPolicy(BoxEnv.action_low, BoxEnv.action_high), episodes=2)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_an_error_that_is_in_words_already_is_not_described_again() -> None:
    with (
        pytest.raises(
            EvaluationError, match="^pair 0, at action 3: step raised RuntimeError: the motor is stuck$"
        ),
        environment_errors("pair 0, at action 3"),
    ):
        raise EnvironmentFailure("step raised RuntimeError: the motor is stuck")

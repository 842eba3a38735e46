from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv
from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.data.trajectories.windows import fingerprint
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.pairs.appearance import Appearance
from vjepa_world.evaluation.closed_loop.pairs.drawing import Pairs, unsolved
from vjepa_world.evaluation.closed_loop.pairs.recorded import check_recorded, recorded_pairs, with_episodes
from vjepa_world.evaluation.statistics import EvaluationError


def dataset(lengths: list[int]) -> InMemoryDataset:
    """Episodes whose state is (episode, row)."""
    episodes = [
        EpisodeArrays(
            states=np.stack([np.full(length, k), np.arange(length)], axis=1).astype(np.float32),
            actions=np.zeros((length - 1, 2), np.float32),
        )
        for k, length in enumerate(lengths)
    ]
    return InMemoryDataset(episodes, fps=4.0)


def test_start_and_goal_are_the_first_and_last_state_of_each_episode() -> None:
    data = dataset([5, 3, 8])
    pairs = recorded_pairs(data, seed=0, goal_steps=0, n=10)
    found = {int(pair.options["start_state"][0]): pair for pair in pairs}
    assert len(pairs) == len(found) == 3
    for index, length in enumerate([5, 3, 8]):
        assert found[index].options == {"start_state": [index, 0], "goal_state": [index, length - 1]}
        assert found[index].episode == fingerprint(data.episode(index))
    assert pairs == recorded_pairs(data, seed=0, goal_steps=0, n=10)
    assert [p.seed for p in pairs] != [p.seed for p in recorded_pairs(data, seed=1, goal_steps=0, n=10)]


def test_goals_lie_a_number_of_steps_ahead_of_starts_that_differ() -> None:
    pairs = recorded_pairs(dataset([30, 4, 30]), seed=0, goal_steps=5, n=12)
    starts = [tuple(pair.options["start_state"]) for pair in pairs]
    assert len(starts) == 12 and {episode for episode, _ in starts} == {0, 2}
    assert all(p.options["goal_state"][1] - p.options["start_state"][1] == 5 for p in pairs)


@pytest.mark.parametrize("seed", range(5))
def test_no_pair_is_drawn_twice(seed: int) -> None:
    """Episodes of 9, 4 and 7 rows have 4, no and 2 starts of goals 5 rows later."""
    for n in (5, 6, 20):
        pairs = recorded_pairs(dataset([9, 4, 7]), seed=seed, goal_steps=5, n=n)
        starts = {tuple(pair.options["start_state"]) for pair in pairs}
        assert len(pairs) == len(starts) == min(n, 6)
    assert starts == {(0, 0), (0, 1), (0, 2), (0, 3), (2, 0), (2, 1)}


def test_episodes_that_are_too_short_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"no episode of .* has 10 rows, .* goal_steps=9"):
        recorded_pairs(dataset([4, 4]), seed=0, goal_steps=9, n=2)


def test_an_environment_that_ignores_the_recorded_states_is_refused() -> None:
    class Obedient(BoxEnv):
        def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
            _, info = super().reset(seed=seed)
            self.position = np.array((options or {})["start_state"])
            self.goal = np.array((options or {})["goal_state"])
            return self._observation(), info | self._info() | {"goal_state": self.goal}

    class OtherGoal(Obedient):
        def reset(self, **given: Any) -> tuple[Any, Any]:
            observation, info = super().reset(**given)
            return observation, info | {"goal_state": self.goal + 0.1}

    rng = np.random.default_rng(0)
    states = [rng.uniform(0.1, 0.9, (5, 2)).astype(np.float32) for _ in range(3)]
    data = InMemoryDataset(
        [EpisodeArrays(states=s, actions=np.zeros((4, 2), np.float32)) for s in states], fps=4.0
    )
    candidates = recorded_pairs(data, seed=0, goal_steps=0, n=3)
    assert len(unsolved(Obedient(), candidates, 3, check=check_recorded).pairs) == 3
    for env, name in ((BoxEnv(), "start_state"), (OtherGoal(), "goal_state")):
        with pytest.raises(
            EvaluationError, match=rf"recorded states: after a reset with {name}=.*env.goal=ahead"
        ):
            unsolved(env, candidates, 3, check=check_recorded)


def test_goals_that_an_environment_takes_from_episodes_are_known_by_their_content() -> None:
    data = dataset([4, 5])
    looks = Appearance("", "", "", ())
    found = with_episodes(Pairs([Pair(1, {"episode": 1, "step": 2}), Pair(2)], [looks, looks]), data)
    assert [pair.episode for pair in found.pairs] == [fingerprint(data.episode(1)), ""]

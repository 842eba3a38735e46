from __future__ import annotations

import numpy as np
import pytest

from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.data.trajectories.windows import fingerprint
from vjepa_world.evaluation.closed_loop.recorded_pairs import recorded_pairs
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
    assert len(pairs) == 8  # four rounds over the episodes that are long enough
    starts = [tuple(pair.options["start_state"]) for pair in pairs]
    assert len(set(starts)) > 3 and {episode for episode, _ in starts} == {0, 2}
    assert all(p.options["goal_state"][1] - p.options["start_state"][1] == 5 for p in pairs)


def test_episodes_that_are_too_short_are_refused() -> None:
    with pytest.raises(EvaluationError, match=r"no episode of .* has 10 rows, .* goal_steps=9"):
        recorded_pairs(dataset([4, 4]), seed=0, goal_steps=9, n=2)

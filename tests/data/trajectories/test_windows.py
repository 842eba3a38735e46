"""Windows of trajectories, by time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from vjepa_world.data.trajectories.windows import EpisodeNumbers, WindowTable
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.pose import pose_delta


def episode(times_s: Any, *, index: int = 0, composes: bool = True, size: int = 7) -> EpisodeNumbers:
    """An arm that turns and moves at random, and its exact pose deltas."""
    times = np.asarray(times_s, dtype=np.float64)
    rng = np.random.default_rng(index)
    states = rng.uniform(-0.4, 0.4, (len(times), size)).astype(np.float32)
    actions = rng.uniform(-1, 1, (len(times) - 1, size)).astype(np.float32)
    if composes:
        poses = torch.from_numpy(states).double()
        actions = pose_delta(poses[:-1], poses[1:]).float().numpy()
    return EpisodeNumbers(
        index=index,
        name=f"episode {index}",
        states=states,
        actions=actions,
        timestamps_s=times,
        merging="pose" if composes else "stack",
    )


def test_every_row_starts_a_window_that_fits() -> None:
    table = WindowTable([episode(np.arange(5) / 10), episode(np.arange(2) / 10, index=1)], frames=3)
    assert table.fps == pytest.approx(10)
    assert table.rows.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert table.episodes.tolist() == [0, 0, 0]
    states, actions = table.states_and_actions(torch.tensor([1]))
    assert torch.equal(states[0], torch.from_numpy(table.source[0].states[1:4]))
    assert torch.equal(actions[0], torch.from_numpy(table.source[0].actions[1:3]))


def test_frames_are_chosen_by_time_not_by_row() -> None:
    """15 frames per second seen at 4: the nearest rows lie 3 or 4 apart, as i / 4 s falls."""
    table = WindowTable([episode(np.arange(40) / 15)], frames=4, fps=4.0)
    first = table.rows[0]
    assert first.tolist() == [0, 4, 7, 11]
    times = np.arange(40) / 15
    for rows in table.rows.numpy():
        assert np.abs(times[rows] - times[rows[0]] - np.arange(4) / 4).max() <= 0.5 / 15 + 1e-9
    assert len(table) == 40 - 11
    assert (table.rows == first + torch.arange(29).unsqueeze(1)).all()


def test_a_window_does_not_reach_over_a_jump_of_the_clock() -> None:
    times = np.concatenate([np.arange(5), np.arange(5) + 9]) / 10
    table = WindowTable([episode(times)], frames=3)
    assert table.rows.tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [5, 6, 7], [6, 7, 8], [7, 8, 9]]


def test_jitter_of_the_clock_loses_no_window() -> None:
    jitter = np.random.default_rng(0).uniform(-0.02, 0.02, 50)
    table = WindowTable([episode(np.arange(50) / 10 + jitter)], frames=4, fps=5.0)
    assert len(table) >= 42
    assert (torch.diff(table.rows, dim=1) >= 1).all()


def test_skipped_rows_compose_their_actions() -> None:
    """The composed action equals the delta of the poses at both ends."""
    table = WindowTable(
        [episode(np.arange(40) / 15), episode(np.arange(30) / 15, index=1)], frames=3, fps=4.0
    )
    windows = torch.arange(len(table))
    states, actions = table.states_and_actions(windows)
    expected = pose_delta(states[:, :-1].double(), states[:, 1:].double()).float()
    torch.testing.assert_close(actions, expected, atol=2e-5, rtol=0)
    assert table.action_dim == 7


def test_actions_of_unknown_meaning_are_concatenated() -> None:
    source = episode(np.arange(20) / 20, composes=False, size=3)
    table = WindowTable([source], frames=2, fps=10.0)
    assert (table.stride, table.action_dim) == (2, 6)
    _, actions = table.states_and_actions(torch.tensor([1]))
    assert torch.equal(actions[0, 0], torch.from_numpy(source.actions[1:3]).flatten())
    with pytest.raises(DataError, match="data.fps=7 between .* rows lie between two frames"):
        WindowTable([source], frames=5, fps=7.0)


def test_a_rate_above_that_of_the_data_is_refused() -> None:
    with pytest.raises(ConfigError, match="data.fps is 30, and the data has 15 frames per second"):
        WindowTable([episode(np.arange(40) / 15)], frames=2, fps=30.0)


def test_episodes_are_selected_by_index() -> None:
    table = WindowTable([episode(np.arange(5) / 10, index=k) for k in range(4)], frames=4)
    assert table.of_episodes([1, 3]).tolist() == [2, 3, 6, 7]
    assert table.of_episodes([]).tolist() == []


@pytest.mark.parametrize("merging", ["add", "last"])
def test_skipped_rows_add_deltas_and_use_the_last_target(merging: Any) -> None:
    rng = np.random.default_rng(3)
    times = np.arange(30) / 15  # seen at 4 frames per second: 3 or 4 rows apart
    joints = rng.uniform(-9, 9, (30, 5)).astype(np.float32)
    actions = np.diff(joints, axis=0) if merging == "add" else joints[1:]
    numbers = EpisodeNumbers(
        index=0, name="arm", states=joints, actions=actions, timestamps_s=times, merging=merging
    )
    table = WindowTable([numbers], frames=4, fps=4.0)
    assert table.stride == 4
    assert table.action_dim == 5
    states, between = table.states_and_actions(torch.arange(len(table)))
    expected = states.diff(dim=1) if merging == "add" else states[:, 1:]
    torch.testing.assert_close(between, expected, atol=1e-5, rtol=0)

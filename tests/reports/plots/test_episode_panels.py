from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from vjepa_world.evaluation.closed_loop.episode import Recording
from vjepa_world.evaluation.closed_loop.pairs.drawing import draw_pairs
from vjepa_world.evaluation.closed_loop.rollout import rollouts
from vjepa_world.reports.plots.episode_panels import GAP, HEADER, TILE, episode_panel


@pytest.fixture(scope="module")
def recording() -> Recording:
    env = BoxEnv()
    [found] = rollouts([env], CentroidPolicy(), draw_pairs(env, 0, 1).pairs)
    return found


def changed(recording: Recording, **values: Any) -> Recording:
    return dataclasses.replace(recording, episode=dataclasses.replace(recording.episode, **values))


def test_a_panel_shows_camera_goal_and_chart_side_by_side(recording: Recording) -> None:
    video = episode_panel(recording)
    assert video.dtype == np.uint8
    assert video.shape == (recording.episode.steps + 1, HEADER + TILE, 3 * TILE + 2 * GAP, 3)
    for t, frame in enumerate(video):
        assert np.array_equal(frame[HEADER::8, :TILE:8], recording.frames[t])
        assert np.array_equal(frame[HEADER::8, TILE + GAP : 2 * TILE + GAP : 8], recording.goal_images[t])


def test_with_sub_goals_the_panel_shows_and_names_the_one_that_is_pursued(recording: Recording) -> None:
    steps = recording.episode.steps
    pictures = [np.full_like(recording.frames[0], shade) for shade in (50, 200)]
    pursued = (0,) * 2 + (1,) * (steps - 1)
    by_subgoals = changed(recording, subgoal_names=("near_place", "at_place"), pursued=pursued)
    shown = dataclasses.replace(by_subgoals, goal_images=[pictures[index] for index in pursued])
    video = episode_panel(shown)
    tiles = video[:, HEADER:, TILE + GAP : 2 * TILE + GAP]
    assert [set(tile.flat) for tile in tiles] == [{50}] * 2 + [{200}] * (steps - 1)
    captions = video[:, 30:HEADER, TILE + GAP : 2 * TILE]
    assert np.array_equal(captions[0], captions[1]) and np.array_equal(captions[2], captions[3])
    assert not np.array_equal(captions[1], captions[2])


def test_the_chart_grows_and_its_dot_falls_with_the_energy(recording: Recording) -> None:
    charts = episode_panel(recording)[:, HEADER + 28 :, 2 * (TILE + GAP) + 40 :].astype(int)
    is_dot = (charts[..., 0] > 200) & (charts[..., 1] > 200) & (charts[..., 2] < 120)
    positions = [np.argwhere(dot).mean(axis=0) for dot in is_dot]
    rows, columns = (np.array(axis) for axis in zip(*positions, strict=True))
    assert (np.diff(columns) > 0).all()
    assert np.corrcoef(rows, recording.episode.energies)[0, 1] < -0.99
    is_line = (charts[..., 2] > 200) & (charts[..., 0] < 120)
    assert (np.diff(is_line.sum(axis=(1, 2))) > 0).all()


def test_the_outcome_is_written_on_the_last_frame_only(recording: Recording) -> None:
    lost = changed(recording, success=False)
    won_video, lost_video = episode_panel(recording), episode_panel(lost)
    assert np.array_equal(won_video[:-1], lost_video[:-1])
    won, other = won_video[-1, :30, -110:], lost_video[-1, :30, -110:]
    assert won[..., 1].max() > won[..., 0].max()  # green
    assert other[..., 0].max() > other[..., 1].max()  # red


def test_without_energy_the_distance_is_drawn(recording: Recording) -> None:
    silent = changed(recording, energies=())
    assert not np.array_equal(episode_panel(silent)[0], episode_panel(recording)[0])


@pytest.mark.parametrize("side", [31, 96, 128, 301])
def test_panels_of_any_size_are_even_and_at_least_a_tile(recording: Recording, side: int) -> None:
    frames = np.zeros((len(recording.frames), side, side, 3), dtype=np.uint8)
    video = episode_panel(dataclasses.replace(recording, frames=frames, goal_images=list(frames)))
    assert video.shape[1] % 2 == video.shape[2] % 2 == 0
    assert video.shape[1] >= HEADER + TILE

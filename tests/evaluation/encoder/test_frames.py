"""Frames around goals, of an environment and of recorded episodes: distances, draws, errors."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from envs import ArmEnv
from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.errors import DataError
from vjepa_world.evaluation.encoder.frames import GoalFrames, goal_frames
from vjepa_world.evaluation.encoder.recorded_frames import recorded_frames
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.ops.convention import Convention


def test_frames_of_an_environment() -> None:
    env = ArmEnv("grasp", image_size=32, variation="test", cameras=("main", "side"))
    scenes: list[int] = []
    found = goal_frames(env, scenes=2, states=4, radii_m=(0.1,), seed=7, on_scene=lambda: scenes.append(1))
    assert len(scenes) == 2
    assert [(entry.scene, entry.goal, entry.kind) for entry in found[:3]] == [
        (0, "at_object", "arm, 10 cm"),
        (0, "at_object", "object, 10 cm"),
        (0, "lifted", "arm with object, 10 cm"),
    ]
    _, info = env.reset(seed=8)
    last = found[-1]
    assert last.scene == 1 and dict(last.factors) == info["factors"]
    assert (last.goal_views[0].permute(1, 2, 0).numpy() == info["goal_image"]).all()
    assert (last.goal_views[1].permute(1, 2, 0).numpy() == info["goal_image_side"]).all()
    assert [tuple(view.shape) for view in last.views] == [(4, 3, 32, 32)] * 2
    again = goal_frames(env, scenes=2, states=4, radii_m=(0.1,), seed=7)
    assert all(torch.equal(a.views[0], b.views[0]) for a, b in zip(found, again, strict=True))
    env.close()


def test_an_environment_without_states_around_goals_is_refused() -> None:
    with pytest.raises(
        EvaluationError, match=r"does not say how to move things around a goal.*data\.path=DATASET"
    ):
        goal_frames(SimpleNamespace(reset=None))


POSE = Convention(position_at=(0, 1, 2), rotation_at=(3, 4, 5), actions="given")


def recording(
    lengths: tuple[int, ...] = (30, 30, 12), convention: Convention | None = None
) -> InMemoryDataset:
    """Return episodes whose frames show their own row, and whose position is the row in centimetres."""
    episodes = []
    for length in lengths:
        states = np.zeros((length, 7), np.float32)
        states[:, 0] = 0.01 * np.arange(length)
        frames = np.broadcast_to(
            np.arange(length, dtype=np.uint8)[:, None, None, None], (length, 8, 8, 3)
        ).copy()
        episodes.append(EpisodeArrays(states=states, actions=np.zeros((length - 1, 7)), frames=frames))
    return InMemoryDataset(episodes, fps=4, convention=convention)


def rows_of(entry: GoalFrames) -> tuple[int, np.ndarray]:
    return int(entry.goal_views[0][0, 0, 0]), entry.views[0][:, 0, 0, 0].numpy().astype(int)


def test_recorded_frames_are_as_far_as_their_rows() -> None:
    found = recorded_frames(recording(), episodes=3, states=8, within=(10, 3), seed=1)
    assert [(entry.scene, entry.kind) for entry in found] == [
        (scene, f"recorded, {within} steps") for scene in range(3) for within in (10, 3)
    ]
    for entry in found:
        goal, rows = rows_of(entry)
        assert (entry.distances.numpy() == np.abs(rows - goal)).all()
        assert entry.distances.min() > 0 and entry.distances.max() <= entry.within
        assert len(set(rows.tolist())) == len(rows) <= 8
    again = recorded_frames(recording(), episodes=3, states=8, within=(10, 3), seed=1)
    assert all(rows_of(a)[0] == rows_of(b)[0] for a, b in zip(found, again, strict=True))


def test_recorded_frames_by_position() -> None:
    dataset = recording(convention=POSE)
    for entry in recorded_frames(dataset, states=6, within=(0.055,), distance="position"):
        goal, rows = rows_of(entry)
        np.testing.assert_allclose(entry.distances.numpy(), 0.01 * np.abs(rows - goal), atol=1e-6)
        assert entry.kind == "recorded, 5.5 cm"


def test_recordings_that_cannot_be_measured_are_refused() -> None:
    with pytest.raises(DataError, match="has no camera wrist; its cameras: main"):
        recorded_frames(recording(), cameras=("wrist",))
    with pytest.raises(DataError, match=r"states of .* hold no position of the end effector"):
        recorded_frames(recording(), distance="position", within=(0.1,))
    with pytest.raises(DataError, match="none of 2 episodes .* has 3 frames within 10 steps of another"):
        recorded_frames(recording((3, 2)), within=(10.0,))

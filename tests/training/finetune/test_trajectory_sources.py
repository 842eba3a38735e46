"""Sources of training windows: cameras, held-out episodes, random draws."""

from __future__ import annotations

import pytest
import torch

from tests.training.bump_world import LENGTH, SIDE, BumpWorld, bump_model, cached
from vjepa_world.errors import DataError
from vjepa_world.training.finetune.trajectory_sources import draw_held_out, draw_step


def test_whole_episodes_are_held_out() -> None:
    source = BumpWorld(20, seed=0).source(frames=4, val_fraction=0.2)
    held_out, trained = (
        set(source.episodes(source.held_out).tolist()),
        set(source.episodes(source.train).tolist()),
    )
    assert len(held_out) == 4
    assert held_out == set(source.held_out_episodes)
    assert held_out.isdisjoint(trained)
    assert len(held_out | trained) == 20
    assert len(source.train) == 16 * (LENGTH - 3)
    assert set(BumpWorld(20, seed=0).source(val_fraction=0.2, seed=1).held_out_episodes) != held_out


def test_one_camera_is_drawn_for_each_window() -> None:
    source = BumpWorld(20, seed=0, cameras=3).source()
    draw = draw_step([source], seed=0, step=0, count=300, views="one")
    counts = [sum(cameras == (name,) for cameras in draw.cameras) for name in source.cameras]
    assert sum(counts) == 300
    assert min(counts) > 70


def test_all_cameras_are_concatenated() -> None:
    """Row by row: the left half of the tokens' grid is the first camera's."""
    world = BumpWorld(20, seed=0, cameras=2)
    source, model = world.source(), bump_model(views=2)
    draw = draw_held_out(source, 0, seed=0, count=5, views="all")
    batch = cached([world], [source], model).read(draw)
    assert batch.features is not None
    grid = batch.features.unflatten(2, (SIDE, 2 * SIDE))
    for window, (episode, rows) in enumerate(
        zip(source.episodes(draw.windows).tolist(), source.table.rows[draw.windows], strict=True)
    ):
        for number, camera in enumerate(source.cameras):
            half = grid[window, :, :, number * SIDE : (number + 1) * SIDE].flatten(1, 2)
            assert torch.equal(half, world.features[episode][camera][rows])


def test_the_drawn_camera_has_its_extrinsics() -> None:
    world = BumpWorld(20, seed=0, cameras=3)
    source = world.source()
    model = bump_model(predictor={"use_extrinsics": True, "extrinsics_dim": 6})
    draw = draw_step([source], seed=0, step=0, count=20, views="one")
    batch = cached([world], [source], model).read(draw)
    assert batch.extrinsics is not None
    shown = torch.tensor([float(cameras[0].removeprefix("camera")) for cameras in draw.cameras])
    assert torch.equal(batch.extrinsics, shown.view(-1, 1, 1).expand(20, 3, 6))


def test_extrinsics_that_are_missing_are_reported() -> None:
    world = BumpWorld(20, seed=0)
    for episode in world.numbers:
        episode.extrinsics.clear()  # type: ignore[attr-defined]
    source = world.source()
    model = bump_model(predictor={"use_extrinsics": True, "extrinsics_dim": 6})
    draw = draw_step([source], seed=0, step=0, count=2, views="one")
    with pytest.raises(DataError, match="bump .* has no extrinsics of camera 'camera0'"):
        cached([world], [source], model).read(draw)


def test_windows_of_unreadable_episodes_are_dropped() -> None:
    source = BumpWorld(20, seed=0).source(val_fraction=0.2)
    gone = {source.held_out_episodes[0], int(source.episodes(source.train)[0])}
    left = source.without(gone)
    seen = set(left.episodes(torch.cat([left.train, left.held_out])).tolist())
    assert seen == set(range(20)) - gone
    with pytest.raises(DataError, match="without its 4 episodes whose frames cannot be read"):
        source.without(set(source.held_out_episodes))


def test_windows_in_pairs_are_of_one_episode_and_camera_and_augmented_alike() -> None:
    source = BumpWorld(20, seed=0, cameras=3).source()
    single = draw_step([source], seed=0, step=3, count=41, views="one")
    draw = draw_step([source], seed=0, step=3, count=41, views="one", in_pairs=True)
    assert torch.equal(draw.windows[0::2], single.windows[0::2])
    first, second = draw.windows[0::2][:20], draw.windows[1::2]
    assert torch.equal(source.episodes(first), source.episodes(second))
    assert (first != second).sum() > 10
    assert torch.isin(draw.windows, source.train).all()
    assert draw.cameras[0:40:2] == draw.cameras[1:40:2]
    assert torch.equal(draw.keys[0:40:2], draw.keys[1:40:2])

    held_out = draw_held_out(source, 0, seed=0, count=6, views="one", in_pairs=True)
    assert torch.isin(held_out.windows, source.held_out).all()
    assert torch.equal(source.episodes(held_out.windows[0::2]), source.episodes(held_out.windows[1::2]))

"""Clips are cut by time, the same ones for the same seed, and never across what does not belong together."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.data.coded_video import read_codes, write_coded
from vjepa_world.data.clips import ClipConfig, ClipDataset
from vjepa_world.data.video_writer import write_video
from vjepa_world.errors import ConfigError, DataError

WHOLE: dict[str, Any] = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}


def moving_scene(fps: int, seconds: int) -> np.ndarray:
    """Return uint8 [T,64,64,3] of a bright square that moves 12 pixels a second, at any frame rate."""
    times_s = np.arange(fps * seconds) / fps
    frames = np.full((len(times_s), 64, 64, 3), 30, np.uint8)
    for frame, time_s in zip(frames, times_s, strict=True):
        left = round(2 + 12 * time_s) % 48
        frame[24:40, left : left + 16] = 220
    return frames


def square_left(clip: torch.Tensor) -> torch.Tensor:
    """Return the square's left edge in each frame [pixels]."""
    return (clip[:, 0, 32] > 125).int().argmax(dim=-1)


def test_clips_follow_time_not_frame_numbers(tmp_path: Path) -> None:
    lefts = {}
    for fps in (10, 30):
        write_video(tmp_path / f"{fps}" / "scene.mp4", moving_scene(fps, 4), fps)
        config = ClipConfig(
            path=str(tmp_path / f"{fps}"), fps=5.0, frames_per_clip=10, image_size=64, **WHOLE
        )
        clips = ClipDataset(config, seed=7)
        lefts[fps] = torch.stack([square_left(clips[i]) for i in range(10)])
        steps = (lefts[fps][:, 1:] - lefts[fps][:, :-1]) % 48
        assert (steps.float() - 12 / 5).abs().max() <= 12 / fps + 1
        assert steps.float().mean() == pytest.approx(12 / 5, abs=0.1)
    # The same moments of the same scene: they differ by a tenth of a second of motion at most.
    difference = (lefts[10] - lefts[30]) % 48
    assert torch.minimum(difference, 48 - difference).max() <= 12 / 10 + 1


def test_an_item_depends_on_seed_and_index_only(dataset_root: Path) -> None:
    config = ClipConfig(path=str(dataset_root), fps=5.0, frames_per_clip=4, image_size=32)
    first, again, other = (ClipDataset(config, seed=seed, num_clips=12) for seed in (1, 1, 2))
    clips = [first[i] for i in range(12)]
    for i in reversed(range(12)):
        assert torch.equal(again[i], clips[i])
    assert any(not torch.equal(other[i], clips[i]) for i in range(12))
    assert len({clip.numpy().tobytes() for clip in clips}) == 12
    sent = pickle.loads(pickle.dumps(first))
    assert torch.equal(sent[5], clips[5])
    loader = DataLoader(again, batch_size=4, num_workers=2)
    assert torch.equal(torch.cat(list(loader)), torch.stack(clips))


def test_clips_in_memory_are_the_same_clips(dataset_root: Path) -> None:
    config = ClipConfig(path=str(dataset_root), fps=5.0, frames_per_clip=4, image_size=32)
    decoded = ClipDataset(config, seed=1)
    for memory_bytes in (400_000, 10**9):  # room for one of the two files, and for both
        kept = ClipDataset(config, seed=1, memory_bytes=memory_bytes)
        assert all(torch.equal(kept[i], decoded[i]) for i in range(10))


def test_clips_stay_inside_their_episode(dataset_root: Path) -> None:
    config = ClipConfig(path=str(dataset_root), fps=5.0, frames_per_clip=7, image_size=64, **WHOLE)
    clips = ClipDataset(config, seed=0)
    firsts = {0: (0, 5), 12: (12, 12), 19: (19, 21), 100: (100, 101), 108: (108, 112)}
    seen = set()
    for i in range(60):
        codes = read_codes(clips[i])
        assert codes == list(range(codes[0], codes[0] + 7))
        start = max(first for first in firsts if first <= codes[0])
        assert firsts[start][0] <= codes[0] <= firsts[start][1]
        seen.add(start)
    assert seen == set(firsts)


def test_whole_frames_at_their_size_are_not_resampled(tmp_path: Path) -> None:
    path = write_video(tmp_path / "scene.mp4", moving_scene(10, 2), 10)
    config = ClipConfig(path=str(path), fps=10.0, frames_per_clip=3, image_size=64, **WHOLE)
    clip = ClipDataset(config, seed=0)[0]
    assert clip.dtype == torch.uint8
    assert clip.shape == (3, 3, 64, 64)
    assert clip.is_contiguous()


def test_a_file_that_breaks_while_training_is_named_and_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_coded(tmp_path / name, range(0, 3000, 100))
    lenient = ClipConfig(path=str(tmp_path), frames_per_clip=4, image_size=32, max_bad_fraction=0.4)
    clips, reverse = ClipDataset(lenient, seed=3), ClipDataset(lenient, seed=3)
    strict = ClipDataset(dataclasses.replace(lenient, max_bad_fraction=0.3), seed=3)
    (tmp_path / "b.mp4").write_bytes(b"")
    made = [clips[i] for i in range(10)]
    assert len(made) == 10
    assert list(clips.bad.reasons) == [str(tmp_path / "b.mp4")]
    assert sum("b.mp4" in record.getMessage() for record in caplog.records) == 1
    # What replaces it does not depend on when it was found out.
    assert all(torch.equal(reverse[i], made[i]) for i in reversed(range(10)))
    with pytest.raises(
        DataError, match=r"1 of 3 videos are bad; data.max_bad_fraction=0.3 allows 0[\s\S]*b\.mp4"
    ):
        [strict[i] for i in range(10)]


def test_a_clip_longer_than_every_video_is_an_error(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 1000, 100))
    config = ClipConfig(path=str(tmp_path), fps=4.0, frames_per_clip=6)
    with pytest.raises(DataError, match=r"a\.mp4 is shorter than the window of 1\.25 s: it lasts 1\.00 s"):
        ClipDataset(config, seed=0)
    assert ClipDataset(ClipConfig(path=str(tmp_path), fps=4.0, frames_per_clip=4), seed=0)[0].shape[0] == 4


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fps": 0.0}, "data.fps is 0.0, allowed is more than 0"),
        ({"frames_per_clip": 0}, "data.frames_per_clip is 0"),
        ({"crop_scale": (0.5, 0.3)}, "data.crop_scale"),
        ({"crop_ratio": (0.0, 1.0)}, "data.crop_ratio"),
        ({"flip": 1.5}, "data.flip is 1.5, allowed is from 0 to 1"),
        ({"max_bad_fraction": -0.1}, "data.max_bad_fraction"),
    ],
)
def test_settings_outside_their_range_are_refused(change: dict[str, object], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        ClipConfig(path="anywhere", **change)  # type: ignore[arg-type]


def test_real_videos_give_clips(real_videos: Path) -> None:
    config = ClipConfig(path=str(real_videos), frames_per_clip=8, image_size=64, max_bad_fraction=0.2)
    clips = ClipDataset(config, seed=0)
    assert [Path(name).name for name in clips.bad.reasons] == ["h265.mp4"]  # one second only
    assert len(clips) == 6
    for i in range(4):
        clip = clips[i]
        assert clip.shape == (8, 3, 64, 64)
        assert clip.float().std() > 5

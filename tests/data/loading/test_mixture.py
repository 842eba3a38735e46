"""Clips are cut by time, are determined by the seed, and never cross an episode or segment."""

from __future__ import annotations

import dataclasses
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.coded_video import read_codes, write_coded
from vjepa_world.data.config import SourceConfig, VideoDataConfig
from vjepa_world.data.loading.mixture import ClipMixture
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import ConfigError, DataError

WHOLE: dict[str, Any] = {"crop_scale": (1.0, 1.0), "crop_ratio": (1.0, 1.0), "flip": 0.0}


def mixture(
    path: object = "",
    *,
    num_frames: int = 4,
    image_size: int = 32,
    seed: int = 0,
    views: int = 1,
    **data: Any,
) -> ClipMixture:
    config = VideoDataConfig(path=str(path), **data)
    return ClipMixture(config, num_frames=num_frames, image_size=image_size, seed=seed, views=views)


def clips(source: ClipMixture, count: int, step: int = 0) -> list[torch.Tensor]:
    """Return the first entries of a step, [T,C,S,S] each."""
    return [source[step, entry].frames[0] for entry in range(count)]


def moving_scene(fps: int, seconds: int) -> np.ndarray:
    """Return uint8 [T,64,64,3] of a bright square that moves 12 pixels per second, at any frame rate."""
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
        source = mixture(tmp_path / f"{fps}", fps=5.0, num_frames=10, image_size=64, seed=7, **WHOLE)
        lefts[fps] = torch.stack([square_left(clip) for clip in clips(source, 10)])
        steps = (lefts[fps][:, 1:] - lefts[fps][:, :-1]) % 48
        assert (steps.float() - 12 / 5).abs().max() <= 12 / fps + 1
        assert steps.float().mean() == pytest.approx(12 / 5, abs=0.1)
    # The same moments of the same scene: they differ by a tenth of a second of motion at most.
    difference = (lefts[10] - lefts[30]) % 48
    assert torch.minimum(difference, 48 - difference).max() <= 12 / 10 + 1


def test_an_item_depends_only_on_seed_and_index(dataset_root: Path) -> None:
    first, again, other = (mixture(dataset_root, fps=5.0, seed=seed) for seed in (1, 1, 2))
    made = clips(first, 12)
    for i in reversed(range(12)):
        assert torch.equal(again[0, i].frames[0], made[i])
    assert any(not torch.equal(other[0, i].frames[0], made[i]) for i in range(12))
    assert not torch.equal(first[1, 0].frames[0], made[0])
    assert len({clip.numpy().tobytes() for clip in made}) == 12
    sent = pickle.loads(pickle.dumps(first))
    assert torch.equal(sent[0, 5].frames[0], made[5])


def test_clips_in_memory_are_the_same_clips(dataset_root: Path) -> None:
    decoded = clips(mixture(dataset_root, fps=5.0, seed=1), 10)
    for memory_gb in (4e-4, 1.0):  # room for one of the two files, and for both
        kept = clips(mixture(dataset_root, fps=5.0, seed=1, memory_gb=memory_gb), 10)
        assert all(torch.equal(a, b) for a, b in zip(kept, decoded, strict=True))


def test_clips_stay_inside_their_episode(dataset_root: Path) -> None:
    source = mixture(dataset_root, fps=5.0, num_frames=7, image_size=64, **WHOLE)
    firsts = {0: (0, 5), 12: (12, 12), 19: (19, 21), 100: (100, 101), 108: (108, 112)}
    seen = set()
    for i in range(60):
        clip = source[0, i]
        codes = read_codes(clip.frames[0])
        assert codes == list(range(codes[0], codes[0] + 7))
        start = max(first for first in firsts if first <= codes[0])
        assert firsts[start][0] <= codes[0] <= firsts[start][1]
        assert f"(episode {sorted(firsts).index(start)}) @ " in clip.name
        assert clip.label.startswith("task ")
        seen.add(start)
    assert seen == set(firsts)


def test_a_clip_reports_its_file_and_time(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.mp4", range(0, 8000, 100))
    source = mixture(path, fps=10.0, image_size=64, **WHOLE)
    for i in range(8):
        clip = source[3, i]
        name, _, at = clip.name.rpartition(" @ ")
        assert name == str(path)
        assert abs(read_codes(clip.frames[0])[0] / 10 - float(at.removesuffix(" s"))) < 0.11


def test_whole_frames_at_their_size_are_not_resampled(tmp_path: Path) -> None:
    path = write_video(tmp_path / "scene.mp4", moving_scene(10, 2), 10)
    clip = mixture(path, fps=10.0, num_frames=3, image_size=64, **WHOLE)[0, 0].frames[0]
    assert clip.dtype == torch.uint8
    assert clip.shape == (3, 3, 64, 64)
    assert clip.is_contiguous()


def test_views_are_crops_of_the_same_frames(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "a.mp4", range(0, 8000, 100))
    whole = mixture(path, fps=10.0, image_size=64, views=2, **WHOLE)[0, 0].frames
    assert whole.shape == (2, 4, 3, 64, 64)
    assert torch.equal(whole[0], whole[1])
    cut = mixture(path, fps=10.0, views=2)
    pairs = [cut[0, i].frames for i in range(6)]
    assert all(not torch.equal(pair[0], pair[1]) for pair in pairs)
    # A crop is one box for all frames: where nothing moves, they are the same.
    still = write_video(tmp_path / "still.mp4", [moving_scene(10, 1)[0]] * 20, 10)
    for i in range(4):
        frames = mixture(still, fps=10.0, views=2)[0, i].frames.float()
        assert (frames - frames[:, :1]).abs().max() < 6


def test_clips_of_one_video_are_adjacent(tmp_path: Path) -> None:
    for name in "abcdefgh":
        write_coded(tmp_path / f"{name}.mp4", range(0, 3000, 100))
    source = mixture(tmp_path, clips_per_video=3)
    names = [source[5, i].name for i in range(24)]
    files = [name.rpartition(" @ ")[0] for name in names]
    assert all(len(set(files[i : i + 3])) == 1 for i in range(0, 24, 3))
    assert len(set(files)) > 3 and len(set(names)) > 20  # at different times


def test_sources_are_drawn_by_weight_with_their_own_rate_and_length(tmp_path: Path) -> None:
    for name in ("fast", "slow"):
        (tmp_path / name).mkdir()
        write_coded(tmp_path / name / f"{name}.mp4", range(0, 8000, 100))
    (tmp_path / "images").mkdir()
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "images" / "red.png")
    sources = {
        "fast": SourceConfig(path=str(tmp_path / "fast"), weight=3, fps=10.0),
        "slow": SourceConfig(path=str(tmp_path / "slow"), weight=1),
        "images": SourceConfig(path=str(tmp_path / "images"), weight=4, frames_per_clip=1),
    }
    source = mixture(sources=sources, fps=2.0, image_size=64, **WHOLE)
    drawn: Counter[str] = Counter()
    lengths: Counter[int] = Counter()
    for step in range(60):
        length = source.shape(step)[1]
        lengths[length] += 1
        for entry in range(4):
            clip = source[step, entry]
            assert clip.frames.shape == source.shape(step)
            assert (clip.frames.shape[1] == 1) == (".png" in clip.name)
            if length > 1:
                name = "fast" if "fast.mp4" in clip.name else "slow"
                drawn[name] += 1
                codes = read_codes(clip.frames[0])
                assert np.diff(codes).tolist() == [{"fast": 1, "slow": 5}[name]] * 3
    assert lengths[1] == pytest.approx(30, abs=12)  # 4 of 8, three standard deviations
    share = drawn["fast"] / sum(drawn.values())
    assert share == pytest.approx(0.75, abs=3 * (0.75 * 0.25 / sum(drawn.values())) ** 0.5)


def test_an_image_fills_a_clip(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30), (200, 10, 10)).save(tmp_path / "red.png")
    clip = mixture(tmp_path, num_frames=4)[0, 0]
    assert clip.frames.shape == (1, 4, 3, 32, 32)
    assert (clip.frames == torch.tensor([200, 10, 10]).view(3, 1, 1)).all()
    assert clip.name == str(tmp_path / "red.png")


def test_a_file_that_breaks_during_training_is_reported_and_replaced(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        write_coded(tmp_path / name, range(0, 3000, 100))
    lenient = VideoDataConfig(path=str(tmp_path), max_bad_fraction=0.4)
    settings: dict[str, Any] = {"num_frames": 4, "image_size": 32, "seed": 3}
    source, reverse = ClipMixture(lenient, **settings), ClipMixture(lenient, **settings)
    strict = ClipMixture(dataclasses.replace(lenient, max_bad_fraction=0.3), **settings)
    before = [source[0, i] for i in range(10)]
    (tmp_path / "b.mp4").write_bytes(b"")
    source = pickle.loads(pickle.dumps(source))  # as another process: with no file open
    made = [source[0, i] for i in range(10)]
    named = {bad for clip in made for bad in clip.bad}
    assert [(bad.name, bad.rows) for bad in named] == [(str(tmp_path / "b.mp4"), 1)]
    assert "zero bytes" in next(iter(named)).reason
    # What replaces it does not depend on when it was found out, and the others stay as they were.
    assert all(torch.equal(reverse[0, i].frames, made[i].frames) for i in reversed(range(10)))
    kept = [i for i in range(10) if "b.mp4" not in before[i].name]
    assert 0 < len(kept) < 10
    assert all(made[i].name == before[i].name and not made[i].bad for i in kept)
    # Nor on whether it was known from the start.
    fresh = ClipMixture(lenient, **settings)
    assert all(fresh[0, i].name == made[i].name for i in range(10))
    with pytest.raises(
        DataError, match=r"1 of 3 videos are bad; data.max_bad_fraction=0.3 allows 0[\s\S]*b\.mp4"
    ):
        [strict[0, i] for i in range(10)]


def test_a_clip_longer_than_every_video_is_an_error(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 1000, 100))
    with pytest.raises(DataError, match=r"a\.mp4 is shorter than the window of 1\.25 s: it lasts 1\.00 s"):
        mixture(tmp_path, fps=4.0, num_frames=6)
    assert mixture(tmp_path, fps=4.0, num_frames=4)[0, 0].frames.shape[1] == 4


def test_a_file_of_one_frame_gives_images_but_no_clips(tmp_path: Path) -> None:
    write_video(tmp_path / "one.mp4", moving_scene(10, 1)[:1], 10)
    assert mixture(tmp_path, num_frames=1)[0, 0].frames.shape == (1, 1, 3, 32, 32)
    with pytest.raises(DataError, match=r"one\.mp4 is shorter than the window"):
        mixture(tmp_path, num_frames=2)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fps": 0.0}, "data.fps is 0.0, allowed is more than 0"),
        ({"crop_scale": (0.5, 0.3)}, "data.crop_scale"),
        ({"crop_ratio": (0.0, 1.0)}, "data.crop_ratio"),
        ({"flip": 1.5}, "data.flip is 1.5, allowed is from 0 to 1"),
        ({"max_bad_fraction": -0.1}, "data.max_bad_fraction"),
        ({"clips_per_video": 0}, "data.clips_per_video is 0, allowed is at least 1"),
        ({"open_videos": 0}, "data.open_videos"),
        ({"timeout_s": 0.0}, "data.timeout_s"),
        ({"decode_device": "gpu"}, "data.decode_device is gpu, allowed is cpu, cuda or cuda:N"),
        (
            {"sources": {"a": SourceConfig(path="b")}},
            "data.path is anywhere and data.sources has a; give one",
        ),
    ],
)
def test_settings_outside_their_range_are_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        VideoDataConfig(**{"path": "anywhere", **change})


def test_a_mixture_without_sources_is_refused() -> None:
    expected = "'data.path' is not given and has no default: give data.path=FOLDER"
    with pytest.raises(ConfigError, match=expected):
        ClipMixture(VideoDataConfig(), num_frames=4, image_size=32, seed=0)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"weight": 0.0}, "weight of a source of data.sources is '0.0', allowed is more than 0"),
        ({"fps": -1.0}, "fps of a source"),
        ({"frames_per_clip": -1}, "frames_per_clip of a source"),
        ({"path": ""}, "path of a source"),
    ],
)
def test_settings_of_a_source_outside_their_range_are_refused(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        SourceConfig(**{"path": "anywhere", **change})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_gpu_decoder_is_refused(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 3000, 100))
    with pytest.raises(ConfigError, match="data.decode_device is cuda, and this machine has 0 CUDA devices"):
        mixture(tmp_path, decode_device="cuda")


@pytest.mark.gpu
def test_a_gpu_decodes_nearly_the_same_frames(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 3000, 100))
    try:
        there = mixture(tmp_path, decode_device="cuda", image_size=64, **WHOLE)
    except ConfigError as error:
        pytest.skip(str(error))
    here = mixture(tmp_path, image_size=64, **WHOLE)
    for i in range(4):
        decoded = there[0, i].frames
        assert decoded.device.type == "cuda"
        assert (decoded.cpu().float() - here[0, i].frames.float()).abs().mean() < 4


def test_real_videos_give_clips(real_videos: Path) -> None:
    source = mixture(real_videos, num_frames=8, image_size=64)
    assert [Path(name).name for name in source.bad.reasons] == ["h265.mp4"]  # one second only
    assert len(source) == 6
    for clip in clips(source, 4):
        assert clip.shape == (8, 3, 64, 64)
        assert clip.float().std() > 5


def test_a_group_whose_files_all_become_bad_is_an_error_with_the_reason(tmp_path: Path) -> None:
    """The account of all sources allows it, and no draw can succeed."""
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    write_coded(tmp_path / "one" / "a.mp4", range(0, 3000, 100))
    for number in range(9):
        write_coded(tmp_path / "many" / f"{number}.mp4", range(0, 3000, 100))
    sources = {
        "one": SourceConfig(path=str(tmp_path / "one"), frames_per_clip=2),
        "many": SourceConfig(path=str(tmp_path / "many"), weight=1e-9),
    }
    source = mixture(sources=sources, max_bad_fraction=0.9)
    (tmp_path / "one" / "a.mp4").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"No clip of 2 frames could be read in 40 draws from .*one[\s\S]*zero bytes"
    ):
        source[0, 0]


def test_rows_that_become_bad_are_counted_as_rows(tmp_path: Path) -> None:
    for name in "ab":
        write_coded(tmp_path / f"{name}.mp4", range(0, 3000, 100))
    (tmp_path / "list.csv").write_text("path,start\n" + "a.mp4,0\n" * 8 + "b.mp4,0\n" * 2)
    source = mixture(tmp_path / "list.csv", max_bad_fraction=0.5)
    (tmp_path / "b.mp4").write_bytes(b"")
    found = {bad for entry in range(40) for bad in source[0, entry].bad}
    assert [(Path(bad.name).name, bad.rows) for bad in found] == [("b.mp4", 2)]
    (tmp_path / "a.mp4").write_bytes(b"")
    sent = pickle.loads(pickle.dumps(source))
    with pytest.raises(DataError, match="(8|10) of 10 videos are bad"):
        [sent[1, entry] for entry in range(40)]

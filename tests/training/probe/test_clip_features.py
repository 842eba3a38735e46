"""Clips are encoded once, cached on disk, and reused by every run with the same ones."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.tiny import ENCODER
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.training.probe.clip_features import ClipFeatures, encode_clips

SHOWN = ClipInput(frames=4, fps=4.0, crop=1.0, image_size=32)


class Clips:
    """Two clips of each of five videos, in memory; those of `bad` videos cannot be decoded."""

    def __init__(self, bad: Collection[int] = (), seed: int = 0, shown: ClipInput = SHOWN) -> None:
        self.bad, self.seed, self.shown = bad, seed, shown
        self.names: Sequence[str] = [f"video {number}" for number in range(5)]
        self.groups = np.repeat(np.arange(5), 2)

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Tensor | str:
        if index // 2 in self.bad:
            return f"video {index // 2} is broken"
        generator = torch.Generator().manual_seed(100 * self.seed + index)
        return torch.randint(256, (self.shown.frames, 3, 32, 32), generator=generator, dtype=torch.uint8)

    def fingerprint(self) -> list[Any]:
        return [self.seed, sorted(self.bad)]


class Counter:
    """Counts the clips that an encoder gets."""

    def __init__(self, encoder: VideoEncoder) -> None:
        self.clips = 0
        self.hook = encoder.register_forward_hook(self._count)

    def _count(self, module: torch.nn.Module, args: tuple[Tensor, ...], result: Tensor) -> None:
        self.clips += len(args[0])


@pytest.fixture(scope="module")
def encoder() -> VideoEncoder:
    return untrained_encoder(ENCODER, seed=0)


@pytest.fixture
def counter(encoder: VideoEncoder) -> Iterator[Counter]:
    counting = Counter(encoder)
    yield counting
    counting.hook.remove()


def encode(clips: Clips, encoder: VideoEncoder, cache: Path, **changes: Any) -> ClipFeatures:
    settings: dict[str, Any] = {"pooled": False, "dtype": torch.float32, "batch_size": 4, "workers": 0}
    return encode_clips(clips, encoder, cache=cache, **{**settings, "max_bad_fraction": 0.5, **changes})


@pytest.mark.parametrize("workers", [0, 1])
def test_features_equal_the_encoders_output(encoder: VideoEncoder, tmp_path: Path, workers: int) -> None:
    clips = Clips()
    found = encode(clips, encoder, tmp_path, workers=workers)
    pixels = torch.stack([clip for clip in (clips[i] for i in range(10)) if isinstance(clip, Tensor)])
    expected = encoder(normalize_video(pixels))
    assert found.features.dtype == torch.float16
    torch.testing.assert_close(found.features.float(), expected, atol=2e-3, rtol=1e-3)
    pooled = encode(clips, encoder, tmp_path, pooled=True)
    torch.testing.assert_close(
        pooled.features.float(), expected.mean(dim=1, keepdim=True), atol=2e-3, rtol=1e-3
    )


def test_clip_features_are_computed_once(encoder: VideoEncoder, counter: Counter, tmp_path: Path) -> None:
    first = encode(Clips(), encoder, tmp_path)
    assert counter.clips == 10
    again = encode(Clips(), encoder, tmp_path, batch_size=3)
    assert counter.clips == 10
    assert again.folder == first.folder
    assert torch.equal(first.features, again.features)


def test_other_clips_weights_or_precision_are_recomputed(
    encoder: VideoEncoder, counter: Counter, tmp_path: Path
) -> None:
    folders = [encode(Clips(), encoder, tmp_path).folder]
    folders.append(encode(Clips(seed=1), encoder, tmp_path).folder)
    folders.append(encode(Clips(), encoder, tmp_path, dtype=torch.bfloat16).folder)
    folders.append(encode(Clips(shown=dataclasses.replace(SHOWN, fps=2.0)), encoder, tmp_path).folder)
    folders.append(encode(Clips(), encoder, tmp_path, pooled=True).folder)
    assert counter.clips == 50
    folders.append(encode(Clips(), untrained_encoder(ENCODER, seed=1), tmp_path).folder)
    assert len(set(folders)) == 6


def test_a_limit_evicts_the_least_recently_used(
    encoder: VideoEncoder, counter: Counter, tmp_path: Path
) -> None:
    first, second = encode(Clips(), encoder, tmp_path), encode(Clips(seed=1), encoder, tmp_path)
    assert encode(Clips(), encoder, tmp_path).folder == first.folder  # used again
    first.lease.close()
    second.lease.close()
    limit_gb = 2.5e-9 * sum(file.stat().st_size for file in first.folder.iterdir())
    third = encode(Clips(seed=2), encoder, tmp_path, limit_gb=limit_gb)
    assert sorted(tmp_path.iterdir()) == sorted([first.folder, third.folder])
    assert counter.clips == 30
    with pytest.raises(DataError, match="in use, or another user's"):
        encode(Clips(seed=3), encoder, tmp_path, limit_gb=limit_gb / 2)
    with pytest.raises(ConfigError, match="limit_gb=1e-09 allows less"):
        encode(Clips(seed=3), encoder, tmp_path, limit_gb=1e-9)
    assert counter.clips == 30


def test_features_of_a_truncated_file_are_recomputed(
    encoder: VideoEncoder, counter: Counter, tmp_path: Path
) -> None:
    first = encode(Clips(), encoder, tmp_path)
    expected = first.features.clone()
    file = first.folder / "features.f16"
    file.write_bytes(file.read_bytes()[:-2])
    assert torch.equal(encode(Clips(), encoder, tmp_path).features, expected)
    assert counter.clips == 20


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("features.f16", lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:]),
        ("about.json", lambda data: data[:20]),
        ("about.json", lambda data: b'{"bad": 5}'),
    ],
)
def test_features_of_a_changed_file_are_recomputed(
    encoder: VideoEncoder, counter: Counter, tmp_path: Path, name: str, change: Callable[[bytes], bytes]
) -> None:
    first = encode(Clips(), encoder, tmp_path)
    expected = first.features.clone()
    file = first.folder / name
    file.write_bytes(change(file.read_bytes()))
    assert torch.equal(encode(Clips(), encoder, tmp_path).features, expected)
    assert counter.clips == 20


def test_an_interrupted_run_leaves_no_files(encoder: VideoEncoder, tmp_path: Path) -> None:
    class Interrupted(Clips):
        def __getitem__(self, index: int) -> Tensor | str:
            if index == 7:
                raise KeyboardInterrupt
            return super().__getitem__(index)

    with pytest.raises(KeyboardInterrupt):
        encode(Interrupted(), encoder, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_bad_videos_are_reported_and_recorded(
    encoder: VideoEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="vjepa_world")
    found = encode(Clips(bad=[1, 4]), encoder, tmp_path)
    assert caplog.messages == ["Skipped: video 1 is broken", "Skipped: video 4 is broken"]
    assert found.bad == {1: "video 1 is broken", 4: "video 4 is broken"}
    zero = [not found.features[clip].any() for clip in range(10)]
    assert zero == [clip // 2 in (1, 4) for clip in range(10)]
    assert encode(Clips(bad=[1, 4]), encoder, tmp_path).bad == found.bad
    message = (
        "2 of 5 videos are bad; data.max_bad_fraction=0.2 allows 1.*\n  video 1 is broken\n  video 4 is b"
    )
    for cache in (tmp_path, tmp_path / "new"):
        with pytest.raises(DataError, match=message):
            encode(Clips(bad=[1, 4]), encoder, cache, max_bad_fraction=0.2)


def test_a_full_disk_is_reported(encoder: VideoEncoder) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("/dev/full is not here")
    from vjepa_world.training.probe import clip_features

    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        clip_features.write_blocks(full, [torch.zeros(100_000, dtype=torch.float16)])


def test_clips_that_do_not_divide_into_tubelets_are_refused(encoder: VideoEncoder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="video of 3 frames of 32x32 pixels does not divide"):
        encode(Clips(shown=dataclasses.replace(SHOWN, frames=3)), encoder, tmp_path)

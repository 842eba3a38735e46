"""Damaged copies of small videos: no crash, no hang, and each bad file is reported once with its reason."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.coded_video import write_coded
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.data.loading.loader import ClipLoader
from vjepa_world.data.loading.mixture import ClipMixture

STREAMS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"gop": 10},
    "open.mkv": {"options": {"x264-params": "open-gop=1"}, "gop": 12},
    "hevc.mov": {"codec": "libx265", "gop": 12},
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"cpu-used": "8", "deadline": "realtime"},
        "b_frames": None,
    },
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 0, "gop": 12},
}


def truncated(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: rng.integers(1, len(data))]


def flipped(data: bytes, rng: np.random.Generator) -> bytes:
    bits = np.unpackbits(np.frombuffer(data, np.uint8))
    bits[rng.integers(len(bits), size=int(rng.choice([1, 10, 300])))] ^= 1
    return np.packbits(bits).tobytes()


def zeroed(data: bytes, rng: np.random.Generator) -> bytes:
    start, size = rng.integers(len(data)), rng.integers(16, len(data) // 2)
    return data[:start] + bytes(len(data[start : start + size])) + data[start + size :]


def text(data: bytes, rng: np.random.Generator) -> bytes:
    return "".join(rng.choice(list("words and\n,.0123"), 2000)).encode()


def empty(data: bytes, rng: np.random.Generator) -> bytes:
    return b""


def whole(data: bytes, rng: np.random.Generator) -> bytes:
    return data


MUTATIONS: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    truncated,
    flipped,
    zeroed,
    text,
    empty,
    whole,
)


def write_mutations(folder: Path, count: int, seed: int) -> list[Path]:
    """Write `count` damaged, renamed or intact copies; names start with the change."""
    rng = np.random.default_rng(seed)
    originals = folder / "originals"
    originals.mkdir()
    data = {
        name: write_coded(originals / name, range(0, 3000, 100), **s).read_bytes()
        for name, s in STREAMS.items()
    }
    corpus, made = folder / "set", []
    corpus.mkdir()
    for number in range(count):
        name = list(data)[number % len(data)]
        choice = number // len(data) % (len(MUTATIONS) + 1)
        if choice == len(MUTATIONS):  # the wrong extension: FFmpeg goes by the content
            others = [other for other in STREAMS if other != name]
            path = corpus / f"renamed_{number:04}_{name}{Path(str(rng.choice(others))).suffix}"
            path.write_bytes(data[name])
        else:
            mutate = MUTATIONS[choice]
            path = corpus / f"{mutate.__name__}_{number:04}_{name}"
            path.write_bytes(mutate(data[name], rng))
        made.append(path)
    return made


def check_mutations(folder: Path, count: int) -> dict[str, int]:
    """Read clips of `count` mutations through a loader process; return how many of each kind are bad."""
    files = write_mutations(folder, count, seed=count)
    config = VideoDataConfig(path=str(folder / "set"), max_bad_fraction=1.0, fps=5.0, timeout_s=60.0)
    source = ClipMixture(config, num_frames=4, image_size=32, seed=0)
    scanned = list(source.bad.reasons)
    listed = folder / "bad_files.csv"
    loader = ClipLoader(source, batch_size=40, workers=1, bad_files=listed)
    named, drawn = list(scanned), set()
    for batch in loader.batches(0, count // 5):  # eight clips of each file
        named += [name for name, _ in batch.bad]
        drawn |= {name.rpartition(" @ ")[0] for name in batch.names}
    with open(listed, newline="") as stream:
        rows = list(csv.DictReader(stream))
    paths = [row["path"] for row in rows]
    assert sorted(paths) == sorted(named)  # complete
    assert len(set(paths)) == len(paths)  # each once
    assert all(row["path"] in row["reason"] and len(row["reason"]) > len(row["path"]) + 20 for row in rows)
    assert set(paths) | drawn <= {str(path) for path in files}
    bad = {Path(path).name for path in paths}
    for path in files:
        kind = path.name.partition("_")[0]
        if kind in ("empty", "text", "truncated"):
            assert path.name in bad
            assert str(path) not in drawn
        elif kind in ("whole", "renamed"):
            assert path.name not in bad
    return {
        kind: sum(name.startswith(kind) for name in bad)
        for kind in ("truncated", "flipped", "zeroed", "renamed")
    }


def test_forty_mutations(tmp_path: Path) -> None:
    check_mutations(tmp_path, 42)


@pytest.mark.slow
def test_a_thousand_mutations(tmp_path: Path) -> None:
    bad = check_mutations(tmp_path, 1000)
    assert bad["flipped"] > 20 and bad["zeroed"] > 20

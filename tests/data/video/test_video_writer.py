"""Videos are written atomically, and read back as given."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from tests.data.coded_video import coded_frame, read_codes
from tests.paths import REPO
from vjepa_world.data.video.reader import open_video, probe_video
from vjepa_world.data.video.writer import VideoWriter, write_video
from vjepa_world.errors import DataError


def smooth_frames(count: int) -> np.ndarray:
    """Return uint8 [count,64,64,3]: colours that drift smoothly, as in a scene."""
    t, y, x = np.meshgrid(np.arange(count), np.arange(64), np.arange(64), indexing="ij")
    waves = [np.sin(0.1 * x + 0.2 * t), np.cos(0.08 * y - 0.1 * t), np.sin(0.05 * (x + y) + 0.15 * t)]
    return np.stack([(127 + 100 * wave) for wave in waves], axis=-1).astype(np.uint8)


def test_written_frames_are_read_in_order_and_nearly_unchanged(tmp_path: Path) -> None:
    frames = smooth_frames(40)
    path = write_video(tmp_path / "made.mp4", frames, 8)
    info = probe_video(path)
    assert (info.fps, info.num_frames, info.duration_s, info.codec) == (8.0, 40, 5.0, "h264")
    with open_video(path) as video:
        read = video.frames_at(np.arange(40) / 8).permute(0, 2, 3, 1).numpy()
    error = np.abs(read.astype(int) - frames)
    # Colours are stored at half resolution, and lossily: a few levels, no shift of hue or brightness.
    assert error.mean() < 4
    assert np.abs((read.astype(int) - frames).mean((0, 1, 2))).max() < 2


def test_writer_takes_frames_one_by_one_and_sets_keyframes(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "made.mp4", 29.97, gop=100) as writer:
        for number in range(30):
            writer.write(coded_frame(number), keyframe=number == 17)
        assert writer.num_frames == 30
    with av.open(str(writer.path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.pts is not None]
    assert [number for number, packet in enumerate(packets) if packet.is_keyframe] == [0, 17]
    with open_video(writer.path) as video:
        assert video.fps == pytest.approx(29.97, rel=1e-4)
        assert read_codes(video.frames_by_index([29, 17, 16, 0])) == [29, 17, 16, 0]


def test_no_file_is_left_when_the_caller_fails(tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield coded_frame(0)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_video(tmp_path / "made.mp4", frames(), 10)
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_when_a_new_one_fails(tmp_path: Path) -> None:
    path = write_video(tmp_path / "made.mp4", smooth_frames(5), 5)
    before = path.read_bytes()
    with pytest.raises(DataError, match="no frame was given"):
        write_video(path, [], 5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (np.zeros((2, 64, 65, 3), np.uint8), r"\[64, 65, 3\], expected uint8 \[H, W, 3\] with even H and W"),
        (np.zeros((2, 64, 64, 3), np.float32), "got float32"),
        (np.zeros((2, 64, 64), np.uint8), r"got uint8 \[64, 64\]"),
        ([np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)], "frame 1 .* same size"),
    ],
)
def test_wrong_frames_are_refused(tmp_path: Path, frames: np.ndarray, expected: str) -> None:
    with pytest.raises(DataError, match=expected):
        write_video(tmp_path / "made.mp4", frames, 5)
    assert list(tmp_path.iterdir()) == []


def test_wrong_names_and_rates_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"video suffix such as \.mp4"):
        write_video(tmp_path / "made.words", smooth_frames(2), 5)
    with pytest.raises(DataError, match="fps is 0"):
        write_video(tmp_path / "made.mp4", smooth_frames(2), 0)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="Cannot write .*made.mp4"):
        write_video(tmp_path / "file" / "made.mp4", smooth_frames(2), 5)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the size of a file are Linux's here")
@pytest.mark.parametrize("limit", [0, 20_000])
def test_a_full_disk_is_reported_and_leaves_no_partial_file(tmp_path: Path, limit: int) -> None:
    """A limit on file sizes simulates a full disk: writes fail with an operating system error."""
    program = (
        "import resource, sys, numpy as np\n"
        "from vjepa_world.data.video.writer import write_video\n"
        "from vjepa_world.errors import DataError\n"
        "limit = int(sys.argv[2])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))\n"
        "noise = np.random.default_rng(0).integers(0, 255, (60, 64, 64, 3)).astype(np.uint8)\n"
        "try:\n"
        "    write_video(sys.argv[1], noise, 10)\n"
        "except DataError as error:\n"
        "    sys.exit(str(error))\n"
    )
    path = tmp_path / "made.mp4"
    root = REPO
    command = [sys.executable, "-c", program, str(path), str(limit)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert result.returncode == 1
    assert f"Cannot write {path}: File too large" in result.stderr
    assert "free some space" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_fewer_frames_than_were_written_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a disk or a muxer silently lost some."""
    writer = VideoWriter(tmp_path / "a.mp4", 5)
    for number in range(4):
        writer.write(coded_frame(number))
    writer.num_frames += 1
    with pytest.raises(DataError, match=r"Cannot write .*a\.mp4: the file has 4 frames, and 5 were written"):
        writer.close()
    assert list(tmp_path.iterdir()) == []

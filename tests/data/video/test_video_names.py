"""Files of any name are read and written: FFmpeg takes some for URLs, and names need not be UTF-8."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.data.coded_video import coded_frame, read_codes
from tests.paths import REPO
from vjepa_world.data.corpus.shards import index_shard
from vjepa_world.data.video import backends as video_backends
from vjepa_world.data.video.reader import open_video, probe_video
from vjepa_world.data.video.writer import VideoWriter
from vjepa_world.errors import DataError

#: FFmpeg would take the first ones for protocols, and the next for options or patterns.
NAMES = [
    "12:30:05.mp4",
    "co:lon/a.mp4",
    "http:x.mp4",
    "file:a.mp4",
    "-i.mp4",
    "a%03d.mp4",
    "a b?c#d.mp4",
    "a|b,c.mp4",
]


def write(path: Path) -> None:
    with VideoWriter(path, 10) as writer:
        for number in range(12):
            writer.write(coded_frame(number))


@pytest.fixture(params=["torchcodec", "decord", "pyav"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(video_backends.BACKEND_VARIABLE, request.param)
    try:
        video_backends.find_backend()
    except DataError as error:
        pytest.skip(str(error))
    return str(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_a_relative_name_is_not_a_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path(name))
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.mp4")] == [name]
    assert probe_video(name).num_frames == 12
    for form in (name, f"./{name}", tmp_path / name):
        with open_video(form) as video:
            assert read_codes(video.frames_by_index([3, 11])) == [3, 11]


def test_a_shard_whose_name_looks_like_a_url_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("a:b.mp4"))
    with tarfile.open("./co:lon.tar", "w") as archive:
        archive.add("a:b.mp4")
    (sample,) = index_shard(Path("co:lon.tar"), (".mp4",))
    with open_video(sample.member) as video:
        assert read_codes(video.frames_at([0.5])) == [5]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_a_name_that_is_not_utf8_is_read_and_shown(tmp_path: Path, backend: str) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.mp4"))
    write(path)
    with open_video(path) as video:
        assert read_codes(video.frames_by_index([7])) == [7]
    root = REPO
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(root)}
    for target in (tmp_path, path):
        command = [sys.executable, "-m", "vjepa_world", "inspect", str(target)]
        result = subprocess.run(command, capture_output=True, env=strict, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        assert b"caf\\udce9.mp4" in result.stdout
        assert b"Traceback" not in result.stderr

"""`inspect` says what any corpus holds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from PIL import Image

from tests.data.coded_video import write_coded
from tests.verbs.commands import run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inspect")
    (root / "images").mkdir()
    for name in ("a", "b"):
        video = write_coded(root / f"{name}.mp4", range(0, 2000, 100))
        with tarfile.open(root / f"{name}.tar", "w") as tar:
            tar.add(video, "inside.mp4")
        Image.new("RGB", (40, 30)).save(root / "images" / f"{name}.png")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "BMP")
    (root / "images" / "c.bmp").write_bytes(picture.getvalue())
    (root / "images" / "d.jpg").touch()
    (root / "list.csv").write_text("path,start,end\na.mp4,0,1\na.mp4,1,2\nb.mp4,,\ngone.mp4,,\n")
    return root


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (
            "list.csv",
            ["list.csv: 2 videos, 4.0 s in all, 1 bad", "clips from: 3", "No such video file: gone.mp4"],
        ),
        ("{a,b}.tar", ["{a,b}.tar: 2 videos, 4.0 s in all, 0 bad", "inside.mp4", "h264 at 10.00/s  ####"]),
        ("*.mp4", ["*.mp4: 2 videos", "rates: 10.00 to 10.00 frames/s", "##### 2"]),
        (
            "images",
            ["images: 3 images, 1 bad", "codecs: png (2), bmp (1)", "sizes: 40x30 (2), 8x8 (1)", "d.jpg"],
        ),
    ],
)
def test_a_corpus_is_described(
    home: Path, path: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "inspect", path) == 0
    text = capsys.readouterr().out
    for part in parts:
        assert part in text


def test_what_is_not_there_is_an_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("{a,c}.tar", "*.webm", "nowhere.parquet"):
        assert run(home, "inspect", path) == 2
    assert "No such file or folder: c.tar" in capsys.readouterr().err

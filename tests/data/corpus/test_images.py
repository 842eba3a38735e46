"""Images are read upright in 8-bit RGB; damaged or animated ones are reported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.coded_video import write_coded
from tests.memory import memory_of_at_most
from vjepa_world.cli import plan
from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.corpus.images import load_image, probe_image
from vjepa_world.data.video.reader import VideoError
from vjepa_world.errors import DataError


def picture(height: int = 24, width: int = 36) -> np.ndarray:
    """Return uint8 [H,W,3] without any symmetry."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 8, columns * 6, np.full_like(rows, 90)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.webp", "a.jpg", "a.JPEG"])
def test_formats(tmp_path: Path, name: str) -> None:
    options = (
        {"lossless": True} if name == "a.webp" else {"quality": 98} if name.lower().startswith("a.j") else {}
    )
    Image.fromarray(picture()).save(tmp_path / name, **options)
    read = load_image(tmp_path / name)
    assert read.dtype == torch.uint8
    assert read.shape == (3, 24, 36)
    difference = (read.permute(1, 2, 0).numpy().astype(int) - picture()).__abs__()
    assert difference.max() <= (16 if "j" in name.lower() else 0)
    info = probe_image(tmp_path / name)
    assert (info.width, info.height, info.num_frames, info.duration_s) == (36, 24, 1, 0.0)


@pytest.mark.parametrize(
    ("orientation", "stored"),
    [
        (1, lambda x: x),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x)),
        (8, lambda x: np.rot90(x, -1)),
    ],
)
def test_the_orientation_flag_turns_the_image(tmp_path: Path, orientation: int, stored: object) -> None:
    image = Image.fromarray(np.ascontiguousarray(stored(picture())))  # type: ignore[operator]
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.png", exif=exif)
    assert (load_image(tmp_path / "a.png").permute(1, 2, 0).numpy() == picture()).all()
    assert (probe_image(tmp_path / "a.png").width, probe_image(tmp_path / "a.png").height) == (36, 24)


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    deep = (np.arange(600, dtype=np.uint32).reshape(20, 30) * 109).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert (load_image(tmp_path / "deep.png").numpy() == (deep >> 8).astype(np.uint8)).all()
    Image.fromarray(picture()).convert("RGBA").save(tmp_path / "alpha.png")
    assert (load_image(tmp_path / "alpha.png").permute(1, 2, 0).numpy() == picture()).all()
    gray = picture()[..., 0]
    Image.fromarray(gray).save(tmp_path / "gray.png")
    assert (load_image(tmp_path / "gray.png").numpy() == gray).all()


def test_bad_images_are_reported_with_the_reason(tmp_path: Path) -> None:
    Image.fromarray(picture(200, 300)).save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    frames = [Image.fromarray(picture() // (i + 1)) for i in range(3)]
    frames[0].save(tmp_path / "moving.webp", save_all=True, append_images=frames[1:])
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "text.jpg").write_text("words")
    (tmp_path / "empty.bmp").touch()
    for name, reason in (
        ("cut.png", "truncated"),
        ("text.jpg", "it is not an image, or its first bytes are damaged"),
        ("empty.bmp", "zero bytes"),
        ("moving.webp", "is an animated image"),
        ("gone.png", "No such"),
    ):
        with pytest.raises(VideoError, match=reason) as caught:
            load_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_damaged_images_never_raise_anything_else(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bad = 0
    for name in ("a.png", "a.jpg", "a.webp", "a.bmp"):
        Image.fromarray(picture(60, 80)).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        for _ in range(100):
            damaged = bytearray(data[: rng.integers(1, len(data))] if rng.random() < 0.3 else data)
            for index in rng.integers(len(damaged), size=int(rng.integers(1, 20))):
                damaged[index] = rng.integers(256)
            (tmp_path / f"b{name}").write_bytes(damaged)
            try:
                load_image(tmp_path / f"b{name}")
            except VideoError:
                bad += 1
    assert 100 < bad < 400


def test_images_are_used_if_requested_and_there_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name in ("b.png", "deep/a.jpg", ".hidden.png"):
        Image.fromarray(picture()).save(tmp_path / name)
    found = find_videos(tmp_path, images=True).segments
    assert [segment.path.name for segment in found] == ["b.png", "a.jpg"]
    assert [s.path.name for s in find_videos(f"{tmp_path}/*.png", images=True).segments] == ["b.png"]
    assert find_videos(tmp_path / "b.png", images=True).usable(1.0, 0.0)[0][0].is_image
    with pytest.raises(DataError, match="No video found"):
        find_videos(tmp_path)
    write_coded(tmp_path / "deep" / "c.mp4", range(0, 1000, 100))
    assert [s.path.name for s in find_videos(tmp_path, images=True).segments] == ["c.mp4"]
    (tmp_path / "list.csv").write_text("path\nb.png\ndeep/c.mp4\n")
    assert len(find_videos(tmp_path / "list.csv", images=True).segments) == 2


@pytest.mark.filterwarnings("ignore:Image size")
def test_an_image_smaller_than_its_header_declares_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (12_000, 10_000)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    for read in (load_image, probe_image):
        with (
            memory_of_at_most(2**28),
            pytest.raises(VideoError, match="12000 x 10000 pixels, and it has 2000"),
        ):
            read(path)


def test_palette_cmyk_and_bilevel_images_become_rgb(tmp_path: Path) -> None:
    colours = Image.new("P", (4, 2))
    colours.putpalette([10, 20, 30, 200, 100, 50])
    colours.putdata([0, 1, 1, 0, 1, 0, 0, 1])
    colours.save(tmp_path / "palette.png")
    assert load_image(tmp_path / "palette.png")[:, 0].T.tolist() == [
        [10, 20, 30],
        [200, 100, 50],
        [200, 100, 50],
        [10, 20, 30],
    ]
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "ink.jpg", quality=98)
    red = load_image(tmp_path / "ink.jpg")[:, 4, 4].tolist()
    assert red[0] > 240 and max(red[1:]) < 15
    Image.fromarray(np.eye(6) > 0).save(tmp_path / "bits.png")
    assert (load_image(tmp_path / "bits.png").numpy() == 255 * np.eye(6)).all()


def test_the_first_image_of_a_multi_picture_file_is_read(tmp_path: Path) -> None:
    first, second = Image.fromarray(picture()), Image.fromarray(255 - picture())
    first.save(tmp_path / "phone.jpg", format="MPO", save_all=True, append_images=[second], quality=98)
    assert Image.open(tmp_path / "phone.jpg").format == "MPO"
    assert (
        np.abs(load_image(tmp_path / "phone.jpg").permute(1, 2, 0).numpy().astype(int) - picture()).max()
        <= 16
    )


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.ones((4, 4), np.float32), "floating-point"),
        (np.full((4, 4), 1 << 20, np.int32), "more than 16 bits"),
    ],
)
def test_pixels_without_a_known_white_are_refused(tmp_path: Path, pixels: np.ndarray, reason: str) -> None:
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    with pytest.raises(VideoError, match=reason):
        load_image(tmp_path / "a.tif")


def test_plan_reads_images_as_corpora_do(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.ascontiguousarray(np.rot90(picture()))).save(tmp_path / "phone.png", exif=exif)
    Image.fromarray(np.full((4, 4), 100 * 257, np.uint16)).save(tmp_path / "deep.png")
    assert (plan.read_image(tmp_path / "phone.png").permute(1, 2, 0).numpy() == picture()).all()
    assert (plan.read_image(tmp_path / "deep.png") == 100).all()


@pytest.mark.parametrize("orientation", [0, *range(1, 10), 255])
def test_header_and_pixels_agree_on_the_size(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png", exif=exif)
    info = probe_image(tmp_path / "a.png")
    assert load_image(tmp_path / "a.png").shape == (3, info.height, info.width)

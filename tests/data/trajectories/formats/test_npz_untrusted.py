"""Untrusted npz files: sizes and headers are checked before anything is unpacked."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.trajectories.test_mutations import flipped, truncated, zeroed
from tests.memory import memory_of_at_most
from vjepa_world.data.trajectories.formats.ogbench import OGBenchDataset
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.errors import DataError, VJEPAWorldError

ROWS = 6


def arrays(**more: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    ends = np.zeros(ROWS)
    ends[-1] = 1
    found = {
        "observations": rng.normal(size=(ROWS, 4)),
        "actions": rng.normal(size=(ROWS, 2)),
        "terminals": ends,
    }
    return found | more


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape: str, descr: str = "'<f8'") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def write(path: Path, compression: int = zipfile.ZIP_STORED, **entries: bytes) -> Path:
    content = {name: npy(array) for name, array in arrays().items()} | entries
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(f"{name}.npy", data)
    return path


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_decompression_bomb_is_not_unpacked(tmp_path: Path, compression: int) -> None:
    zeros = header("(6, 50000000)") + bytes(6 * 50_000_000 * 8 // 12)
    path = write(tmp_path / "a.npz", compression, observations=zeros)
    assert path.stat().st_size < 300_000
    with (
        memory_of_at_most(2**29),
        pytest.raises(DataError, match="decompress|is compressed in a way that NumPy does not use"),
    ):
        OGBenchDataset(path)


def test_wrong_sizes_in_the_zip_directory_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, observations=header("(6, 100000000)"))
    data = path.read_bytes()
    at = data.index(b"PK\x01\x02")  # the directory's first entry
    assert b"observations" in data[at : at + 80]
    path.write_bytes(data[: at + 24] + struct.pack("<I", 2**32 - 2) + data[at + 28 :])
    with memory_of_at_most(2**29), pytest.raises(DataError, match="decompress"):
        OGBenchDataset(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("(6, 1000000000000)"), "needs [0-9]+ bytes and has "),
        (header("(4294967296, 4294967296)"), "needs [0-9]+ bytes and has "),
        (header("(-6, 4)"), r"has the shape \(-6, 4\)"),
        (header("(6, True)"), "cannot be read as npz|has the shape"),
        (header("(6, 1000000000000)", "'|V0'"), "has the shape"),
        (header("(6, 4)", "'<U0'"), "has the shape"),
        (header("(6, 4)", "'|O'") + bytes(200), "holds Python objects"),
        (header("(" * 60 + ")" * 60), "cannot be read as npz"),
        (
            header("(6, 4)", "[('a', '<f8')]") + bytes(192),
            "observations holds .*expected numbers for each row",
        ),
        (npy(np.array(["word"] * 6)), "observations holds <U4 of shape"),
        (npy(np.zeros((6, 4), complex)), "observations holds complex128"),
        (npy(np.zeros(())), r"observations holds float64 of shape \(\)"),
        (b"", "cannot be read as npz"),
    ],
)
def test_wrong_array_headers_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = write(tmp_path / "a.npz", observations=content)
    with memory_of_at_most(2**29), pytest.raises(DataError, match=message) as caught:
        OGBenchDataset(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["actions", "terminals"])
def test_string_arrays_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match=f"{name} holds <U4"):
        OGBenchDataset(write(tmp_path / "a.npz", **{name: npy(np.array(["word"] * 6))}))  # type: ignore[arg-type]


def test_unread_data_is_reported(tmp_path: Path) -> None:
    more = {"names": npy(np.array(["a"] * 6)), "cloud": npy(np.zeros((6, 3, 3))), "../../x": npy(np.zeros(3))}
    left_out = OGBenchDataset(write(tmp_path / "a.npz", **more)).about["left_out"]  # type: ignore[arg-type]
    assert sorted(left_out) == ["../../x", "cloud", "names"]
    assert left_out["cloud"] == "float64 [6, 3, 3]: no number or vector in each of 6 rows"


IMAGES = np.random.default_rng(1).integers(0, 256, (ROWS, 16, 16, 3), np.uint8)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda rgb: rgb, IMAGES),
        (lambda rgb: rgb.transpose(0, 3, 1, 2), IMAGES),
        (lambda rgb: (rgb / 255).astype(np.float32), IMAGES),
        (lambda rgb: np.concatenate([rgb, rgb[..., :1]], -1), IMAGES),
        (lambda rgb: np.concatenate([255 - rgb, rgb], -1), IMAGES),  # two frames: the newest is the last
        (lambda rgb: rgb[..., :1], np.repeat(IMAGES[..., :1], 3, -1)),
    ],
)
def test_images_are_read_in_every_array_layout(
    tmp_path: Path, change: Callable[[np.ndarray], np.ndarray], expected: np.ndarray
) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, **arrays(observations=change(IMAGES), qpos=np.zeros((ROWS, 2))))  # type: ignore[arg-type]
    frames = OGBenchDataset(path).episode(0).frames([4, 1])
    assert torch.equal(frames, torch.from_numpy(expected[[4, 1]]).permute(0, 3, 1, 2))


def test_invalid_images_are_not_read_as_a_state(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **arrays(observations=np.zeros((ROWS, 16, 16, 5)), qpos=np.zeros((ROWS, 2))))  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"neither vectors nor images .* no axis of 1, 3 or 4 channels"):
        OGBenchDataset(tmp_path / "a.npz")


@pytest.mark.parametrize("compressed", [False, True])
def test_damaged_files_are_read_correctly_or_refused(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays())  # type: ignore[arg-type]
    data, rng = path.read_bytes(), np.random.default_rng(3)
    messages = []
    for number in range(150):
        path.write_bytes((flipped, truncated, zeroed)[number % 3](data, rng))
        with memory_of_at_most(2**30):
            try:
                dataset = open_trajectories(path)
                for index in range(dataset.num_episodes):
                    assert np.isfinite(dataset.episode(index).states).all()
            except VJEPAWorldError as error:
                messages.append(str(error))
    assert len(messages) > 60
    assert [message for message in messages if "a.npz" not in message] == []


def test_a_header_with_open_brackets_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.npz", observations=header("(6, " + "(" * 20) + bytes(200))
    with pytest.raises(DataError, match="cannot be read as npz"):
        OGBenchDataset(path)

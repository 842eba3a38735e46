"""Images in arrays of any layout: channels first or last, grey, with alpha, floating point, or encoded files.

Shapes: T rows of an episode, H W pixels, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories.formats.image_cells import decode_cell
from vjepa_world.errors import DataError

_CHANNELS = (1, 3, 4)  # grey, RGB, RGB and alpha
_LEAST_SIDE = 8  # of images without a channel axis: smaller matrices are something else
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_SLACK = 1e-3  # rounding of floating-point pixels beyond their range

Layout = Literal["hwc", "chw", "hw", "files"]


class Sliceable(Protocol):
    """An array on disk: a memory map or an HDF5 dataset."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        ...

    @property
    def dtype(self) -> np.dtype:
        """Its type."""
        ...


@dataclass(frozen=True)
class ImageArray:
    """The layout of the images in an array.

    Attributes:
        layout: hwc `[T, H, W, C]`, chw `[T, C, H, W]`, hw `[T, H, W]`, or files: JPEG or PNG bytes in each row.
        white: Largest value of a pixel: 255, or 1 in some floating-point images.
    """

    layout: Layout
    white: float = 255.0

    def pixels(self, block: np.ndarray, where: str) -> Tensor:
        """Return rows of the array as uint8 `[n, 3, H, W]`.

        Args:
            block: n rows in this layout, `[n, ...]`.
            where: The file, the episode and the array, for messages.

        Raises:
            DataError: A row is not a complete image, has another size, or numbers out of range.
        """
        if self.layout == "files":
            return _decoded(block, where)
        if self.layout == "hw":
            block = block[..., None]
        elif self.layout == "chw":
            block = np.moveaxis(block, 1, -1)
        block = _colours(block)
        if block.dtype != np.uint8:
            block = self._eight_bit(block, where)
        return torch.from_numpy(
            np.array(np.moveaxis(block, -1, 1), order="C")
        )  # a copy, not the file's memory

    def _eight_bit(self, block: np.ndarray, where: str) -> np.ndarray:
        low, high = float(block.min(initial=0)), float(block.max(initial=0))
        if not (-_SLACK * self.white <= low and high <= (1 + _SLACK) * self.white):  # NaN fails too
            raise DataError(
                f"{where}: pixels go from {low:g} to {high:g}, expected 0 to {self.white:g}. Take the episode out, or "
                "record it again."
            )
        scaled = block.astype(np.float32) * np.float32(255.0 / self.white)
        return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def detect_images(
    name: str, array: Sliceable, first_rows: Callable[[], np.ndarray], *, stacked: bool = False
) -> ImageArray | str | None:
    """Return the layout of images in an array, or why they are not read; None if the array has no images.

    Args:
        name: The array's name, which often identifies depth maps and masks.
        array: The array.
        first_rows: Returns some of its first rows, `[n, ...]`.
        stacked: Whether channels may be those of several frames, of which the last is taken.
    """
    shape, dtype = tuple(array.shape or ()), array.dtype  # HDF5 arrays may have no shape
    if not shape or not shape[0]:
        return None
    if dtype.kind in "OSV" or (dtype == np.uint8 and len(shape) == 2):
        return _files(first_rows())
    if len(shape) not in (3, 4) or dtype.kind not in "fiub" or min(shape) < 1:
        return None
    layout = _layout(shape, stacked=stacked)
    if layout is None:
        return f"{dtype} {list(shape)}: no axis of 1, 3 or 4 channels" if len(shape) == 4 else None
    what = f"{dtype} {list(shape)}"
    unlike = next(
        (word for word in ("depth", "disparity", "segmentation", "_seg", "mask") if word in name.lower()),
        None,
    )
    if unlike is not None:
        return f"{what}: {unlike}, by its name, not colours"
    if dtype == np.uint8:
        return ImageArray(layout)
    if dtype.kind != "f":
        return f"{what}: whole numbers that are not 8-bit colours, as depth maps and masks have"
    if layout == "hw" or (_channels(shape, layout) == 1 and "image" not in name and "rgb" not in name):
        return f"{what}: one floating-point number per pixel, as depth maps have"
    return _floating(layout, what, first_rows())


def _layout(shape: tuple[int, ...], *, stacked: bool) -> Layout | None:
    if len(shape) == 3:
        return "hw" if min(shape[1:]) >= _LEAST_SIDE else None
    if shape[-1] in _CHANNELS or (stacked and shape[-1] % 3 == 0):
        return "hwc"
    return "chw" if shape[1] in _CHANNELS else None


def _channels(shape: tuple[int, ...], layout: Layout) -> int:
    return shape[-1] if layout == "hwc" else shape[1]


def _floating(layout: Layout, what: str, rows: np.ndarray) -> ImageArray | str:
    low, high = float(rows.min(initial=0)), float(rows.max(initial=0))
    if low >= -_SLACK and high <= 1 + _SLACK:
        return ImageArray(layout, white=1.0)
    if low >= 0 and high <= 255:
        return ImageArray(layout, white=255.0)
    return f"{what}: numbers from {low:g} to {high:g}, where colours go from 0 to 1 or to 255"


def _files(rows: np.ndarray) -> ImageArray | None:
    content = _content(rows[0]) if len(rows) else b""
    return ImageArray("files") if content.startswith(_IMAGE_STARTS) else None


def _content(cell: object) -> bytes:
    """Return the bytes in a cell: an array of bytes, which may be padded with zeros, or a string."""
    if isinstance(cell, np.ndarray):
        return cell.astype(np.uint8).tobytes() if cell.dtype.kind in "iu" else b""
    if isinstance(cell, np.void):
        return cell.tobytes()
    return bytes(cell) if isinstance(cell, bytes) else b""


def _colours(block: np.ndarray) -> np.ndarray:
    """Return RGB [n,H,W,3]: grey repeated, without alpha, of several frames the last."""
    channels = block.shape[-1]
    if channels == 1:
        return np.repeat(block, 3, axis=-1)
    return block[..., :3] if channels == 4 else block[..., -3:]


def _decoded(block: np.ndarray, where: str) -> Tensor:
    images = [
        decode_cell({"bytes": _content(cell)}, f"{where}, image {row}") for row, cell in enumerate(block)
    ]
    for row, image in enumerate(images):
        if image.shape != images[0].shape:
            raise DataError(
                f"{where}: image {row} is {image.shape}, and {images[0].shape} before. Take the episode out, or write "
                "it again."
            )
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

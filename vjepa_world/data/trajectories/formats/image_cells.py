"""Decodes images in cells of tables, encoded as PNG or JPEG. Shapes: C = 3 channels (RGB), H W pixels."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from vjepa_world.data.corpus.images import PILLOW_ERRORS, check_pixels
from vjepa_world.errors import DataError
from vjepa_world.files.validation import short


def decode_cell(cell: Mapping[str, Any] | bytes | None, where: str) -> np.ndarray:
    """Return the upright image of a cell, `{"bytes": ..., "path": ...}` or the bytes, uint8 RGB `[H, W, C]`.

    Raises:
        DataError: It has no bytes, they are not a complete image, or its pixels have more than 8 bits.
    """
    with _opened(cell, where) as image:
        if is_deep(image):
            raise DataError(
                f"{where} has pixels of more than 8 bits ({image.mode}), as depth maps do, and are not colours. "
                "Leave the camera out (cameras=...)."
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def cell_is_deep(cell: Mapping[str, Any] | bytes | None, where: str) -> bool:
    """Return whether the pixels of a cell's image have more than 8 bits, as in depth maps; only its header is read.

    Raises:
        DataError: It has no bytes, or they are not an image.
    """
    with _opened(cell, where) as image:
        return is_deep(image)


def is_deep(image: Image.Image) -> bool:
    """Return whether an image's pixels are single numbers of 16 or 32 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


@contextmanager
def _opened(cell: Mapping[str, Any] | bytes | None, where: str) -> Iterator[Image.Image]:
    content = cell.get("bytes") if isinstance(cell, Mapping) else cell
    if not isinstance(content, bytes) or not content:
        raise DataError(
            f"{where} holds no image, but {short(cell)}. Save the dataset with images embedded, as PNG or JPEG."
        )
    try:
        with Image.open(io.BytesIO(content)) as image:
            check_pixels(image, len(content))
            yield image
    except PILLOW_ERRORS as error:
        raise DataError(
            f"{where} is not a whole image ({error}). Copy the file again, or take the episode out."
        ) from error

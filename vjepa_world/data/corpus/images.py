"""Reads ordinary image files, upright and in 8-bit RGB: the one reader of images. Shapes: C = 3 (RGB), H W pixels."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from vjepa_world.data.corpus.locations import Location, TarMember, open_location, size_of, suffix_of
from vjepa_world.data.video.reader import VideoError, VideoInfo, check_file, unreadable

IMAGE_EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")

#: What Pillow's readers raise on damaged files, and on images so large that they may be an attack.
PILLOW_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    EOFError,
    OverflowError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


# An image may always have so many bytes of pixels; more only where it is no more than so many times larger than stored.
_FREE_BYTES, _MOST_UNPACKED = 64 << 20, 1100


def is_image(place: Location) -> bool:
    """Whether its name is that of an image."""
    return suffix_of(place) in IMAGE_EXTENSIONS


def probe_image(place: Location) -> VideoInfo:
    """Read an image's header, without decoding it; it lasts 0 s.

    Raises:
        VideoError: missing, empty, no image, or animated.
    """
    with _opened(place) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # orientations that swap rows and columns
            width, height = height, width
        return VideoInfo(
            path=place,
            duration_s=0.0,
            fps=0.0,
            num_frames=1,
            codec=(image.format or "image").lower(),
            width=width,
            height=height,
        )


def load_image(path: str | os.PathLike[str] | TarMember) -> Tensor:
    """Return an image file's pixels, uint8 `[3, H, W]` RGB, upright as its EXIF orientation says.

    Palettes, grey and CMYK become RGB; of 16 bits the upper 8 are taken; transparency is dropped.

    Args:
        path: A JPEG, PNG, WebP or BMP file, or the member of a tar file.

    Raises:
        VideoError: The file is missing, empty, damaged, animated, or has pixels without a known range.
    """
    place = path if isinstance(path, TarMember) else Path(path)
    with _opened(place) as image:
        pixels = np.array(_eight_bit(place, ImageOps.exif_transpose(image)).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


@contextmanager
def _opened(place: Location) -> Iterator[Image.Image]:
    check_file(place)
    try:
        with open_location(place) as stream, Image.open(stream) as image:
            # A phone's picture may hold a second one (MPO: a preview, or the other eye's); the first is the picture.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise VideoError(
                    f"{place} is an animated image, and one frame is expected; make a video of it, or take it out."
                )
            check_pixels(image, size_of(place))
            yield image
    except PILLOW_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "<_io" in reason:  # Pillow names the open file, not the path
            reason = f"it is no image, or its first bytes are damaged ({size_of(place)} bytes)"
        raise unreadable(place, reason, "a whole image file") from error


def check_pixels(image: Image.Image, stored_bytes: int) -> None:
    """Refuse an image whose header tells of far more pixels than its bytes can hold.

    Raises:
        ValueError: It does.
    """
    width, height = image.size
    if 3 * width * height > _FREE_BYTES + _MOST_UNPACKED * stored_bytes:
        raise ValueError(
            f"its header tells of {width} x {height} pixels, and it has {stored_bytes} bytes, which cannot hold them"
        )


def _eight_bit(place: Location, image: Image.Image) -> Image.Image:
    """Bring 16 bits a pixel to 8; Pillow would cut them off at 255.

    Raises:
        VideoError: floating-point or 32-bit pixels, of which nobody knows what is white.
    """
    if image.mode == "F":
        raise unreadable(place, "its pixels are floating-point numbers", "8 or 16 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        if pixels.size and not 0 <= pixels.min() <= pixels.max() < 1 << 16:
            raise unreadable(place, "its pixels have more than 16 bits", "8 or 16 bits a channel")
        return Image.fromarray((pixels.astype(np.uint32) >> 8).astype(np.uint8))
    return image

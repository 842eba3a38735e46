"""Reads image files, upright and in 8-bit RGB. Shapes: C = 3 (RGB), H W pixels."""

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

#: What Pillow's readers raise on damaged files, and on images that are suspiciously large.
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

# An image may always have this many bytes of pixels; more only up to this multiple of its stored size.
_FREE_BYTES, _MOST_UNPACKED = 64 << 20, 1100


def is_image(location: Location) -> bool:
    """Return whether a file is an image by its suffix."""
    return suffix_of(location) in IMAGE_EXTENSIONS


def probe_image(location: Location) -> VideoInfo:
    """Read an image's header without decoding it; its duration is 0 s.

    Raises:
        VideoError: The file is missing, empty, no image, or animated.
    """
    with _opened(location) as image:
        width, height = image.size
        if image.getexif().get(0x0112, 1) in (5, 6, 7, 8):  # orientations that swap rows and columns
            width, height = height, width
        return VideoInfo(
            path=location,
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
    location = path if isinstance(path, TarMember) else Path(path)
    with _opened(location) as image:
        pixels = np.array(_eight_bit(location, ImageOps.exif_transpose(image)).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)


@contextmanager
def _opened(location: Location) -> Iterator[Image.Image]:
    check_file(location)
    try:
        with open_location(location) as stream, Image.open(stream) as image:
            # A phone's image may hold a second one (MPO: a preview, or the other eye's); the first is used.
            if getattr(image, "is_animated", False) and image.format != "MPO":
                raise VideoError(
                    f"{location} is an animated image, and one frame is expected; make a video of it, or take it out."
                )
            check_pixels(image, size_of(location))
            yield image
    except PILLOW_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "<_io" in reason:  # Pillow prints the file object, not the path
            reason = f"it is not an image, or its first bytes are damaged ({size_of(location)} bytes)"
        raise unreadable(location, reason, "a whole image file") from error


def check_pixels(image: Image.Image, stored_bytes: int) -> None:
    """Refuse an image whose header declares far more pixels than its bytes can hold.

    Raises:
        ValueError: It does.
    """
    width, height = image.size
    if 3 * width * height > _FREE_BYTES + _MOST_UNPACKED * stored_bytes:
        raise ValueError(
            f"its header declares {width} x {height} pixels, and it has {stored_bytes} bytes, which cannot hold them"
        )


def _eight_bit(location: Location, image: Image.Image) -> Image.Image:
    """Convert 16 bits a pixel to 8; Pillow would clip them at 255.

    Raises:
        VideoError: Pixels are floating-point or 32-bit numbers, whose range is unknown.
    """
    if image.mode == "F":
        raise unreadable(location, "its pixels are floating-point numbers", "8 or 16 bits a channel")
    if image.mode == "I" or image.mode.startswith("I;16"):
        pixels = np.asarray(image)
        if pixels.size and not 0 <= pixels.min() <= pixels.max() < 1 << 16:
            raise unreadable(location, "its pixels have more than 16 bits", "8 or 16 bits a channel")
        return Image.fromarray((pixels.astype(np.uint32) >> 8).astype(np.uint8))
    return image

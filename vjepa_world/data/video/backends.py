"""The choice of the decoder behind `reader.py`: torchcodec, decord, or our own on PyAV.

Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Sequence

import torch
from torch import Tensor

from vjepa_world.data.video.av_decoder import KEPT_BYTES, AvDecoder
from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.decoder import DecodeError, Decoder, first_line
from vjepa_world.data.video.library_decoders import (
    DecordDecoder,
    TorchcodecDecoder,
    decord_is_exact,
    torchcodec_is_exact,
)
from vjepa_world.data.video.packet_roles import SKIPPING_CODECS
from vjepa_world.errors import ConfigError, DataError, nearest

logger = logging.getLogger(__name__)

#: The environment variable that selects the back end of a process and its children, and its allowed values.
BACKEND_VARIABLE = "VJEPA_WORLD_VIDEO_BACKEND"
BACKEND_CHOICES = ("auto", "torchcodec", "decord", "pyav")


class MemoryDecoder(Decoder):
    """All frames of a video in memory: reading a clip is a copy.

    Args:
        decoder: Decodes all frames now; it is not used afterwards.
    """

    def __init__(self, decoder: Decoder) -> None:
        self.starts_s, self.end_s = decoder.starts_s, decoder.end_s
        self._frames = decoder.all_frames()

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        return self._frames[list(indices)]

    def close(self) -> None:
        """See `Decoder`."""
        self._frames = self._frames[:0]


def find_backend() -> str:
    """Return the back end that reads videos in this process: 'torchcodec', 'decord' or 'pyav'.

    The environment variable `VJEPA_WORLD_VIDEO_BACKEND` selects it. `auto`, the default, takes torchcodec if it loads,
    but on the CPU not for the codecs that our decoder is faster for (`SKIPPING_CODECS`). The choice is cached in the
    process; if torchcodec does not load, one line is logged.

    Raises:
        ConfigError: The variable has another value.
        DataError: The variable is `torchcodec` or `decord`, and that does not load.
    """
    choice = _choice()
    if choice == "decord":
        return _load_decord()
    return "pyav" if choice == "pyav" else _load_torchcodec(choice)


def _choice() -> str:
    choice = os.environ.get(BACKEND_VARIABLE, "").strip() or "auto"
    if choice not in BACKEND_CHOICES:
        raise ConfigError(
            f"The environment variable {BACKEND_VARIABLE} is '{choice}'; {nearest(choice, BACKEND_CHOICES)}"
        )
    return choice


@functools.cache
def _load_torchcodec(choice: str) -> str:
    is_installed = importlib.util.find_spec("torchcodec") is not None
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = first_line(error)
    else:
        return "torchcodec"
    if choice == "torchcodec":
        raise DataError(
            f"{BACKEND_VARIABLE} is torchcodec, and that did not load: {reason}. Install FFmpeg 4 to 8 "
            "(apt-get install ffmpeg) and the torchcodec that fits the installed torch "
            "(pip install 'vjepa-world[torchcodec]'), or set it to auto or pyav."
        )
    if is_installed:
        logger.warning(
            "Videos are read with PyAV, which reads all formats; torchcodec is optional and did not load: %s",
            reason,
        )
    return "pyav"


@functools.cache
def _load_decord() -> str:
    try:
        import decord  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        raise DataError(
            f"{BACKEND_VARIABLE} is decord, and that did not load: {first_line(error)}. Install it "
            "(pip install 'vjepa-world[decord]'), or set it to auto or pyav."
        ) from error
    return "decord"


def check_decode_device(device: str) -> None:
    """Refuse a device that frames cannot be decoded on here.

    Raises:
        ConfigError: There is no such CUDA device, or torchcodec, the only decoder for CUDA, does not load.
    """
    if device == "cpu":
        return
    count = torch.cuda.device_count()
    if not torch.cuda.is_available() or (torch.device(device).index or 0) >= count:
        raise ConfigError(
            f"data.decode_device is {device}, and this machine has {count} CUDA devices that torch can use; give cpu."
        )
    if find_backend() != "torchcodec":
        raise ConfigError(
            f"data.decode_device is {device}, and torchcodec does not load here: only it decodes on a graphics card. "
            "Install it (pip install 'vjepa-world[torchcodec]') with FFmpeg's shared libraries, or give cpu."
        )


def open_decoder(path: str, num_threads: int, *, device: str = "cpu") -> Decoder:
    """Open `path` with the fastest decoder that reads this file exactly.

    Our own over PyAV reads all files exactly, and skips frames that no other needs where the codec marks them.
    torchcodec or decord, if selected, gets the files that it reads exactly (`library_decoders.py`). torchcodec alone
    decodes on a CUDA device; other files are decoded on the CPU.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        num_threads: Decoding threads.
        device: Where torchcodec decodes.

    Raises:
        DecodeError: The file cannot be decoded.
    """
    backend, source = find_backend(), AvSource(path, kept_bytes=KEPT_BYTES)
    try:
        if backend == "torchcodec" and torchcodec_is_exact(source) and not _ours_is_faster(source, device):
            return TorchcodecDecoder(path, num_threads, source, device)
        if backend == "decord" and decord_is_exact(source):
            return DecordDecoder(path, num_threads, source)
    except DecodeError:
        pass  # our own reads it, or says why not
    return AvDecoder(path, num_threads, source=source)


def _ours_is_faster(source: AvSource, device: str) -> bool:
    return _choice() == "auto" and device == "cpu" and source.context.codec.canonical_name in SKIPPING_CODECS

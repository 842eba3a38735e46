"""The decoders behind `reader.py` and the choice between them: torchcodec, and our own over PyAV.

Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from av.video.reformatter import ColorRange
from torch import Tensor

from vjepa_world.data.video.av_decoder import KEPT_BYTES, AvDecoder
from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.decoder import DecodeError, Decoder, first_line
from vjepa_world.data.video.packet_roles import SKIPPING_CODECS
from vjepa_world.errors import ConfigError, DataError, nearest

logger = logging.getLogger(__name__)

#: The environment variable that selects the back end of a process and its children, and its allowed values.
BACKEND_VARIABLE = "VJEPA_WORLD_VIDEO_BACKEND"
BACKEND_CHOICES = ("auto", "torchcodec", "pyav")

# Containers and codecs that torchcodec reads exactly.
_EXACT_CONTAINERS = frozenset(("mp4", "matroska"))
TORCHCODEC_CODECS = frozenset(("h264", "hevc", "vp8", "vp9", "mpeg4"))


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


class TorchcodecDecoder(Decoder):
    """torchcodec's `VideoDecoder` with exact seeks, for a stream whose frame index is known; it rotates frames itself.

    torchcodec reports when each returned frame is displayed. If that is not what was asked for, or it cannot decode the
    frame, PyAV reads the file from then on.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        num_threads: Decoding threads.
        source: The same file, open and scanned; it is closed here.
        device: Where frames are decoded and left.

    Raises:
        DecodeError: torchcodec does not open the file, or counts other frames.
    """

    def __init__(self, path: str, num_threads: int, source: AvSource, device: str = "cpu") -> None:
        from torchcodec.decoders import VideoDecoder

        try:
            self._decoder = VideoDecoder(
                path,
                stream_index=source.stream.index,
                seek_mode="exact",
                num_ffmpeg_threads=num_threads,
                device=device,
            )
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise DecodeError(first_line(error)) from error
        self.starts_s, self.end_s = source.index.starts_s, source.index.end_s
        if len(self._decoder) != self.num_frames:
            raise DecodeError(f"it has {self.num_frames} frames, and torchcodec counts {len(self._decoder)}")
        self._substitute: AvDecoder | None = None
        self._reopen = functools.partial(AvDecoder, path, num_threads)
        source.close()

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        if self._substitute is None:
            try:
                batch = self._decoder.get_frames_at(list(indices))
            except (RuntimeError, IndexError):
                batch = None  # PyAV's error is reported
            if batch is not None and self._has_times(batch.pts_seconds.numpy(), indices):
                return batch.data
            self._substitute = self._reopen()
        return self._substitute.at_indices(indices)

    def _has_times(self, times_s: np.ndarray, indices: Sequence[int]) -> bool:
        return bool(np.allclose(times_s, self.starts_s[list(indices)], rtol=0, atol=1e-6))

    def close(self) -> None:
        """See `Decoder`; torchcodec closes the file when its decoder is freed."""
        del self._decoder
        if self._substitute is not None:
            self._substitute.close()


def find_backend() -> str:
    """Return the back end that reads videos in this process, 'torchcodec' or 'pyav'.

    The environment variable `VJEPA_WORLD_VIDEO_BACKEND` selects it. `auto`, the default, takes torchcodec if it loads,
    but on the CPU not for the codecs that our decoder is faster for (`SKIPPING_CODECS`). The answer is cached in the
    process; if torchcodec does not load, one line is logged.

    Raises:
        ConfigError: The variable has another value.
        DataError: The variable is `torchcodec`, and that does not load.
    """
    choice = _choice()
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
        logger.warning("Videos are read with PyAV, since torchcodec did not load: %s", reason)
    return "pyav"


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
    torchcodec gets MP4 and Matroska files whose frames all have times and whose keyframes are marked rightly; it alone
    decodes on a CUDA device. Other files are decoded on the CPU.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        num_threads: Decoding threads.
        device: Where torchcodec decodes.

    Raises:
        DecodeError: The file cannot be decoded.
    """
    backend, source = find_backend(), AvSource(path, kept_bytes=KEPT_BYTES)
    try:
        if backend == "torchcodec" and _is_for_torchcodec(source, device):
            return TorchcodecDecoder(path, num_threads, source, device)
    except DecodeError:
        pass  # our own reads it, or says why not
    return AvDecoder(path, num_threads, source=source)


def _is_for_torchcodec(source: AvSource, device: str) -> bool:
    """Return whether torchcodec reads a file exactly and, on the CPU, faster than our own decoder."""
    if not source.index.is_plain or _EXACT_CONTAINERS.isdisjoint(source.container.format.name.split(",")):
        return False
    codec = source.context.codec.canonical_name
    ours_is_faster = codec in SKIPPING_CODECS and device == "cpu" and _choice() == "auto"
    # torchcodec takes the range of levels from the pixel format: 0 to 255 it recognises in "yuvj" formats only.
    is_misread = source.context.color_range == ColorRange.JPEG and (source.context.pix_fmt or "").startswith(
        "yuv4"
    )
    return codec in TORCHCODEC_CODECS and not ours_is_faster and not is_misread

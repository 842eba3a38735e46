"""The features of clips from a frozen encoder, computed once and cached on disk.

Legend: M clips, N tokens per clip, D width; T frames, C = 3 channels, S pixels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from xxhash import xxh3_64

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.features.limits import Lease, check_disk, evict_caches, format_bytes
from vjepa_world.data.loading.clip_tables import ClipTable
from vjepa_world.errors import DataError
from vjepa_world.files.atomic import atomic_folder
from vjepa_world.files.checksums import file_checksum
from vjepa_world.files.validation import mapping, read_json_object
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.encoders.registered import description_of
from vjepa_world.pretrained.probes import weights_digest
from vjepa_world.system.device import in_precision
from vjepa_world.system.progress import track

logger = logging.getLogger(__name__)

FEATURES, ABOUT = "features.f16", "about.json"

#: Part of every key, so that features of another file layout are not found.
_LAYOUT = 1


@dataclass(frozen=True)
class ClipFeatures:
    """The features of all clips.

    Attributes:
        features: `[M, N, D]` float16, memory-mapped; rows of bad groups are zeros.
        bad: Groups (videos, episodes) with a clip that could not be read, and why.
        folder: Their folder.
        lease: Protects the folder from eviction.
    """

    features: Tensor
    bad: dict[int, str]
    folder: Path
    lease: Lease = field(repr=False, compare=False)


def encode_clips(
    clips: ClipTable,
    encoder: VideoEncoder,
    *,
    pooled: bool,
    dtype: torch.dtype,
    batch_size: int,
    workers: int,
    cache: Path,
    max_bad_fraction: float,
    limit_gb: float = math.inf,
) -> ClipFeatures:
    """Encode every clip, or read the features that an earlier run wrote for the same clips, weights and settings.

    Args:
        clips: The clips.
        encoder: The frozen encoder, on its device.
        pooled: Whether to average the tokens, N = 1.
        dtype: Precision of the encoder.
        batch_size: Clips that are encoded at once.
        workers: Worker processes that decode.
        cache: Folder of all features.
        max_bad_fraction: Share of unreadable videos or episodes above which to stop.
        limit_gb: How large all of `cache` may be [10^9 bytes]; the least recently used features are removed.

    Raises:
        DataError: If too many videos or episodes are unreadable, or the disk is too small.
        ConfigError: If the clips do not divide into the encoder's tubelets and patches, or take more than `limit_gb`.
    """
    video = torch.empty(1, clips.shown.frames, 3, *2 * (clips.shown.image_size,), device="meta")
    tokens = 1 if pooled else int(np.prod(encoder.token_grid(video)))
    shape = (len(clips), tokens, encoder.config.embed_dim)
    key = json.dumps([_LAYOUT, weights_digest(encoder), description_of(encoder), shape, str(dtype)])
    what = json.dumps([dataclasses.asdict(clips.shown), clips.fingerprint()])
    folder = cache / hashlib.blake2b((key + what).encode(), digest_size=16).hexdigest()
    account = BadFiles(max_bad_fraction)
    size = 2 * int(np.prod(shape))
    if not _is_cached(folder, shape):
        folder.parent.mkdir(parents=True, exist_ok=True)
        evict_caches(folder, size, limit_gb)
        check_disk(folder, size)
        with contextlib.ExitStack() as leases, atomic_folder(folder) as temporary:
            leases.enter_context(Lease(temporary))  # released after the move
            blocks = _encoded(clips, encoder, shape, dtype, min(batch_size, len(clips)), workers, account)
            checksum = write_blocks(temporary / FEATURES, blocks)
            about = {
                "shape": shape,
                "names": list(clips.names),
                "bad": account.reasons,
                "checksum": checksum,
            }
            (temporary / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")
    logger.info("features of %d clips are in %s (%s)", len(clips), folder, format_bytes(size))
    return _read(folder, shape, clips, max_bad_fraction)


def _encoded(
    clips: ClipTable,
    encoder: VideoEncoder,
    shape: tuple[int, int, int],
    dtype: torch.dtype,
    batch_size: int,
    workers: int,
    account: BadFiles,
) -> Iterator[Tensor]:
    """Yield the features of `batch_size` clips after the other, `[b, N, D]` float16; zeros for unreadable ones."""
    loader: Iterable[Tensor | str] = DataLoader(
        cast("Dataset[Tensor | str]", clips),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=2 * batch_size if workers else None,
    )
    waiting: list[Tensor | str] = []
    for number, clip in enumerate(track(loader, "features", unit="clip", total=len(clips))):
        if isinstance(clip, str):
            account.add(clips.names[clips.groups[number]], clip)
            account.check(len(clips.names))
        waiting.append(clip)
        if len(waiting) == batch_size or number + 1 == len(clips):
            yield _encode_batch(waiting, encoder, shape, dtype)
            waiting = []


@torch.no_grad()
def _encode_batch(
    clips: list[Tensor | str], encoder: VideoEncoder, shape: tuple[int, int, int], dtype: torch.dtype
) -> Tensor:
    block = torch.zeros(len(clips), *shape[1:], dtype=torch.float16)
    readable = [number for number, clip in enumerate(clips) if isinstance(clip, Tensor)]
    if readable:
        device = next(encoder.parameters()).device
        video = torch.stack([clip for clip in clips if isinstance(clip, Tensor)]).to(device)
        with in_precision(device, dtype):
            features = encoder(encoder.preprocessing.normalize(video)).float()
        if shape[1] == 1:
            features = features.mean(dim=1, keepdim=True)
        block[readable] = features.half().cpu()
    return block


def write_blocks(path: Path, blocks: Iterable[Tensor]) -> str:
    """Write float16 tensors of any shape one after the other; return the file's checksum.

    As a stream, not through a memory map: a full disk is then an error, not a killed process.

    Raises:
        OSError: If the disk is full; the file is named.
    """
    checksum = xxh3_64()
    try:
        with open(path, "wb") as stream:
            for block in blocks:
                content = block.numpy().tobytes()
                checksum.update(content)
                stream.write(content)
        return checksum.hexdigest()
    except OSError as error:
        if error.filename is not None:  # of something that was read
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _is_cached(folder: Path, shape: tuple[int, int, int]) -> bool:
    """Whether an earlier run wrote these features and their checksum is right (of old releases, their size)."""
    features = folder / FEATURES
    if not (folder / ABOUT).is_file() or not features.is_file():
        return False
    try:
        about = read_json_object(folder / ABOUT, again="")
        mapping(about.get("bad"), f"{folder / ABOUT}: bad")
        checksum = about.get("checksum")
        if features.stat().st_size == 2 * math.prod(shape) and checksum in (None, file_checksum(features)):
            return True
    except (DataError, OSError) as error:
        logger.warning("%s cannot be read (%s) and is computed again", folder, error)
        return False
    logger.warning("%s has changed since it was written and is computed again", features)
    return False


def _read(
    folder: Path, shape: tuple[int, int, int], clips: ClipTable, max_bad_fraction: float
) -> ClipFeatures:
    lease = Lease(folder)
    numbers = np.memmap(folder / FEATURES, dtype=np.float16, mode="c", shape=shape)
    reasons = read_json_object(folder / ABOUT, again="Remove its folder; it is then computed again.")["bad"]
    BadFiles(max_bad_fraction, dict(reasons)).check(len(clips.names))
    bad = {number: reasons[name] for number, name in enumerate(clips.names) if name in reasons}
    return ClipFeatures(torch.from_numpy(numbers), bad, folder, lease)

"""Unpickles what `torch.save` wrote, tensors and plain values alone, no larger than the file itself."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vjepa_world.errors import CheckpointError

#: What unpickling a broken file raises, apart from the pickle's own error.
BROKEN = (
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
)

#: Tensors may share memory (an encoder and its average before the first step), so all together may be larger than the
#: file, but not without bound: one byte could be spread over any shape.
_MOST_SHARED = 4


def load_torch_file(path: Path) -> Any:
    """Return a file's content. Tensors are memory-mapped, apart from those of files from before PyTorch 1.6.

    Raises:
        CheckpointError: If its entries unpack to more than the file has, or tensors are larger than their memory.
        pickle.UnpicklingError: If it needs more than tensors and plain values.
        Exception: One of `BROKEN`, if it is truncated or something else.
    """
    archive = zipfile.is_zipfile(path)
    if archive:
        _check_archive(path)
    # Files from before PyTorch 1.6 are no archives and cannot be mapped.
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    _check_tensors(path, content)
    return content


def _check_archive(path: Path) -> None:
    """Refuse an archive that torch.save does not write: it stores plainly, so nothing grows when it is read."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    size = path.stat().st_size
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    if not stored or sum(info.file_size for info in infos) > size:
        raise CheckpointError(
            f"{path} unpacks to more than its {size} bytes, which torch.save never writes. Do not trust this file."
        )


def _check_tensors(path: Path, content: Any) -> None:
    """Refuse tensors that repeat a few bytes over a huge shape."""
    total = 0
    for tensor in _tensors(content):
        size = tensor.numel() * tensor.element_size()
        total += size
        if tensor.layout != torch.strided or size > tensor.untyped_storage().nbytes():
            raise CheckpointError(
                f"{path} has a tensor of shape {list(tensor.shape)} that needs {size} bytes and has "
                f"{tensor.untyped_storage().nbytes() if tensor.layout == torch.strided else 'none'}. Do not trust this "
                "file."
            )
    if total > _MOST_SHARED * path.stat().st_size:
        raise CheckpointError(
            f"{path} has tensors of {total} bytes together and is of {path.stat().st_size}. Do not trust this file."
        )


def _tensors(content: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested lists and mappings, each once."""
    seen: set[int] = set()
    waiting = [content]
    while waiting:
        item = waiting.pop()
        if id(item) in seen:
            continue
        if isinstance(item, Tensor):
            seen.add(id(item))
            yield item
        elif isinstance(item, Mapping | list | tuple):
            seen.add(id(item))
            waiting += item.values() if isinstance(item, Mapping) else item


def has_tensors(content: Any) -> bool:
    """Whether a tensor is anywhere in nested lists and mappings, each looked into once, however often it is there."""
    return next(_tensors(content), None) is not None

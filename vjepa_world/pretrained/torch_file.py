"""Reads files of `torch.save` safely: tensors and plain values only, no larger than the file itself."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vjepa_world.errors import CheckpointError

#: Exceptions that unpickling a broken file raises, apart from `pickle.UnpicklingError`.
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

#: Tensors may share memory (an encoder and its EMA before the first step), so their total size may exceed the file's,
#: but not without bound: a single byte could be expanded to any shape.
_MAX_SHARED = 4


def load_torch_file(path: Path) -> Any:
    """Return a file's content. Tensors are memory-mapped, except in files from before PyTorch 1.6.

    Raises:
        CheckpointError: If entries unpack to more bytes than the file has, or tensors are larger than their storage.
        pickle.UnpicklingError: If it needs more than tensors and plain values.
        Exception: One of `BROKEN`, if it is truncated or of another kind.
    """
    archive = zipfile.is_zipfile(path)
    if archive:
        _check_archive(path)
    # Files from before PyTorch 1.6 are not archives and cannot be mapped.
    content = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
    _check_tensors(path, content)
    return content


def _check_archive(path: Path) -> None:
    """Refuse a compressed archive. torch.save never compresses, so nothing grows when it is read."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    size = path.stat().st_size
    stored = all(info.compress_type == zipfile.ZIP_STORED for info in infos)
    if not stored or sum(info.file_size for info in infos) > size:
        raise CheckpointError(
            f"{path} unpacks to more than its {size} bytes, which torch.save never writes. Do not trust this file."
        )


def _check_tensors(path: Path, content: Any) -> None:
    """Refuse tensors that expand a few bytes to a huge shape."""
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
    if total > _MAX_SHARED * path.stat().st_size:
        raise CheckpointError(
            f"{path} has tensors of {total} bytes in total, but the size {path.stat().st_size}. Do not trust this file."
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
    """Return whether nested lists and mappings contain a tensor."""
    return next(_tensors(content), None) is not None

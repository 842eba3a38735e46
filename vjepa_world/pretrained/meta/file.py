"""Files of `torch.save`: recognised by their content, and read without executing any of their code."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any

from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained.torch_file import BROKEN, load_torch_file

#: First bytes of PyTorch's files: an archive whose first member is a pickle or tensor, or (before 1.6) a magic number.
ARCHIVE, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_meta(path: Path) -> bool:
    """Return whether a file was written by `torch.save`; truncated files count."""
    with path.open("rb") as stream:
        head = stream.read(512)
    if head.startswith(LEGACY):
        return True
    member = head[30 : 30 + int.from_bytes(head[26:28], "little")]  # the first name of a zip archive
    return head.startswith(ARCHIVE) and (member.endswith(b"/data.pkl") or b"/data/" in member)


def load_meta_file(path: Path) -> dict[str, Any]:
    """Return a file's entries; only tensors and plain values are ever unpickled.

    Tensors are memory-mapped, except in files from before PyTorch 1.6.

    Raises:
        CheckpointError: If the file is broken, needs more than that, or is not a dictionary.
    """
    try:
        content = load_torch_file(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(_refusal(path, str(error))) from error
    except BROKEN as error:
        raise CheckpointError(
            f"{path} cannot be read ({error!r}); it is truncated or not a file of torch.save: download it again."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; expected the dictionary of a training file or a probe file."
        )
    return content


def _refusal(path: Path, reason: str) -> str:
    """Return why PyTorch refused to unpickle a file; unlike PyTorch's message, without advice to trust it."""
    wanted = re.search(r"GLOBAL (\S+)", reason)
    if wanted is None:
        short = reason.partition("\n\nCheck the documentation")[0].rpartition("\n")[2]
        return (
            f"{path} cannot be read ({short}); it is broken, or holds more than tensors and plain values, which is "
            "refused: download it again."
        )
    return (
        f"{path} is refused: its pickle asks for {wanted[1]}, and unpickling more than tensors and plain values can "
        "run any code. If you trust it, load it once with torch.load(weights_only=False) in a sandbox, and "
        "save only its state dicts and numbers."
    )

"""Compares the tensors of a file with those that an architecture needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from vjepa_world.errors import CheckpointError

Shape = tuple[int, ...]


def differences(
    expected: Mapping[str, Shape], found: Mapping[str, Shape], expected_by: str = "architecture"
) -> list[str]:
    """Return descriptions of the tensors that are missing, unexpected or of another shape."""
    problems = [f"missing {name} {list(shape)}" for name, shape in expected.items() if name not in found]
    problems += [f"unexpected {name} {list(shape)}" for name, shape in found.items() if name not in expected]
    return problems + [
        f"{name}: file {list(found[name])}, {expected_by} {list(shape)}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]


def check_depth(part: str, depth: int, tensors: Mapping[str, object], source: Path) -> None:
    """Refuse a depth of more blocks than there are tensors, before any block is built.

    Raises:
        CheckpointError: If there are more blocks than tensors.
    """
    if depth > len(tensors):
        raise CheckpointError(
            f"{source} does not fit its architecture: its {part} has {depth} blocks and {len(tensors)} tensors. A "
            "folder's two files may belong to different models: copy the complete folder again."
        )

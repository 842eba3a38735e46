"""Numeric columns of a LeRobotDataset by name, with an optional slice: `observation.state[0:3]`.

Shapes: T rows of an episode, K numbers of a row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.formats.lerobot.layout import DEFAULT_COLUMNS
from vjepa_world.data.trajectories.formats.lerobot.metadata import LeRobotMeta
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import DataError, nearest


@dataclass(frozen=True)
class NumericColumn:
    """Some numbers of each row of a dataset.

    Attributes:
        feature: The column's name.
        indices: Indices of the numbers in the column, K.
        names: Their names, K.
    """

    feature: str
    indices: tuple[int, ...]
    names: tuple[str, ...]

    def values(self, dataset: LeRobotDataset, index: int) -> np.ndarray:
        """Return the numbers of episode `index`, float32 `[T, K]`; `dataset` is from `open_column`.

        Raises:
            DataError: Rows are missing, or a number is not finite (file, episode and row are named).
        """
        return dataset.episode(index).states[:, list(self.indices)].astype(np.float32)


def open_column(path: str | Path, text: str) -> tuple[LeRobotDataset, NumericColumn]:
    """Open a dataset to read one of its columns in addition to its images.

    Args:
        path: The folder that has `meta/info.json`.
        text: `NAME`, `NAME[index]` or `NAME[from:to]`, counted from 0.

    Raises:
        DataError: There is no such column, it is not numeric, or it has no such index.
    """
    meta = LeRobotMeta(path)
    numeric = numeric_columns(meta)
    found = re.fullmatch(r"([^\[\]]+)(?:\[([^\[\]]*)\])?", text.strip())
    if found is None:
        raise DataError(
            f"target '{text}' is not readable; write NAME, NAME[index] or NAME[from:to]. "
            f"Numeric columns of {path}: {', '.join(numeric)}."
        )
    feature, inside = found.group(1), found.group(2)
    if feature in meta.features and feature not in numeric:
        kind = meta.features[feature]
        raise DataError(
            f"target column '{feature}' of {path} is not numeric: it is {kind.get('dtype')} of shape "
            f"{kind.get('shape')}. Numeric columns: {', '.join(numeric)}."
        )
    if feature not in numeric:
        raise DataError(f"{path} has no column '{feature}' for target; {nearest(feature, numeric)}")
    # The column is read as the state. Actions may be missing: a column that every dataset has replaces them.
    dataset = LeRobotDataset(path, state=feature, action="task_index")
    names = (feature,) if feature in DEFAULT_COLUMNS else dataset.state_names
    indices = _indices(text, inside, numeric[feature])
    return dataset, NumericColumn(feature, indices, tuple(names[index] for index in indices))


def numeric_columns(meta: LeRobotMeta) -> dict[str, int]:
    """Return the numeric columns with their numbers of entries in each row."""
    return {name: int(kind["shape"][0]) for name, kind in meta.features.items() if _is_numeric(kind)}


def _is_numeric(feature: dict[str, Any]) -> bool:
    return len(feature.get("shape", ())) == 1 and str(feature.get("dtype")).startswith(
        ("float", "int", "uint")
    )


def _indices(text: str, inside: str | None, size: int) -> tuple[int, ...]:
    """Return the indices that the text inside the brackets selects: all, one, or `from:to`."""
    if inside is None:
        return tuple(range(size))
    try:
        bounds = [int(part) if part.strip() else None for part in inside.split(":")]
    except ValueError:
        bounds = []
    given = [bound for bound in bounds if bound is not None]
    if len(bounds) == 1 and given and 0 <= given[0] < size:
        return (given[0],)
    if len(bounds) == 2 and all(0 <= bound <= size for bound in given):
        indices = tuple(range(size)[bounds[0] : bounds[1]])
        if indices:
            return indices
    raise DataError(
        f"target '{text}' names no numbers of a column of {size}; write [index] or [from:to], counted from 0 to "
        f"{size - 1}, 'to' not included."
    )

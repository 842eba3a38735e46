"""Helpers shared by the readers of all formats: checks of numbers and options, JSON files, fingerprints, spans.

Shapes: T rows of an episode, K numbers of a row, H W pixels, C = 3 channels (RGB).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError, DataError
from vjepa_world.files.validation import inner_name

_Found = TypeVar("_Found")

# More than the metadata of the largest datasets.
_MOST_JSON_BYTES = 2**30


def number_rows(
    values: np.ndarray, *, where: str, what: str, rows: int | None = None, size: int | None = None
) -> np.ndarray:
    """Return numbers as floating point `[T, K]`: floats in their own precision, integers as float32.

    Args:
        values: One entry for each row, `[T]` or `[T, ...]`.
        where: The file and the episode, for messages.
        what: The column, for messages.
        rows: Expected T; None allows any.
        size: Expected K; None allows any.

    Raises:
        DataError: They are not numbers, have another shape, or one is not finite (its row is named).
    """
    if values.dtype.kind not in "fiub" or values.ndim == 0:
        raise DataError(
            f"{where}: {what} holds {values.dtype} of shape {values.shape}, expected numbers for each row. Choose "
            "another column, or repair the file."
        )
    if rows is not None and len(values) != rows:
        raise DataError(
            f"{where}: {what} has {len(values)} rows, and the episode has {rows}. Take the episode out, or record "
            "it again."
        )
    table = values.reshape(len(values), -1) if values.size else values.reshape(len(values), 0)
    if size is not None and table.shape[1] != size:
        raise DataError(
            f"{where}: {what} has {table.shape[1]} numbers per row, and {size} elsewhere in the dataset. Take the "
            "episode out, or record it again."
        )
    if table.dtype.kind != "f":
        return table.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if bad.size:
        raise DataError(
            f"{where}, row {bad[0]}: {what} is not finite: {table[bad[0]][:20].tolist()}. Take the episode out, or "
            "record it again."
        )
    return table


def concatenate_columns(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Return columns `[T, K_i]` concatenated, `[T, sum K_i]`, in the highest precision among them."""
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def number_names(columns: Sequence[str], sizes: Sequence[int]) -> tuple[str, ...]:
    """Return a name for each number: the column's name, numbered if it has several."""
    return tuple(
        name if size == 1 else f"{name}_{number}"
        for name, size in zip(columns, sizes, strict=True)
        for number in range(size)
    )


def check_length(rows: int, where: str) -> None:
    """Check that an episode has at least two rows.

    Raises:
        DataError: It has fewer.
    """
    if rows < 2:
        raise DataError(f"{where} has {rows} rows; an action needs the one before and the one after it.")


def check_index(path: Path, index: int, count: int) -> None:
    """Check the index of an episode.

    Raises:
        DataError: It is outside [0, count).
    """
    if not 0 <= index < count:
        raise DataError(f"{path} has no episode {index}: it has {count}, counted from 0.")


def check_fps(fps: float | None, default: float) -> float:
    """Return `fps`, or the default if it is None.

    Raises:
        ConfigError: It is not a positive number.
    """
    if fps is None:
        return default
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < float("inf"):
        raise ConfigError(f"fps is {fps!r}; give the observations per second, a positive number.")
    return float(fps)


def choose_cameras(wanted: Sequence[str] | None, there: Sequence[str], path: Path) -> tuple[str, ...]:
    """Return the cameras to read: all of `there`, or the wanted ones in their order.

    Raises:
        DataError: One does not exist (all are listed), or its name would lead out of a folder.
    """
    for name in there:
        inner_name(name, f"{path}: the name of a camera")
    if wanted is None:
        return tuple(there)
    missing = [name for name in wanted if name not in there]
    if missing:
        raise DataError(
            f"{path} has no camera '{missing[0]}'; its cameras: {', '.join(there) or 'none'}. Choose among them."
        )
    return tuple(wanted)


def first_readable(count: int, read: Callable[[int], _Found], path: Path) -> _Found:
    """Return the result of `read` for the first readable episode, which stands for all.

    Raises:
        DataError: None is readable; the first one's reason is given.
    """
    return some_readable(count, read, path, most=1)[0]


def some_readable(count: int, read: Callable[[int], _Found], path: Path, *, most: int) -> list[_Found]:
    """Return the results of `read` for the first readable episodes, at least one and at most `most`.

    Raises:
        DataError: None is readable; the first one's reason is given.
    """
    found: list[_Found] = []
    first: DataError | None = None
    for index in range(count):
        try:
            found.append(read(index))
        except DataError as error:
            first = first or error
        if len(found) == most:
            break
    if found:
        return found
    if first is None:
        raise DataError(f"{path} has no episode; expected at least one.")
    raise DataError(f"{path} has {count} episodes, and none is readable. The first: {first}") from first


def fingerprint(files: Iterable[Path], root: Path) -> str:
    """Return a hash of the names, sizes and times of files, missing ones included, in the given order."""
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(root) if file.is_relative_to(root) else file
        try:
            stat = file.stat()
            state = f"{stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            state = "missing"
        digest.update(f"{name}\0{state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def read_json(file: Path) -> Mapping[str, Any]:
    """Return the object in a JSON file.

    Raises:
        DataError: It cannot be read, is too large for metadata, or holds no object.
    """
    try:
        _check_json_size(file)
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{file} is not readable as JSON ({error}). Copy it again.") from error
    if not isinstance(found, dict):
        raise DataError(
            f"{file} holds a {type(found).__name__}, expected a JSON object. Copy the dataset again."
        )
    return found


def read_json_lines(file: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Return the objects in a JSON lines file.

    Args:
        file: The file.
        needed: Keys that each object must have.

    Raises:
        DataError: It cannot be read, or a line holds something else; the line is named.
    """
    try:
        _check_json_size(file)
        lines = file.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}). Copy the dataset's whole meta folder.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not isinstance(row, dict) or any(name not in row for name in needed):
            raise DataError(
                f"{file}, line {number}: expected an object with {' and '.join(needed)}, got '{line[:60]}'. Copy the "
                "dataset's whole meta folder."
            )
        rows.append(row)
    return rows


def _check_json_size(file: Path) -> None:
    """Check that it is an ordinary file, not too large for metadata.

    Raises:
        ValueError: It is not.
    """
    if file.exists() and not file.is_file():
        raise ValueError("it is not a file")
    size = file.stat().st_size
    if size > _MOST_JSON_BYTES:
        raise ValueError(f"it has {size} bytes, and at most {_MOST_JSON_BYTES} are read")


def spans_of(indices: Iterable[int]) -> list[tuple[int, int]]:
    """Return the runs of consecutive numbers in sorted integers, each as its first and last."""
    spans: list[tuple[int, int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1] = spans[-1][0], index
        else:
            spans.append((index, index))
    return spans


def spans_text(spans: Sequence[tuple[int, int]], most: int = 5) -> str:
    """Return runs of episodes as text, at most `most` of them: `episodes 1, 4 to 7 (5 in all)`."""
    words = [f"{low}" if low == high else f"{low} to {high}" for low, high in spans[:most]]
    more = f" and {len(spans) - most} more ranges" if len(spans) > most else ""
    count = sum(high - low + 1 for low, high in spans)
    return f"episode {words[0]}" if count == 1 else f"episodes {', '.join(words)}{more} ({count} in all)"


def read_unique_rows(read: Callable[[slice], np.ndarray], rows: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Read rows of an array on disk, each once.

    Args:
        read: Reads a slice of the array.
        rows: Row numbers `[N]`, in any order, which may repeat.

    Returns:
        The distinct rows `[M, ...]`, and the index of each of `rows` among them, int64 `[N]`.
    """
    once, back = np.unique(rows, return_inverse=True)
    first, last = int(once[0]), int(once[-1])
    if last - first + 1 == len(once):
        block = read(slice(first, last + 1))
    else:
        block = np.concatenate([read(slice(row, row + 1)) for row in once.tolist()])
    return block, torch.from_numpy(back)

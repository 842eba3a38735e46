"""Reads the headers of a corpus's files in parallel processes, and caches those of large corpora in an index.

The index is a Parquet file in the user's cache folder (`VJEPA_WORLD_CACHE`, else `~/.cache/vjepa-world`). A header in
it is valid while the file's size and modification time are unchanged; the others are read by one process at a time: the
ranks of a job wait for the first and use its index.

Shapes: N files.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vjepa_world.data.corpus.images import is_image, probe_image
from vjepa_world.data.corpus.locations import Location
from vjepa_world.data.corpus.segments import FileTable
from vjepa_world.data.loading.worker_pool import crash_safe_map
from vjepa_world.data.video.reader import CANNOT_OPEN, VideoError, VideoInfo, probe_video
from vjepa_world.errors import DataError
from vjepa_world.files.atomic import WriteError, atomic_path
from vjepa_world.system.cpu import available_cores

logger = logging.getLogger(__name__)

#: Least number of files of a corpus with an index; smaller ones are read in seconds.
INDEXED_FROM = 1000

_CHUNK = 1 << 15  # files between two checks whether to save the index
_SAVE_EVERY_S = 60.0
_STATES_CHUNK = 1 << 15  # files whose states one process reads at a time
_NOT_THERE = (-1, -1, -1, -1)
_RACY_NS = 2_000_000_000  # a file modified this recently may change again without a new time
_UNUSED_S = 90 * 86400.0  # indexes that were not used for this long are removed
_VERSION = f"2 {av.__version__}"
_KINDS = {"float": pa.float64(), "int": pa.int64(), "bool": pa.bool_(), "str": pa.string()}
_FIELDS = {
    field.name: _KINDS[str(field.type).removesuffix(" | None")]
    for field in fields(VideoInfo)
    if field.name != "path"
}


@dataclass(frozen=True)
class FileStats:
    """Sizes, times and identities of files, int64 `[N]` each.

    Attributes:
        size: Size [bytes]; -1 for missing files.
        mtime_ns: Modification time.
        device: With `inode`, the identity of a file, independent of its names.
        inode: See `device`.
    """

    size: np.ndarray
    mtime_ns: np.ndarray
    device: np.ndarray
    inode: np.ndarray

    @classmethod
    def of(cls, files: FileTable) -> FileStats:
        """Read them, those of many files in several processes."""
        starts = range(0, len(files), _STATES_CHUNK)
        if len(starts) < 2 or available_cores() < 2:
            return cls(*_states(files))
        parts = crash_safe_map(
            lambda start: _states(files.take(np.arange(start, min(start + _STATES_CHUNK, len(files))))),
            starts,
            _no_states,
            items_per_task=1,
        )
        return cls(*np.concatenate(parts, axis=1))

    def take(self, rows: np.ndarray) -> FileStats:
        """Return those of the files at the indices `rows`, int64 `[M]`."""
        return FileStats(self.size[rows], self.mtime_ns[rows], self.device[rows], self.inode[rows])


def _states(files: FileTable) -> np.ndarray:
    """Return size, modification time, device and inode of files, int64 `[4, N]`; -1 for missing files."""
    found: list[tuple[int, int, int, int]] = []
    known, state = b"", _NOT_THERE
    for path in files.paths():
        if path != known:  # members of a tar file are consecutive
            known = path
            try:
                asked = os.stat(path)
                state = (asked.st_size, asked.st_mtime_ns, asked.st_dev, asked.st_ino)
            except (OSError, ValueError):
                state = _NOT_THERE
        found.append(state)
    return np.array(found, np.int64).reshape(-1, 4).T


def _no_states(reason: str) -> np.ndarray:
    raise DataError(reason)


@dataclass(frozen=True)
class Headers(Sequence[VideoInfo | VideoError]):
    """The headers of files, by column.

    Attributes:
        files: The files.
        table: The fields of `VideoInfo`, and `error`: why a file cannot be read, null for readable ones, `[N]` each.
    """

    files: FileTable
    table: pa.Table

    def __len__(self) -> int:
        """Return N."""
        return len(self.files)

    def __getitem__(self, index: Any) -> Any:
        """Return a file's header, or why it cannot be read."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        row = {name: self.table[name][int(index)].as_py() for name in self.table.column_names}
        error = row.pop("error")
        return VideoError(error) if error is not None else VideoInfo(path=self.files[index], **row)

    def __iter__(self) -> Iterator[VideoInfo | VideoError]:
        """Yield each file's header, or why it cannot be read."""
        for start in range(0, len(self), _CHUNK):
            for number, row in enumerate(self.table.slice(start, _CHUNK).to_pylist(), start=start):
                error = row.pop("error")
                yield VideoError(error) if error is not None else VideoInfo(path=self.files[number], **row)

    @property
    def duration_s(self) -> np.ndarray:
        """Durations [s], float64 `[N]`; NaN for unreadable files."""
        return self.table["duration_s"].cast(pa.float64()).to_numpy()

    @property
    def good(self) -> np.ndarray:
        """Whether each file is readable, bool `[N]`."""
        return pc.is_null(self.table["error"]).to_numpy()

    def reason(self, index: int) -> str | None:
        """Return why a file cannot be read; None if it can."""
        reason: str | None = self.table["error"][int(index)].as_py()
        return reason


def read_headers(
    source: str, files: FileTable, states: FileStats, timeout_s: float = 120.0, index_from: int | None = None
) -> Headers:
    """Read the headers of all files; valid cached ones are not read again.

    Args:
        source: The path of the corpus, which identifies its index.
        files: The files.
        states: Their sizes, times and identities.
        timeout_s: Longest time for reading one header [s].
        index_from: Least number of files for an index; None takes `INDEXED_FROM`.

    Raises:
        DataError: Reading one took longer than `timeout_s`.
    """
    if len(files) < (INDEXED_FROM if index_from is None else index_from):
        return Headers(files, _table(_probed(files, states, np.arange(len(files)), timeout_s)))
    index = HeaderIndex(source)
    found, missing = index.look_up(files, states)
    if not len(missing):
        return Headers(files, found)
    with index.build_lock():
        found, missing = index.look_up(files, states)
        if len(missing):
            found = index.complete(files, states, found, missing, timeout_s)
    return Headers(files, found)


class HeaderIndex:
    """The cached headers of a corpus.

    Args:
        source: The path of the corpus.
    """

    def __init__(self, source: str) -> None:
        self.source = os.path.abspath(source)
        name = hashlib.sha256(os.fsencode(self.source)).hexdigest()[:24]
        self.path = cache_folder() / "headers" / f"{name}.parquet"
        self._writable = True

    def look_up(self, files: FileTable, states: FileStats) -> tuple[pa.Table, np.ndarray]:
        """Return the valid cached headers, with nulls for the others, and the indices of the others, int64 `[M]`."""
        known = self._load()
        rows = np.full(len(files), -1, np.int64) if known is None else _rows(known, files)
        if known is None:
            return _table([None] * len(files)), np.arange(len(files))
        there = np.maximum(rows, 0)
        if not len(known):
            return _table([None] * len(files)), np.arange(len(files))
        fresh = (rows >= 0) & (states.size >= 0)
        for name, values in (("file_size", states.size), ("mtime_ns", states.mtime_ns)):
            fresh &= known[name].to_numpy()[there] == values
        missing = np.flatnonzero(~fresh)
        headers = known.select([*_FIELDS, "error"])
        if not len(missing) and len(known) == len(files) and np.array_equal(rows, np.arange(len(files))):
            return headers, missing
        indices = pa.array(there, mask=~fresh)
        return headers.take(indices), missing

    def complete(
        self, files: FileTable, states: FileStats, found: pa.Table, missing: np.ndarray, timeout_s: float
    ) -> pa.Table:
        """Read the headers of the files at the indices `missing`, int64 `[M]`; `found` has those of the others.

        The index is saved regularly, so that little is lost if the process is killed.
        """
        logger.info("reading the headers of %d of the %d files of %s", len(missing), len(files), self.source)
        rows = np.full(len(files), -1, np.int64)
        read: list[pa.Table] = []
        done, saved_s = 0, time.monotonic()
        keep = np.ones(len(files), bool)
        keep[missing] = False
        for chunk in _grouped(missing, states, files):
            read.append(_table(_probed(files, states, chunk, timeout_s)))
            rows[chunk] = np.arange(done, done + len(chunk))
            done += len(chunk)
            keep[chunk] = True
            if done < len(missing):
                logger.info("read %d of %d headers", done, len(missing))
                if time.monotonic() - saved_s > _SAVE_EVERY_S:
                    self._save(files, states, _merged(found, read, rows), keep)
                    saved_s = time.monotonic()
        merged = _merged(found, read, rows)
        self._save(files, states, merged, keep)
        return merged

    @contextlib.contextmanager
    def build_lock(self) -> Iterator[None]:
        """Let one process at a time read headers; others wait. Without a writable folder nobody waits."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(self.path.with_suffix(".lock"), "w")  # noqa: SIM115 (closed below)
        except OSError as error:
            logger.warning(
                "The index of %s cannot be saved in %s (%s): its files are read again next time. Set VJEPA_WORLD_CACHE "
                "to a writable folder.",
                self.source,
                self.path.parent,
                error.strerror,
            )
            self._writable = False
            yield
            return
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                logger.info("another process reads the headers of %s; waiting for it", self.source)
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _load(self) -> pa.Table | None:
        """Return the index on disk; None if there is none, or it is damaged or of another version."""
        try:
            table = pq.read_table(self.path, memory_map=False)
        except FileNotFoundError:
            return None
        except (pa.ArrowException, OSError, ValueError) as error:
            logger.info(
                "the index %s is damaged (%s); it is built again", self.path, str(error).splitlines()[0]
            )
            return None
        if (table.schema.metadata or {}).get(b"version") != _VERSION.encode() or not {
            *_FIELDS,
            "error",
            "folder",
            "name",
            "offset",
            "file_size",
            "mtime_ns",
        } <= set(table.column_names):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path)  # the time of the last use
        return table

    def _save(self, files: FileTable, states: FileStats, headers: pa.Table, keep: np.ndarray) -> None:
        """Save the headers of the files in `keep [N]`, except those that may change when read again."""
        settled = states.mtime_ns < time.time_ns() - _RACY_NS
        rows = np.flatnonzero(keep & settled & (states.size >= 0))
        if not len(rows) or not self._writable:
            return
        some = files.take(rows)
        folders = pa.DictionaryArray.from_arrays(
            pa.array(some.folder),
            _encoded(some.folders),
        )
        table = headers.take(pa.array(rows))
        volatile = pc.starts_with(pc.fill_null(table["error"].cast(pa.string()), ""), CANNOT_OPEN)
        columns: dict[str, Any] = {
            "folder": folders,
            "name": some.name,
            "offset": pa.array(some.offset),
            "file_size": pa.array(states.size[rows]),
            "mtime_ns": pa.array(states.mtime_ns[rows]),
        }
        for name, column in columns.items():
            table = table.append_column(name, column)
        table = table.filter(pc.invert(volatile)).replace_schema_metadata(
            {"version": _VERSION, "source": self.source.encode(errors="replace")}
        )
        try:
            with atomic_path(self.path) as temporary:
                pq.write_table(table, temporary, compression="zstd", compression_level=1)
            _remove_unused(self.path.parent)
        except WriteError as error:
            logger.warning("%s", error)


def cache_folder() -> Path:
    """Return the folder of the indexes."""
    given = os.environ.get("VJEPA_WORLD_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "vjepa-world"


def _remove_unused(folder: Path) -> None:
    for file in folder.glob("*.parquet"):
        with contextlib.suppress(OSError):
            if time.time() - file.stat().st_mtime > _UNUSED_S:
                file.unlink()


def _rows(known: pa.Table, files: FileTable) -> np.ndarray:
    """Return the row of each file in the index, -1 for none, int64 `[N]`."""
    names, folders = known["name"].combine_chunks(), known["folder"].combine_chunks()
    offsets = known["offset"].to_numpy()
    if (
        len(known) == len(files)
        and names.equals(files.name)
        and np.array_equal(offsets, files.offset)
        and np.array_equal(_numbers(folders, files.folders), files.folder)
    ):
        return np.arange(len(files))
    keys = _keys(folders, names, offsets)
    ours = pa.DictionaryArray.from_arrays(pa.array(files.folder), _encoded(files.folders))
    wanted = _keys(ours, files.name, files.offset)
    return pc.fill_null(pc.index_in(wanted, value_set=keys), -1).to_numpy().astype(np.int64)


def _numbers(folders: pa.DictionaryArray, names: tuple[str, ...]) -> np.ndarray:
    """Return the index of each folder in `names`, -1 for none."""
    indices = {os.fsencode(name): number for number, name in enumerate(names)}
    known = np.array([indices.get(folder, -1) for folder in folders.dictionary.to_pylist()], np.int32)
    return known[folders.indices.to_numpy()]


def _encoded(folders: tuple[str, ...]) -> pa.Array:
    return pa.array([os.fsencode(folder) for folder in folders], pa.large_binary())


def _keys(folders: pa.DictionaryArray, names: pa.Array, offsets: np.ndarray) -> pa.Array:
    parts = [folders.cast(folders.type.value_type).cast(pa.large_binary()), names]
    if len(offsets) and offsets.max() >= 0:
        parts.append(pa.array(offsets).cast(pa.string()).cast(pa.large_binary()))
    return pc.binary_join_element_wise(*parts, pa.scalar(b"/", pa.large_binary()))


def _grouped(rows: np.ndarray, states: FileStats, files: FileTable) -> list[np.ndarray]:
    """Split rows into chunks, with several names of a file next to each other."""
    order = np.lexsort((files.offset[rows], states.inode[rows], states.device[rows]))
    ordered = rows[order]
    return [ordered[start : start + _CHUNK] for start in range(0, len(ordered), _CHUNK)]


def _merged(found: pa.Table, read: list[pa.Table], rows: np.ndarray) -> pa.Table:
    """Return the cached headers with those just read at `rows` (-1 for none)."""
    both = pa.concat_tables([found, *read])
    indices = np.where(rows < 0, np.arange(len(rows)), len(found) + rows)
    return both.take(pa.array(indices)).combine_chunks()


def _probed(files: FileTable, states: FileStats, rows: np.ndarray, timeout_s: float) -> list[Any]:
    """Return the fields of each row's header, or why it cannot be read; a file with many names is read once."""
    if not len(rows):
        return []
    key = np.stack([states.device[rows], states.inode[rows], files.offset[rows]])
    # Missing files have no other names.
    key[1] = np.where(states.size[rows] < 0, -1 - np.arange(len(rows)), key[1])
    _, first, group = np.unique(key, axis=1, return_index=True, return_inverse=True)
    order = np.sort(first)  # in the order of the corpus
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    found = crash_safe_map(_probe, _SelectedFiles(files, rows[order]), str, timeout_s)
    results: list[Any] = []
    for row, member in zip(rows.tolist(), rank[group.reshape(-1)].tolist(), strict=True):
        result = found[member]
        if isinstance(result, str) and row != rows[order[member]]:
            result = result.replace(str(files[int(rows[order[member]])]), str(files[row]))
        results.append(result)
    return results


@dataclass(frozen=True)
class _SelectedFiles(Sequence[Any]):
    """Some files of a table, as a lazy sequence."""

    files: FileTable
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.files[int(self.rows[index])]


def _probe(location: Location) -> tuple[Any, ...] | str:
    """Return the fields of a file's header, or why it cannot be read."""
    try:
        info = probe_image(location) if is_image(location) else probe_video(location)
    except VideoError as error:
        return str(error)
    return tuple(getattr(info, name) for name in _FIELDS)


def _table(rows: list[Any]) -> pa.Table:
    """Return headers by column; a text is an error, and None an unknown header."""
    columns: dict[str, Any] = {}
    for column, (name, kind) in enumerate(_FIELDS.items()):
        values = [row[column] if isinstance(row, tuple) else None for row in rows]
        columns[name] = pa.array(values, kind)
    columns["error"] = pa.array([row if isinstance(row, str) else None for row in rows], pa.string())
    return pa.table(columns)

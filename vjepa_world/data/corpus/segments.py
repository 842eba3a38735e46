"""Tables of the segments of a corpus and of their files, by column: a million take tens of megabytes.

Shapes: N files, M segments.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vjepa_world.data.corpus.images import IMAGE_EXTENSIONS, is_image
from vjepa_world.data.corpus.lists import VideoList
from vjepa_world.data.corpus.locations import Location, TarMember

_CHUNK = 1 << 16  # names that are Python objects at a time


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a video from which clips are cut, or an image.

    Args:
        path: The file.
        start_s: Start of the segment [s].
        end_s: End of the segment [s]; None for the file's end.
        label: A class or a text, if the corpus has one.
        episode: Index of the episode, if the file is of a dataset.
        member: Its location in `path`, if that is a tar file.
        piece: The part of the file that a list names, as text.
    """

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    label: str = ""
    episode: int | None = None
    member: TarMember | None = None
    piece: str = ""

    @property
    def location(self) -> Location:
        """The file or tar member."""
        return self.path if self.member is None else self.member

    @property
    def is_image(self) -> bool:
        """Whether it is an image."""
        return is_image(self.location)

    @property
    def name(self) -> str:
        """The file, and the episode or part of it."""
        part = self.piece if self.episode is None else f"episode {self.episode}"
        return f"{self.location} ({part})" if part else str(self.location)


@dataclass(frozen=True)
class FileTable(Sequence[Location]):
    """Files, and members of tar files, by column.

    Attributes:
        folders: The distinct folders.
        folder: Index of each file's folder, int32 `[N]`.
        name: Each file's name in its folder, bytes `[N]`.
        offset: First byte of a tar member in its tar file, int64 `[N]`; -1 for ordinary files.
        size: Size of a tar member [bytes], int64 `[N]`.
        member: Name of a tar member, `[N]`; None if there are only ordinary files.
        image: Whether it is an image by its suffix, bool `[N]`.
    """

    folders: tuple[str, ...]
    folder: np.ndarray
    name: pa.Array
    offset: np.ndarray
    size: np.ndarray
    member: pa.Array | None
    image: np.ndarray

    def __len__(self) -> int:
        """Return N."""
        return len(self.folder)

    @overload
    def __getitem__(self, index: int) -> Location: ...

    @overload
    def __getitem__(self, index: slice) -> list[Location]: ...

    def __getitem__(self, index: int | slice) -> Location | list[Location]:
        """Return the location of a file."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        path = Path(self.folders[self.folder[index]], os.fsdecode(self.name[index].as_py()))
        if self.offset[index] < 0 or self.member is None:
            return path
        name = os.fsdecode(self.member[index].as_py())
        return TarMember(path, name, int(self.offset[index]), int(self.size[index]))

    def paths(self) -> Iterator[bytes]:
        """Yield the path of every file (for members, of the tar file) as bytes."""
        prefixes = [os.path.join(os.fsencode(folder), b"") for folder in self.folders]
        for start in range(0, len(self), _CHUNK):
            names = self.name.slice(start, _CHUNK).to_pylist()
            for folder, name in zip(self.folder[start : start + _CHUNK].tolist(), names, strict=True):
                yield prefixes[folder] + name

    def take(self, rows: np.ndarray) -> FileTable:
        """Return the files at the indices `rows`, int64 `[M]`."""
        indices = pa.array(rows)
        return replace(
            self,
            folder=self.folder[rows],
            name=self.name.take(indices),
            offset=self.offset[rows],
            size=self.size[rows],
            member=None if self.member is None else self.member.take(indices),
            image=self.image[rows],
        )


class FileTableBuilder:
    """Builds a `FileTable`."""

    def __init__(self) -> None:
        self._folders: dict[str, int] = {}
        self._folder, self._offset, self._size = array("i"), array("q"), array("q")
        self._image = array("b")
        self._names, self._members = _Bytes(), _Bytes()
        self._has_members = False

    def __len__(self) -> int:
        return len(self._folder)

    def add(self, folder: str, name: str) -> int:
        """Add an ordinary file; return its index."""
        self._append(folder, name, -1, -1)
        self._members.append(b"")
        self._image.append(name.lower().endswith(IMAGE_EXTENSIONS))
        return len(self) - 1

    def add_many(self, folder: str, names: Sequence[str]) -> range:
        """Add ordinary files in one folder; return their indices."""
        first, count = len(self), len(names)
        number = self._folders.setdefault(folder, len(self._folders))
        self._folder.extend([number] * count)
        self._names.extend([os.fsencode(name) for name in names])
        self._members.extend([b""] * count)
        self._image.extend([name.lower().endswith(IMAGE_EXTENSIONS) for name in names])
        for column in (self._offset, self._size):
            column.extend([-1] * count)
        return range(first, first + count)

    def add_paths(self, root: str, paths: pa.Array) -> range:
        """Add ordinary files by their paths, relative to `root` unless absolute; return their indices."""
        first = len(self)
        for start in range(0, len(paths), _CHUNK):
            self._add_some_paths(os.path.join(root, ""), paths.slice(start, _CHUNK))
        return range(first, len(self))

    def _add_some_paths(self, prefix: str, paths: pa.Array) -> None:
        whole = pc.if_else(pc.starts_with(paths, "/"), paths, pc.binary_join_element_wise(prefix, paths, ""))
        parts = pc.split_pattern(whole, "/", max_splits=1, reverse=True)
        folders = pc.list_element(parts, 0).dictionary_encode()
        names = pc.list_element(parts, 1)
        numbers = [self._number(name) for name in folders.dictionary.to_pylist()]
        self._folder.frombytes(np.array(numbers, np.int32)[folders.indices.to_numpy()].tobytes())
        self._names.extend_column(names.cast(pa.binary()).cast(pa.large_binary()))
        self._members.extend_column(pa.repeat(pa.scalar(b"", pa.large_binary()), len(paths)))
        image = np.zeros(len(paths), np.int8)
        lower = pc.utf8_lower(names)
        for ending in IMAGE_EXTENSIONS:
            image |= pc.ends_with(lower, ending).to_numpy(zero_copy_only=False).astype(np.int8)
        self._image.frombytes(image.tobytes())
        for column in (self._offset, self._size):
            column.frombytes(np.full(len(paths), -1, np.int64).tobytes())

    def _number(self, folder: str) -> int:
        """Return the index of a folder, with or without trailing slashes."""
        name = folder.rstrip("/") or "/"
        return self._folders.setdefault(name, len(self._folders))

    def add_path(self, path: str) -> int:
        """Add an ordinary file; return its index."""
        return self.add(*os.path.split(path))

    def add_location(self, location: Location) -> int:
        """Add a file or a tar member; return its index."""
        if not isinstance(location, TarMember):
            return self.add_path(os.fspath(location))
        self._append(*os.path.split(location.path), location.offset, location.size)
        self._members.append(os.fsencode(location.name))
        self._image.append(is_image(location))
        self._has_members = True
        return len(self) - 1

    def _append(self, folder: str, name: str, offset: int, size: int) -> None:
        self._folder.append(self._folders.setdefault(folder, len(self._folders)))
        self._names.append(os.fsencode(name))
        self._offset.append(offset)
        self._size.append(size)

    def table(self) -> FileTable:
        """Return the table."""
        count, members = len(self), self._has_members
        return FileTable(
            folders=tuple(self._folders),
            folder=np.array(self._folder, np.int32),
            name=self._names.column(),
            offset=np.array(self._offset, np.int64) if members else np.broadcast_to(np.int64(-1), (count,)),
            size=np.array(self._size, np.int64) if members else np.broadcast_to(np.int64(-1), (count,)),
            member=self._members.column() if members else None,
            image=np.array(self._image, bool),
        )


class _Bytes:
    """Builds a column of bytes."""

    def __init__(self) -> None:
        self._chunks: list[pa.Array] = []
        self._values: list[bytes] = []

    def append(self, value: bytes) -> None:
        self._values.append(value)
        if len(self._values) >= _CHUNK:
            self._flush()

    def extend(self, values: list[bytes]) -> None:
        self._values += values
        if len(self._values) >= _CHUNK:
            self._flush()

    def extend_column(self, column: pa.Array) -> None:
        self._flush()
        self._chunks.append(column)

    def _flush(self) -> None:
        self._chunks.append(pa.array(self._values, pa.large_binary()))
        self._values = []

    def column(self) -> pa.Array:
        self._flush()
        return pa.concat_arrays(self._chunks)


@dataclass(frozen=True)
class Segments(Sequence[Segment]):
    """Segments by column.

    Attributes:
        files: Their files.
        file: Index of each segment's file, int32 `[M]`.
        start_s: Start of each [s], `[M]`.
        end_s: End of each as declared by the corpus [s], `[M]`; NaN for the file's end.
        label: Text, a dictionary array `[M]`.
        episode: Episode of a dataset, int32 `[M]`; -1 for none.
        listed: Whether its name includes its times, bool `[M]`.
        fitted_end_s: End of each in its file [s], `[M]`; None before the headers were read.
    """

    files: FileTable
    file: np.ndarray
    start_s: np.ndarray
    end_s: np.ndarray
    label: pa.Array
    episode: np.ndarray
    listed: np.ndarray
    fitted_end_s: np.ndarray | None = None

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Segments:
        """Return these segments as a table."""
        builder, numbers = SegmentsBuilder(), dict[Location, int]()
        for row in segments:
            if row.location not in numbers:
                numbers[row.location] = builder.files.add_location(row.location)
            builder.add(
                numbers[row.location],
                label=row.label,
                start_s=row.start_s,
                end_s=row.end_s,
                episode=-1 if row.episode is None else row.episode,
                listed=bool(row.piece),
            )
        return builder.segments()

    def __len__(self) -> int:
        """Return M."""
        return len(self.file)

    @overload
    def __getitem__(self, index: int) -> Segment: ...

    @overload
    def __getitem__(self, index: slice) -> list[Segment]: ...

    def __getitem__(self, index: int | slice) -> Segment | list[Segment]:
        """Return a segment."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        location = self.files[int(self.file[index])]
        start_s, end_s = float(self.start_s[index]), float(self.end_s[index])
        fitted_s = end_s if self.fitted_end_s is None else float(self.fitted_end_s[index])
        member = location if isinstance(location, TarMember) else None
        return Segment(
            path=location.path if isinstance(location, TarMember) else location,
            start_s=start_s,
            end_s=None if math.isnan(fitted_s) else fitted_s,
            label=self.label[int(index)].as_py(),
            episode=None if self.episode[index] < 0 else int(self.episode[index]),
            member=member,
            piece=_piece(start_s, end_s) if self.listed[index] else "",
        )

    def __iter__(self) -> Iterator[Segment]:
        """Yield all segments."""
        return (self[number] for number in range(len(self)))

    @property
    def image(self) -> np.ndarray:
        """Whether each is an image, bool `[M]`."""
        return self.files.image[self.file]

    def copies(self, index: int) -> int:
        """Return the number of segments equal to one: lists may name one often."""
        if not self.listed[index] and self.episode[index] >= 0:
            return 1
        same = (self.file == self.file[index]) & (self.start_s == self.start_s[index])
        end_s = self.end_s[index]
        return int(
            np.count_nonzero(same & (np.isnan(self.end_s) if math.isnan(end_s) else self.end_s == end_s))
        )

    def take(self, rows: np.ndarray) -> Segments:
        """Return the segments at the indices `rows`, int64 `[M]`, with all files."""
        return replace(
            self,
            file=self.file[rows],
            start_s=self.start_s[rows],
            end_s=self.end_s[rows],
            label=self.label.take(pa.array(rows)),
            episode=self.episode[rows],
            listed=self.listed[rows],
            fitted_end_s=None if self.fitted_end_s is None else self.fitted_end_s[rows],
        )


class SegmentsBuilder:
    """Builds `Segments`."""

    def __init__(self) -> None:
        self.files = FileTableBuilder()
        self._file, self._label, self._episode = array("i"), array("i"), array("i")
        self._start_s, self._end_s, self._listed = array("d"), array("d"), array("b")
        self._labels: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._file)

    def add(
        self,
        file: int,
        *,
        label: str = "",
        start_s: float = 0.0,
        end_s: float | None = None,
        episode: int = -1,
        listed: bool = False,
    ) -> None:
        """Add a segment of the file with index `file`; the name of a `listed` one includes its times."""
        self._file.append(file)
        self._label.append(self._labels.setdefault(label, len(self._labels)))
        self._start_s.append(start_s)
        self._end_s.append(math.nan if end_s is None else end_s)
        self._episode.append(episode)
        self._listed.append(listed)

    def add_whole(self, files: range) -> None:
        """Add whole files by their indices."""
        count = len(files)
        self._file.extend(files)
        columns: tuple[tuple[array[Any], float], ...] = (
            (self._label, self._labels.setdefault("", len(self._labels))),
            (self._start_s, 0.0),
            (self._end_s, math.nan),
            (self._episode, -1),
            (self._listed, 0),
        )
        for column, value in columns:
            column.extend([value] * count)

    def add_list(self, folder: Path, videos: VideoList) -> None:
        """Add the rows of a list in `folder`."""
        paths = videos.path.combine_chunks().dictionary_encode()
        files = self.files.add_paths(os.fspath(folder), paths.dictionary)
        texts = [
            self._labels.setdefault(text, len(self._labels)) for text in videos.label.dictionary.to_pylist()
        ]
        count = len(videos)
        for column, values in (
            (self._file, np.arange(files.start, files.stop, dtype=np.int32)[paths.indices.to_numpy()]),
            (self._label, np.array(texts, np.int32)[videos.label.indices.to_numpy()]),
            (self._start_s, videos.start_s),
            (self._end_s, videos.end_s),
            (self._episode, np.full(count, -1, np.int32)),
            (self._listed, np.ones(count, np.int8)),
        ):
            column.frombytes(np.ascontiguousarray(values).tobytes())

    def segments(self) -> Segments:
        """Return the table."""
        labels = pa.array(list(self._labels) or [""], pa.string())
        codes = pa.array(np.array(self._label, np.int32))
        return Segments(
            self.files.table(),
            np.array(self._file, np.int32),
            np.array(self._start_s, np.float64),
            np.array(self._end_s, np.float64),
            pa.DictionaryArray.from_arrays(codes, labels),
            np.array(self._episode, np.int32),
            np.array(self._listed, bool),
        )


def _piece(start_s: float, end_s: float) -> str:
    if not start_s and math.isnan(end_s):
        return ""
    return f"{start_s:g} s to {'its end' if math.isnan(end_s) else f'{end_s:g} s'}"

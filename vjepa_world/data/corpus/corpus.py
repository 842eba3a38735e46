"""Finds the videos and images of a corpus, and checks which are usable.

A corpus is a folder (searched recursively), a glob, a file, a CSV or Parquet list, WebDataset shards, or a
LeRobotDataset. It consists of segments: a whole file, a time range of one that a list names, or an episode of a dataset
whose files hold several, so that no clip crosses the border of two episodes.
"""

from __future__ import annotations

import glob
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.corpus.folders import WalkLog, expand_glob, walk
from vjepa_world.data.corpus.headers import FileStats, Headers, read_headers
from vjepa_world.data.corpus.images import IMAGE_EXTENSIONS
from vjepa_world.data.corpus.lists import LIST_SUFFIXES, read_list
from vjepa_world.data.corpus.segments import Segment, Segments, SegmentsBuilder
from vjepa_world.data.corpus.shards import ShardSample, expand_braces, index_shard
from vjepa_world.data.loading.worker_pool import crash_safe_map
from vjepa_world.data.trajectories.formats.lerobot.metadata import LeRobotMeta, is_lerobot
from vjepa_world.data.video.reader import TIME_TOLERANCE_S
from vjepa_world.errors import DataError

__all__ = ["BadFiles", "Corpus", "SkippedFiles", "Segment", "clip_span_s", "find_videos"]

logger = logging.getLogger(__name__)

EXTENSIONS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
    ".ogv",
)
SHARD = ".tar"
_OTHER_LISTS = (
    ".txt",
    ".tsv",
    ".json",
    ".jsonl",
    ".csv.gz",
    ".csv.zst",
    ".csv.zip",
    ".xlsx",
    ".arrow",
    ".feather",
)
_MEDIA = (*EXTENSIONS, *IMAGE_EXTENSIONS)

_NOT_READ = """
ts mts m2ts m2t vob mxf asf f4v rm rmvb divx xvid dv qt ogg ogm mjpeg mjpg m1v m2v 3g2 amv y4m yuv h264 264 h265 265
hevc av1 ivf svo svo2 bag mcap r3d braw insv lrv wtv
gif tif tiff heic heif avif jp2 j2k jxl jfif exr hdr dng ppm pgm pnm tga dpx cr2 nef arw apng
zip tgz gz zst bz2 xz 7z rar
"""
#: Suffixes of videos, images and archives that are not supported; such files are counted and reported.
UNSUPPORTED = tuple(f".{kind}" for kind in _NOT_READ.split())

_MOST_REPEATS = 1000  # that are listed


@dataclass(frozen=True)
class SkippedFiles:
    """Files among those of a corpus that are not part of it.

    Attributes:
        kinds: Numbers of videos, images and archives of unsupported types, by suffix.
        examples: One file of each of these types.
        images: Number of images, if there are videos, or if images are not wanted.
        repeated: Number of further names (links) of files.
        repeats: Some of these, each with the name that is used.
    """

    kinds: dict[str, int]
    examples: dict[str, str]
    images: int
    repeated: int
    repeats: tuple[tuple[str, str], ...]

    def messages(self) -> list[str]:
        """Return messages for the user."""
        found = []
        if self.kinds:
            total = sum(self.kinds.values())
            named = ", ".join(
                f"{count} {kind} ({self.examples[kind]}{', ...' if count > 1 else ''})"
                for kind, count in sorted(self.kinds.items(), key=lambda item: -item[1])
            )
            found.append(
                f"{total} files of unsupported types: {named}; convert them to MP4 or PNG to use them"
            )
        if self.repeated:
            name, kept = self.repeats[0]
            found.append(f"{self.repeated} further names of the same files, such as {name} for {kept}")
        return found


@dataclass(frozen=True)
class Corpus:
    """The segments found at a source, in a fixed order; their files are not opened yet.

    Attributes:
        source: The path that was searched.
        segments: The segments.
        bad: Names and reasons of shards without an index, and of folders that cannot be listed.
        left_out: Files that are not part of the corpus.
        states: Sizes and times of the files, if they are known already.
    """

    source: str
    segments: Segments
    bad: tuple[tuple[str, str], ...] = ()
    left_out: SkippedFiles = SkippedFiles({}, {}, 0, 0, ())
    states: FileStats | None = None

    @property
    def total(self) -> int:
        """Number of segments and other entries that can be bad."""
        return len(self.segments) + len(self.bad)

    def headers(self, timeout_s: float = 120.0) -> Headers:
        """Read the headers of all files, see `read_headers`.

        Raises:
            DataError: Reading one took longer than `timeout_s`.
        """
        files = self.segments.files
        states = FileStats.of(files) if self.states is None else self.states
        return read_headers(self.source, files, states, timeout_s)

    def usable(
        self, window_s: float, max_bad_fraction: float, timeout_s: float = 120.0
    ) -> tuple[Segments, BadFiles]:
        """Read every file's header; return the segments of at least `window_s`, and the bad ones.

        Raises:
            DataError: More than `max_bad_fraction` of the segments are bad, or a file cannot be read in `timeout_s`.
        """
        fitted, good, bad = self.fitted(window_s, max_bad_fraction, timeout_s)
        return fitted.take(np.flatnonzero(good)), bad

    def fitted(
        self, window_s: float, max_bad_fraction: float, timeout_s: float = 120.0
    ) -> tuple[Segments, np.ndarray, BadFiles]:
        """Return all segments with the ends found in the files, whether each is good, bool `[M]`, and the bad ones.

        Raises:
            DataError: As in `usable`.
        """
        headers = self.headers(timeout_s)
        segments, fits = _fitted(self.segments, headers, window_s)
        bad = BadFiles(max_bad_fraction)
        for name, reason in self.bad:
            bad.add(name, reason)
        names: Counter[str] = Counter()
        reasons: dict[str, str] = {}
        for row in np.flatnonzero(~fits).tolist():
            segment = segments[row]
            names[segment.name] += 1
            if segment.name not in reasons:
                file = int(segments.file[row])
                reasons[segment.name] = headers.reason(file) or _misfit(segment, headers, file, window_s)
        for name, reason in reasons.items():
            bad.add(name, reason, rows=names[name])
        bad.check(self.total)
        pa.default_memory_pool().release_unused()  # after a large corpus, as much as the result
        return segments, fits, bad


def _fitted(segments: Segments, headers: Headers, window_s: float) -> tuple[Segments, np.ndarray]:
    """Return the segments with the ends found in the files, and which are at least `window_s` long, bool `[M]`."""
    file = segments.file
    durations_s = headers.duration_s[file]
    image, readable = segments.image, headers.good[file]
    ends_s = np.where(np.isnan(segments.end_s), durations_s, np.minimum(segments.end_s, durations_s))
    long_enough = ends_s - segments.start_s >= window_s
    fits = readable & (image | ((segments.start_s < ends_s) & long_enough))
    return replace(segments, fitted_end_s=np.where(image | ~readable, segments.end_s, ends_s)), fits


def _misfit(segment: Segment, headers: Headers, file: int, window_s: float) -> str:
    """Return why a segment of a readable file is too short."""
    duration_s = headers[file].duration_s
    end_s = duration_s if segment.end_s is None else segment.end_s
    if segment.start_s >= end_s:
        return (
            f"{segment.name} starts after its file's end: that lasts {duration_s:.2f} s. Correct its start."
        )
    return (
        f"{segment.name} is shorter than the window of {window_s:.2f} s: it lasts "
        f"{end_s - segment.start_s:.2f} s. Take it out, or use fewer frames or a higher fps."
    )


def find_videos(path: str | os.PathLike[str], *, images: bool = False) -> Corpus:
    """Find the videos at `path`.

    Args:
        path: A folder, a glob, a video file, a CSV or Parquet list with a column `path`, tar shards (a file, a glob, or
            a brace list such as {000..009}.tar) or a LeRobotDataset. Hidden files are left out. Paths in a list are
            relative to its folder. Links are followed, and a file with several names is used once.
        images: Whether to find images too: those that a list names, and elsewhere if there is no video.

    Raises:
        DataError: The path does not exist, or there is no video.
    """
    text = os.fspath(path)
    found = _Found()
    if not os.path.exists(text) and "{" in text:
        for part in expand_braces(text):
            try:
                _search(part, found)
            except DataError as error:
                raise DataError(f"{error} It is one of the names in {text}.") from error
    else:
        _search(text, found)
    found.index_shards()
    corpus = found.corpus(text, images)
    for message in corpus.left_out.messages():
        logger.warning("Left out in %s: %s.", text, message)
    if corpus.left_out.images:
        logger.info(
            "%d images in %s are left out%s",
            corpus.left_out.images,
            text,
            ": it has videos" if len(corpus.segments) else "",
        )
    if not len(corpus.segments) and not corpus.bad:
        kinds = (*EXTENSIONS, *IMAGE_EXTENSIONS) if images else EXTENSIONS
        others = "".join(f" There are {message}." for message in corpus.left_out.messages())
        raise DataError(
            f"No video found in {text}. Looked for {' '.join(kinds)} and {SHARD} in it and in the folders below; give "
            "a folder that has such files, a glob, one video, a CSV or Parquet list, tar shards or a LeRobotDataset."
            + others
        )
    return corpus


def clip_span_s(frames_per_clip: int, fps: float) -> float:
    """Return the least length of a segment for a clip [s]: from its first frame to its last, and a tolerance."""
    return (frames_per_clip - 1) / fps + 2 * TIME_TOLERANCE_S


class _Found:
    """The results of a search, in order."""

    def __init__(self) -> None:
        self.builder = SegmentsBuilder()
        self.is_list = False
        self.shards: dict[str, None] = {}
        self.bad: list[tuple[str, str]] = []
        self.walked = WalkLog()
        self._kinds: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def file(self, folder: str, name: str) -> None:
        """Add a file if its suffix is that of a video, an image or a shard."""
        lower = name.lower()
        if lower.startswith("."):
            return
        if lower.endswith(SHARD):
            self.shards[os.path.join(folder, name)] = None
        elif lower.endswith((*EXTENSIONS, *IMAGE_EXTENSIONS)):
            self.named(folder, name)
        elif lower.endswith(UNSUPPORTED):
            kind = os.path.splitext(lower)[1]
            self._kinds[kind] += 1
            self._examples.setdefault(kind, os.path.join(folder, name))

    def named(self, folder: str, name: str) -> None:
        """Add a file as a video or an image, whatever its suffix."""
        self.builder.add(self.builder.files.add(folder, name))

    def index_shards(self) -> None:
        shards = [Path(shard) for shard in _each_once(list(self.shards))]
        for path, samples in zip(shards, crash_safe_map(_index, shards, DataError), strict=True):
            if isinstance(samples, DataError):
                self.bad.append((str(path), str(samples)))
                continue
            for sample in samples:
                self.builder.add(self.builder.files.add_location(sample.member), label=sample.label)

    def corpus(self, source: str, images: bool) -> Corpus:
        """Return all segments of a list; otherwise the videos, or if there are none, the images if wanted."""
        segments = self.builder.segments()
        bad = (*self.bad, *self.walked.unreadable)
        if self.is_list:
            return Corpus(source, segments, bad)
        kept = ~segments.image
        if not kept.any() and images:
            kept[:] = True
        left = int(len(segments) - kept.sum())
        segments = _own_files(segments, np.flatnonzero(kept))
        states = FileStats.of(segments.files)
        once, count, repeats = _unique(segments, states)
        if len(once) < len(segments):
            states = states.take(np.unique(segments.file[once]))
            segments = _own_files(segments, once)
        return Corpus(
            source,
            segments,
            bad,
            SkippedFiles(dict(self._kinds), self._examples, left, count, repeats),
            states,
        )


def _own_files(segments: Segments, rows: np.ndarray) -> Segments:
    """Return some segments, with only their files."""
    if len(rows) == len(segments):
        return segments
    some = segments.take(rows)
    used, number = np.unique(some.file, return_inverse=True)
    return replace(some, files=some.files.take(used), file=number.astype(np.int32))


def _unique(segments: Segments, states: FileStats) -> tuple[np.ndarray, int, tuple[tuple[str, str], ...]]:
    """Return the rows with one name for each file, the number of further names, and some of these with the used one.

    Of several names one that is not a link is used. Members of a tar file and episodes of a dataset share files, and
    are not compared.
    """
    file = segments.file
    whole = (segments.files.offset[file] < 0) & (segments.episode < 0) & (states.size[file] >= 0)
    rows = np.flatnonzero(whole)
    keys = np.stack([states.device[file[rows]], states.inode[file[rows]]])
    _, first, group, counts = np.unique(
        keys, axis=1, return_index=True, return_inverse=True, return_counts=True
    )
    if len(first) == len(rows):
        return np.arange(len(segments)), 0, ()
    group = group.reshape(-1)
    unique = np.ones(len(segments), bool)
    repeated, repeats = 0, list[tuple[str, str]]()
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(counts)
    for number in np.flatnonzero(counts > 1).tolist():
        same = rows[order[ends[number] - counts[number] : ends[number]]].tolist()
        names = [str(segments.files[int(file[row])]) for row in same]
        kept = next((index for index, name in enumerate(names) if not os.path.islink(name)), 0)
        for index, row in enumerate(same):
            if index != kept:
                unique[row] = False
                if names[index] != names[kept]:  # otherwise a glob matched the file and its folder
                    repeated += 1
                    repeats += [(names[index], names[kept])] if repeated <= _MOST_REPEATS else []
    return np.flatnonzero(unique), repeated, tuple(repeats)


def _each_once(paths: Sequence[str]) -> Iterator[str]:
    """Yield files, each under its first name."""
    seen: set[str] = set()
    for path in paths:
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            yield path


def _index(path: Path) -> list[ShardSample] | DataError:
    try:
        return index_shard(path, (*EXTENSIONS, *IMAGE_EXTENSIONS))
    except DataError as error:
        return error


def _search(text: str, found: _Found) -> None:
    location = Path(text)
    if location.is_dir():
        _search_folder(text, found)
    elif location.suffix.lower() in LIST_SUFFIXES and (location.is_file() or not glob.has_magic(text)):
        found.is_list = True
        found.builder.add_list(location.parent, read_list(location, (*EXTENSIONS, *IMAGE_EXTENSIONS)))
    elif location.is_file():
        if location.suffix.lower() == SHARD:
            found.shards[text] = None
        elif location.name.lower().endswith(_OTHER_LISTS):
            raise DataError(f"{text} is neither a video nor a supported list. Give a list as CSV or Parquet.")
        else:
            found.named(*os.path.split(text))
    elif glob.has_magic(text):
        for match in expand_glob(text, found.walked):
            if os.path.isdir(match):
                _search_folder(match, found)
            else:
                found.file(*os.path.split(match))
    else:
        raise DataError(
            f"No such file or folder: {text}. Give a folder of videos, a glob, a file, a CSV or Parquet list, or tar "
            "shards."
        )


def _search_folder(root: str, found: _Found) -> None:
    for folder, folders, files in walk(root, found.walked):
        if is_lerobot(folder):
            _add_dataset(Path(folder), found.builder)
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        # Most files of a large corpus are media; only the others are handled one by one.
        media = [name for name in files if name[0] != "." and name.lower().endswith(_MEDIA)]
        found.builder.add_whole(found.builder.files.add_many(folder, media))
        if len(media) < len(files):
            known = set(media)
            for name in files:
                if name not in known:
                    found.file(folder, name)


def _add_dataset(folder: Path, builder: SegmentsBuilder) -> None:
    meta = LeRobotMeta(folder)
    episodes = meta.episodes()
    numbers: dict[Path, int] = {}
    for key in meta.clip_keys():
        for episode in episodes:
            span = episode.videos[key]
            if span.path not in numbers:
                numbers[span.path] = builder.files.add_path(os.fspath(span.path))
            builder.add(
                numbers[span.path],
                label=" / ".join(episode.tasks),
                start_s=span.from_s,
                end_s=span.to_s,
                episode=episode.index,
            )

"""Finds the videos and images of a corpus, and tells the usable ones from the bad ones.

A corpus is a folder (searched to any depth), a glob, one file, a CSV or Parquet list, WebDataset shards, or a
LeRobotDataset. It consists of segments: a whole ordinary file, the piece of one that a list names, or one episode of a
dataset whose files hold many, so that no clip crosses from one episode into the next.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from vjepa_world.data.bad_files import BadFiles
from vjepa_world.data.images import IMAGE_EXTENSIONS, is_image, probe_image
from vjepa_world.data.lists import LIST_SUFFIXES, ListedVideo, read_list
from vjepa_world.data.places import Place, TarMember
from vjepa_world.data.shards import ShardSample, expand_braces, index_shard
from vjepa_world.data.trajectories.lerobot_meta import LeRobotMeta, is_lerobot
from vjepa_world.data.video import TIME_TOLERANCE_S, VideoError, VideoInfo, probe_video
from vjepa_world.data.worker_pool import guarded_map
from vjepa_world.errors import DataError

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


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a video that clips are cut from, or an image.

    Args:
        path: the file.
        start_s: where the piece starts.
        end_s: where it ends; None is the file's end.
        label: a word or sentence about it, where the corpus has one.
        episode: which episode of a dataset the piece is; None is the whole file.
        member: where in `path` it lies, if that is a tar file.
        piece: which piece of the file a list names, in words.
    """

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    label: str = ""
    episode: int | None = None
    member: TarMember | None = None
    piece: str = ""

    @property
    def place(self) -> Place:
        """Where its bytes are."""
        return self.path if self.member is None else self.member

    @property
    def is_image(self) -> bool:
        """Whether it is one image."""
        return is_image(self.place)

    @property
    def name(self) -> str:
        """The file, and the episode or piece where it is a part of the file."""
        part = self.piece if self.episode is None else f"episode {self.episode}"
        return f"{self.place} ({part})" if part else str(self.place)


@dataclass(frozen=True)
class Corpus:
    """The segments found at `source`, in a fixed order, not looked into yet; `bad` names shards without an index."""

    source: str
    segments: tuple[Segment, ...]
    bad: tuple[tuple[str, str], ...] = ()

    @property
    def total(self) -> int:
        """How many things can be bad."""
        return len(self.segments) + len(self.bad)

    def usable(
        self, window_s: float, max_bad_fraction: float, timeout_s: float = 120.0
    ) -> tuple[list[Segment], BadFiles]:
        """Read every file's header; return the segments that a clip of `window_s` fits in, and the bad ones.

        Raises:
            DataError: more than `max_bad_fraction` of the segments are bad, or a file cannot be read in `timeout_s`.
        """
        bad = BadFiles(max_bad_fraction)
        for name, reason in self.bad:
            bad.add(name, reason)
        headers = probe_all((segment.place for segment in self.segments), timeout_s)
        good = []
        for segment in self.segments:
            header = headers[segment.place]
            checked = str(header) if isinstance(header, VideoError) else _fitted(segment, header, window_s)
            if isinstance(checked, str):
                bad.add(segment.name, checked)
            else:
                good.append(checked)
        bad.check(self.total)
        return good, bad


def find_videos(path: str | os.PathLike[str], *, images: bool = False) -> Corpus:
    """Find the videos at `path`.

    Args:
        path: a folder, a glob, a video file, a CSV or Parquet list with a column `path`, tar shards (a file, a glob, or
            a brace list such as {000..009}.tar) or a LeRobotDataset. Hidden files are left out. Paths in a list are
            relative to its folder.
        images: whether images are looked for too: those that a list names, and elsewhere where there is no video.

    Raises:
        DataError: nothing is there, or no video among it; what was looked for is named.
    """
    text = os.fspath(path)
    found = _Found()
    if not os.path.exists(text) and "{" in text:
        for part in expand_braces(text):
            _look(part, found)
    else:
        _look(text, found)
    found.index_shards()
    segments = found.chosen(images)
    left = len(found.listed) - len(segments)
    if left:
        logger.info("%d images in %s are left out%s", left, text, ": it has videos" if segments else "")
    if not segments and not found.bad:
        kinds = (*EXTENSIONS, *IMAGE_EXTENSIONS) if images else EXTENSIONS
        raise DataError(
            f"No video found in {text}. Looked for {' '.join(kinds)} and {SHARD} in it and in the folders below; give "
            "a folder that has such files, a glob, one video, a CSV or Parquet list, tar shards or a LeRobotDataset."
        )
    return Corpus(text, tuple(segments), tuple(found.bad))


def probe_all(places: Iterable[Place], timeout_s: float = 120.0) -> dict[Place, VideoInfo | VideoError]:
    """Read the headers of all files, in a few processes; what cannot be read stands as its error.

    Raises:
        DataError: reading one took longer than `timeout_s`.
    """
    unique = list(dict.fromkeys(places))
    return dict(zip(unique, guarded_map(_probe, unique, VideoError, timeout_s), strict=True))


def clip_span_s(frames_per_clip: int, fps: float) -> float:
    """Return how long a segment must be [s] for a clip: from its first frame to its last, and a little."""
    return (frames_per_clip - 1) / fps + 2 * TIME_TOLERANCE_S


def _probe(place: Place) -> VideoInfo | VideoError:
    try:
        return probe_image(place) if is_image(place) else probe_video(place)
    except VideoError as error:
        return error


def _fitted(segment: Segment, header: VideoInfo, window_s: float) -> Segment | str:
    """Return the segment with its end as the file has it, or why no clip of `window_s` fits in it."""
    if segment.is_image:
        return segment
    end_s = header.duration_s if segment.end_s is None else min(segment.end_s, header.duration_s)
    if segment.start_s >= end_s:
        return f"{segment.name} starts behind its file's end: that lasts {header.duration_s:.2f} s. Correct its start."
    if end_s - segment.start_s < window_s:
        return (
            f"{segment.name} is shorter than the window of {window_s:.2f} s: it lasts "
            f"{end_s - segment.start_s:.2f} s. Take it out, or ask for fewer frames or a higher fps."
        )
    return replace(segment, end_s=end_s)


class _Found:
    """What a search has come upon, in order."""

    def __init__(self) -> None:
        self.listed: list[Segment] = []
        self.is_list = False
        self.shards: list[Path] = []
        self.bad: list[tuple[str, str]] = []

    def chosen(self, images: bool) -> list[Segment]:
        """Return all that a list names; else the videos, or if there are none, the images if they are wanted."""
        if self.is_list:
            return self.listed
        videos = [segment for segment in self.listed if not segment.is_image]
        return videos or (self.listed if images else [])

    def file(self, path: Path) -> None:
        """Take a file whose name is that of a video, an image or a shard."""
        name = path.name.lower()
        if name.startswith("."):
            return
        if name.endswith(SHARD):
            self.shards.append(path)
        elif name.endswith((*EXTENSIONS, *IMAGE_EXTENSIONS)):
            self.listed.append(Segment(path))

    def index_shards(self) -> None:
        for path, samples in zip(self.shards, guarded_map(_index, self.shards, DataError), strict=True):
            if isinstance(samples, DataError):
                self.bad.append((str(path), str(samples)))
            else:
                self.listed += [Segment(path, label=s.label, member=s.member) for s in samples]


def _index(path: Path) -> list[ShardSample] | DataError:
    try:
        return index_shard(path, (*EXTENSIONS, *IMAGE_EXTENSIONS))
    except DataError as error:
        return error


def _look(text: str, found: _Found) -> None:
    place = Path(text)
    if place.is_dir():
        _look_in_folder(place, found)
    elif place.suffix.lower() in LIST_SUFFIXES and (place.is_file() or not glob.has_magic(text)):
        found.is_list = True
        found.listed += [_listed(place, row) for row in read_list(place)]
    elif place.is_file():
        if place.suffix.lower() == SHARD:
            found.shards.append(place)
        else:
            found.listed.append(Segment(place))
    elif glob.has_magic(text):
        for match in sorted(glob.glob(text, recursive=True)):
            if os.path.isdir(match):
                _look_in_folder(Path(match), found)
            else:
                found.file(Path(match))
    else:
        raise DataError(
            f"No such file or folder: {text}. Give a folder of videos, a glob, a file, a CSV or Parquet list, or tar "
            "shards."
        )


def _look_in_folder(folder: Path, found: _Found) -> None:
    for place, folders, files in os.walk(folder, followlinks=True):
        if is_lerobot(place):
            found.listed += _in_dataset(Path(place))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            found.file(Path(place) / name)


def _in_dataset(folder: Path) -> list[Segment]:
    meta = LeRobotMeta(folder)
    episodes = meta.episodes()
    return [
        Segment(piece.path, piece.from_s, piece.to_s, episode.task, episode.index)
        for key in meta.video_keys
        for episode in episodes
        for piece in (episode.videos[key],)
    ]


def _listed(file: Path, row: ListedVideo) -> Segment:
    piece = ""
    if row.start_s or row.end_s is not None:
        piece = f"{row.start_s:g} s to {'its end' if row.end_s is None else f'{row.end_s:g} s'}"
    return Segment(file.parent / row.path, row.start_s, row.end_s, row.label, piece=piece)

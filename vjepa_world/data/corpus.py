"""Finds the videos of a corpus, and keeps account of the bad ones.

A corpus is a folder (searched to any depth), a glob, one file, a CSV list, or a LeRobotDataset. It consists of
segments: a whole ordinary file, or one episode of a dataset whose files hold many, so that no clip crosses from
one episode into the next.
"""

from __future__ import annotations

import csv
import glob
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from vjepa_world.data.trajectories.lerobot_meta import LeRobotMeta, is_lerobot
from vjepa_world.data.video import TIME_TOLERANCE_S, VideoError, VideoInfo, probe_video
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

_LISTED = 10  # bad files that an error names


@dataclass(frozen=True)
class Segment:
    """A piece of a video that clips are cut from.

    Args:
        path: the file.
        start_s: where the piece starts.
        end_s: where it ends; None is the file's end.
        label: a word or sentence about it, where the corpus has one.
        episode: which episode of a dataset the piece is; None is the whole file.
    """

    path: Path
    start_s: float = 0.0
    end_s: float | None = None
    label: str = ""
    episode: int | None = None

    @property
    def name(self) -> str:
        """The file, and the episode where it is a part of the file."""
        return str(self.path) if self.episode is None else f"{self.path} (episode {self.episode})"


@dataclass
class BadFiles:
    """Names, counts and reasons of what could not be used; each is logged once.

    Args:
        max_fraction: the share of bad ones above which `check` stops the run.
    """

    max_fraction: float
    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, reason: str) -> None:
        """Count `name` as bad; a second time changes nothing."""
        if name not in self.reasons:
            self.reasons[name] = reason
            logger.warning("Skipped: %s", reason)

    def __len__(self) -> int:
        return len(self.reasons)

    def __contains__(self, name: object) -> bool:
        return name in self.reasons

    def check(self, total: int) -> None:
        """Stop when too many of `total` are bad.

        Raises:
            DataError: more than `max_fraction` of them, or all; the first ten are listed with their reasons.
        """
        bad = len(self)
        if bad == 0 or (bad <= self.max_fraction * total and bad < total):
            return
        listed = list(self.reasons.values())[:_LISTED]
        more = [f"... and {bad - _LISTED} more"] if bad > _LISTED else []
        lines = "\n  ".join(listed + more)
        raise DataError(
            f"{bad} of {total} videos are bad; data.max_bad_fraction={self.max_fraction:g} allows "
            f"{int(self.max_fraction * total)}. Replace or remove them, or raise data.max_bad_fraction:\n  {lines}"
        )


@dataclass(frozen=True)
class Corpus:
    """The segments found at `source`, in a fixed order, not looked into yet."""

    source: str
    segments: tuple[Segment, ...]

    def usable(self, window_s: float, max_bad_fraction: float) -> tuple[list[Segment], BadFiles]:
        """Read every file's header; return the segments that a clip of `window_s` fits in, and the bad ones.

        Raises:
            DataError: more than `max_bad_fraction` of the segments are bad.
        """
        bad = BadFiles(max_bad_fraction)
        headers = probe_all([segment.path for segment in self.segments])
        good = []
        for segment in self.segments:
            header = headers[segment.path]
            if isinstance(header, VideoError):
                bad.add(segment.name, str(header))
                continue
            end_s = header.duration_s if segment.end_s is None else min(segment.end_s, header.duration_s)
            if end_s - segment.start_s < window_s:
                bad.add(
                    segment.name,
                    f"{segment.name} is shorter than the window of {window_s:.2f} s: it lasts "
                    f"{max(end_s - segment.start_s, 0.0):.2f} s. Take it out, or ask for fewer frames or a higher fps.",
                )
                continue
            good.append(replace(segment, end_s=end_s))
        bad.check(len(self.segments))
        return good, bad


def find_videos(path: str | os.PathLike[str]) -> Corpus:
    """Find the videos at `path`: a folder, a glob, a video file, a CSV list with a column `path`, a LeRobotDataset.

    Hidden files are left out. Paths in a CSV are relative to its folder.

    Raises:
        DataError: nothing is there, or no video among it; what was looked for is named.
    """
    text = os.fspath(path)
    place = Path(text)
    if place.is_dir():
        segments = _in_folder(place)
    elif place.suffix.lower() == ".csv":
        segments = _in_list(place)
    elif place.is_file():
        segments = [Segment(place)]
    elif glob.has_magic(text):
        segments = _matching(text)
    else:
        raise DataError(
            f"No such file or folder: {text}. Give a folder of videos, a glob, a file or a CSV list."
        )
    if not segments:
        raise DataError(
            f"No video found in {text}. Looked for {' '.join(EXTENSIONS)} in it and in the folders below; give a "
            f"folder that has such files, a glob, one video, a CSV list or a LeRobotDataset."
        )
    return Corpus(text, tuple(segments))


def probe_all(paths: list[Path]) -> dict[Path, VideoInfo | VideoError]:
    """Read the headers of all files, in a few threads; what cannot be read stands as its error."""
    unique = list(dict.fromkeys(paths))
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as threads:
        return dict(zip(unique, threads.map(_probe, unique), strict=True))


def clip_span_s(frames_per_clip: int, fps: float) -> float:
    """Return how long a segment must be [s] for a clip: from its first frame to its last, and a little."""
    return (frames_per_clip - 1) / fps + 2 * TIME_TOLERANCE_S


def _probe(path: Path) -> VideoInfo | VideoError:
    try:
        return probe_video(path)
    except VideoError as error:
        return error


def _in_folder(folder: Path) -> list[Segment]:
    segments: list[Segment] = []
    for place, folders, files in os.walk(folder, followlinks=True):
        if is_lerobot(place):
            segments += _in_dataset(Path(place))
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        segments += [Segment(Path(place) / name) for name in sorted(files) if _is_video(name)]
    return segments


def _in_dataset(folder: Path) -> list[Segment]:
    meta = LeRobotMeta(folder)
    return [
        Segment(episode.video_path, episode.from_s, episode.to_s, episode.task, episode.index)
        for camera in meta.cameras
        for episode in meta.episodes(camera)
    ]


def _in_list(file: Path) -> list[Segment]:
    if not file.is_file():
        raise DataError(
            f"No such list: {file}. Give a CSV file with a column 'path', and optionally 'label'."
        )
    with open(file, encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream)
        columns = reader.fieldnames or []
        if "path" not in columns:
            raise DataError(
                f"{file} has no column 'path' in its first line; it has: {', '.join(columns) or 'nothing'}. Write "
                f"'path' or 'path,label' as the first line, then one video a line."
            )
        rows = [row for row in reader if row["path"]]
    return [Segment(file.parent / row["path"], label=row.get("label") or "") for row in rows]


def _matching(pattern: str) -> list[Segment]:
    segments: list[Segment] = []
    for match in sorted(glob.glob(pattern, recursive=True)):
        place = Path(match)
        if place.is_dir():
            segments += _in_folder(place)
        elif _is_video(place.name):
            segments.append(Segment(place))
    return segments


def _is_video(name: str) -> bool:
    return not name.startswith(".") and name.lower().endswith(EXTENSIONS)

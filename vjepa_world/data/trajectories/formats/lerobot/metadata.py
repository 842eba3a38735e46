"""Reads the `meta` folder of a LeRobotDataset, v3.0 or v2: its features, and the location of each episode.

State and action are not needed, so that a dataset's videos can also serve as plain clips. v2.1 and v2.0 have lists in
JSON lines instead of Parquet, and one data file and one MP4 for each episode.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.info import is_depth, read_info, read_templates
from vjepa_world.data.trajectories.formats.lerobot.tasks import read_tasks
from vjepa_world.data.trajectories.formats.parquet import read_columns
from vjepa_world.data.trajectories.reader_helpers import fingerprint, read_json_lines, spans_of, spans_text
from vjepa_world.data.trajectories.safe_paths import ContainedFolder
from vjepa_world.data.trajectories.trajectory import VideoSpan
from vjepa_world.errors import DataError
from vjepa_world.files.validation import MOST, entries, finite_number, short, text, whole_number

logger = logging.getLogger(__name__)

_Made = TypeVar("_Made")

_COLUMNS = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")
_VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
#: Why a depth camera is read only if it is named.
DEPTH_REASON = "a depth camera, as declared or named: distances are not colours"
_FOLDERS = ("meta", "data", "videos")
_V21_EPISODES = "meta/episodes.jsonl"


@dataclass(frozen=True, kw_only=True)
class Episode:
    """The location of an episode: its data file, and its span of a video file for each video feature."""

    index: int
    length: int
    tasks: tuple[str, ...]
    data_path: Path
    videos: Mapping[str, VideoSpan]

    @property
    def task(self) -> str:
        """The first of its tasks; empty if the list of episodes has none."""
        return self.tasks[0] if self.tasks else ""


class _EntryError(DataError):
    """An entry of the list of episodes is damaged; the others may be intact."""


def _is_empty(value: object) -> bool:
    return value is None or value != value  # pandas writes NaN for missing values


def is_lerobot(path: str | os.PathLike[str]) -> bool:
    """Return whether a folder is a LeRobotDataset, finished or being recorded."""
    path = Path(path)
    # pathlib would raise for names that are too long for the system.
    return os.path.isfile(path / layout.INFO_PATH) or os.path.isdir(path / layout.SHARDS)


class LeRobotMeta:
    """The checked content of `meta/info.json` and of the list of episodes.

    Attributes:
        depth_keys: Features of depth cameras.
        left_out: Parts of the dataset that are not read, with reasons; `episodes` adds episodes.

    Raises:
        DataError: The dataset is unfinished or of another version, keys are missing or mistyped, or a path leaves the
            folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.folder = ContainedFolder(path)
        self.path = self.folder.path
        self.info = read_info(self.folder)
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.video_keys = self._of_kind("video")
        self.image_keys = self._of_kind("image")
        pictures = (*self.video_keys, *self.image_keys)
        self.depth_keys = [name for name in pictures if is_depth(name, self.features[name])]
        self.left_out: dict[str, str] = {}
        self._data_path, self._video_path = read_templates(self.info, self.path / layout.INFO_PATH)

    @property
    def version(self) -> str:
        """Version of the format."""
        return str(self.info["codebase_version"])

    @property
    def _is_v3(self) -> bool:
        return self.version.startswith("v3.")

    @property
    def fps(self) -> float:
        """Observations per second."""
        return float(self.info["fps"])

    def episodes(self) -> list[Episode]:
        """Return the listed episodes in order; a warning names those that are missing or damaged.

        Raises:
            DataError: Files or columns are missing, all entries are damaged, or a path leads out of the folder.
        """
        rows = (
            self._rows()
            if self._is_v3
            else read_json_lines(self.folder.file(_V21_EPISODES), ("episode_index", "length"))
        )
        listed = [row.get("episode_index") for row in rows]
        rows = self._usable(rows, self._check_row)
        rows.sort(key=lambda row: row["episode_index"])
        named = {index for index in listed if isinstance(index, int) and 0 <= index <= MOST}
        self._name_gaps(sorted(named.union(row["episode_index"] for row in rows)))
        rows = self._once(rows)
        episodes = self._usable(rows, self._episode if self._is_v3 else self._episode_of_v21)
        self._compare_counts(episodes)
        return episodes

    def clip_keys(self) -> list[str]:
        """Return the features that are colour videos; a warning names the other cameras."""
        for key in (*self.video_keys, *self.image_keys):
            if key in self.depth_keys:
                self.leave_out(key, DEPTH_REASON)
            elif key in self.image_keys:
                self.leave_out(
                    key, "its images are in the data files: convert the dataset to have them as videos"
                )
        return [key for key in self.video_keys if key not in self.depth_keys]

    def tasks(self) -> dict[int, str]:
        """Return the dataset's tasks by their number; empty if it has no list of them.

        Raises:
            DataError: The list is damaged.
        """
        return read_tasks(self.folder)

    def fingerprint(self) -> str:
        """Return a hash over the names, sizes and times of the dataset's files.

        Raises:
            DataError: A file was removed meanwhile.
        """
        files = (file for folder in _FOLDERS for file in sorted((self.path / folder).rglob("*")))
        return fingerprint((file for file in files if file.is_file()), self.path)

    def _of_kind(self, kind: str) -> list[str]:
        return [name for name, feature in self.features.items() if feature["dtype"] == kind]

    @property
    def _list_path(self) -> Path:
        return self.path / ("meta/episodes" if self._is_v3 else _V21_EPISODES)

    def _rows(self) -> list[dict[str, Any]]:
        # Names that begin with a dot belong to other programs (macOS, notebooks) or are unfinished.
        files = sorted(
            file
            for file in self.path.glob(layout.EPISODES_GLOB)
            if not file.name.startswith(".") and not file.parent.name.startswith(".")
        )
        if not files:
            raise DataError(
                f"{self.path} has no {layout.EPISODES_GLOB}. Copy the dataset's whole meta folder."
            )
        video_columns = [f"videos/{key}/{name}" for key in self.video_keys for name in _VIDEO_COLUMNS]
        rows = []
        first: DataError | None = None
        for file in files:
            self.folder.check(file)
            try:
                rows += read_columns(file, [*_COLUMNS, *video_columns]).to_pylist()
            except DataError as error:
                first = first or error
                self.leave_out(str(file.relative_to(self.path)), f"a damaged list of episodes: {error}")
        if first is not None and not rows:
            raise first
        return rows

    def _usable(self, rows: list[dict[str, Any]], make: Callable[[dict[str, Any]], _Made]) -> list[_Made]:
        """Apply `make` to each entry of the list of episodes; damaged entries are left out by name.

        Raises:
            DataError: All entries are damaged, or a path leads out of the folder.
        """
        made: list[_Made] = []
        first: _EntryError | None = None
        for row in rows:
            try:
                made.append(make(row))
            except _EntryError as error:
                first = first or error
                self.leave_out(f"episode {short(row.get('episode_index'))}", str(error))
        if first is not None and not made:
            raise first
        return made

    def _check_row(self, row: dict[str, Any]) -> dict[str, Any]:
        """Check the types and ranges of an entry of the list of episodes."""
        where = f"{self._list_path}, episode {short(row.get('episode_index'))}"
        for name in ("episode_index", "length"):
            row[name] = whole_number(row.get(name), f"{where}: {name}", error=_EntryError)
        tasks = row.get("tasks") or []
        row["tasks"] = [tasks] if isinstance(tasks, str) else tasks
        for task in entries(row["tasks"], f"{where}: tasks", error=_EntryError):
            text(task, f"{where}: tasks", error=_EntryError)
        return row

    def _once(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the entries of episodes that are listed once; which of several entries is right is unknown."""
        counts = Counter(row["episode_index"] for row in rows)
        doubled = sorted(index for index, count in counts.items() if count > 1)
        if not doubled:
            return rows
        several = [row for row in rows if counts[row["episode_index"]] > 1]
        same = {repr(sorted(row.items())): row for row in several}.values()  # some are equal entries
        counts = Counter(row["episode_index"] for row in same)
        unclear = [index for index in doubled if counts[index] > 1]
        if unclear:
            self.leave_out(spans_text(spans_of(unclear)), "listed several times, and differently")
        twice = set(doubled)
        once = [row for row in rows if row["episode_index"] not in twice]
        once += [row for row in same if counts[row["episode_index"]] == 1]
        return sorted(once, key=lambda row: row["episode_index"])

    def _episode(self, row: dict[str, Any]) -> Episode:
        return Episode(
            index=row["episode_index"],
            length=row["length"],
            tasks=tuple(row["tasks"]),
            data_path=self._data_file(row, **self._numbers(row, "data")),
            videos={key: span for key in self.video_keys if (span := self._span(row, key)) is not None},
        )

    def _numbers(self, row: dict[str, Any], prefix: str) -> dict[str, int]:
        where = f"{self._list_path}, episode {row['episode_index']}"
        return {
            name: whole_number(
                row[f"{prefix}/{name}"], f"{where}: {prefix}/{name}", most=10**9, error=_EntryError
            )
            for name in ("chunk_index", "file_index")
        }

    def _span(self, row: dict[str, Any], key: str) -> VideoSpan | None:
        """Return an episode's span of a camera's file; None if the camera has no video of it."""
        if all(_is_empty(row[f"videos/{key}/{name}"]) for name in _VIDEO_COLUMNS):
            return None
        where = f"{self._list_path}, episode {row['episode_index']}: videos/{key}"
        begin_s, end_s = (
            finite_number(row[f"videos/{key}/{name}"], f"{where}/{name}", least=0.0, error=_EntryError)
            for name in ("from_timestamp", "to_timestamp")
        )
        path = self._video_file(key, **self._numbers(row, f"videos/{key}"))
        return VideoSpan(path=path, from_s=begin_s, to_s=end_s)

    def _episode_of_v21(self, row: dict[str, Any]) -> Episode:
        index, length = row["episode_index"], row["length"]
        numbers = {"episode_chunk": index // self.info["chunks_size"], "episode_index": index}
        return Episode(
            index=index,
            length=length,
            tasks=tuple(row["tasks"]),
            data_path=self._data_file(row, **numbers),
            videos={
                key: VideoSpan(path=self._video_file(key, **numbers), from_s=0.0, to_s=length / self.fps)
                for key in self.video_keys
            },
        )

    def _data_file(self, row: dict[str, Any], **numbers: int) -> Path:
        return self.folder.file(self._data_path.fill(**numbers), f"data_path in {layout.INFO_PATH}")

    def _video_file(self, key: str, **numbers: int) -> Path:
        assert self._video_path is not None  # there are videos
        return self.folder.file(
            self._video_path.fill(video_key=key, **numbers), f"video_path in {layout.INFO_PATH}"
        )

    def _name_gaps(self, indices: Sequence[int]) -> None:
        """Report which episodes are missing in the list, whose numbers are sorted."""
        gaps = [
            (before + 1, after - 1)
            for before, after in zip([-1, *indices], indices, strict=False)
            if after > before + 1
        ]
        if gaps:
            self.leave_out(spans_text(gaps), f"not in {self._list_path.relative_to(self.path)}")

    def _compare_counts(self, episodes: Sequence[Episode]) -> None:
        """Report if the totals in `meta/info.json` differ from the list."""
        found = (len(episodes), sum(episode.length for episode in episodes))
        # The list is used, whatever the totals are.
        declared = (self.info.get("total_episodes"), self.info.get("total_frames"))
        if found != declared:
            self.leave_out(
                "totals",
                f"{layout.INFO_PATH} declares {declared[0]!r:.20} episodes and {declared[1]!r:.20} frames, the "
                f"list has {found[0]} and {found[1]}, which are read",
            )

    def leave_out(self, what: str, reason: str) -> None:
        """Record and log a part of the dataset that is not read, with the reason."""
        self.left_out[what] = reason
        logger.warning("%s: %s: %s", self.path, what, reason)

"""The `meta` folder of a LeRobotDataset: what features there are, and where each episode lies.

Needs no state or action, so a dataset's videos can serve as plain clips too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.data.trajectories import lerobot_format as layout
from vjepa_world.data.trajectories import lerobot_v21
from vjepa_world.data.trajectories.base import VideoPiece
from vjepa_world.data.trajectories.reading import fingerprint, read_json
from vjepa_world.errors import DataError

_COLUMNS = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")
_VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
_FOLDERS = ("meta", "data", "videos")


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Where one episode lies: its rows in a data file, its seconds in a video file for each video feature."""

    index: int
    length: int
    task: str
    data_path: Path
    videos: Mapping[str, VideoPiece]


def is_lerobot(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a LeRobotDataset, finished or being recorded."""
    path = Path(path)
    return (path / layout.INFO_PATH).is_file() or (path / layout.SHARDS).is_dir()


class LeRobotMeta:
    """The checked content of `meta/info.json` and of the list of episodes.

    Raises:
        DataError: unfinished, of another version, keys missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.info = _read_info(self.path)
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.video_keys = self._of_kind("video")
        self.image_keys = self._of_kind("image")

    @property
    def version(self) -> str:
        """The layout's version."""
        return str(self.info["codebase_version"])

    @property
    def fps(self) -> float:
        """Observations a second."""
        return float(self.info["fps"])

    def episodes(self) -> list[Episode]:
        """Return all episodes in order.

        Raises:
            DataError: files or columns are missing, or the counts disagree.
        """
        of_v3 = self.version.startswith("v3.")
        rows = self._rows() if of_v3 else lerobot_v21.episode_rows(self.path)
        rows.sort(key=lambda row: row["episode_index"])
        for i, row in enumerate(rows):
            if row["episode_index"] != i:
                where = self.path / ("meta/episodes" if of_v3 else lerobot_v21.EPISODES_PATH)
                raise DataError(f"{where}: episode {i} is missing or doubled. Copy the dataset whole.")
        episodes = [self._episode(row) if of_v3 else self._episode_of_v21(row) for row in rows]
        self._check_counts(episodes)
        return episodes

    def fingerprint(self) -> str:
        """Return a hash over the names, sizes and times of the dataset's files.

        Raises:
            DataError: a file went away meanwhile.
        """
        files = (file for folder in _FOLDERS for file in sorted((self.path / folder).rglob("*")))
        return fingerprint((file for file in files if file.is_file()), self.path)

    def _of_kind(self, kind: str) -> list[str]:
        return [name for name, feature in self.features.items() if feature.get("dtype") == kind]

    def _rows(self) -> list[dict[str, Any]]:
        files = sorted(self.path.glob(layout.EPISODES_GLOB))
        if not files:
            raise DataError(
                f"{self.path} has no {layout.EPISODES_GLOB}. Copy the dataset's whole meta folder."
            )
        places = [f"videos/{key}/{name}" for key in self.video_keys for name in _VIDEO_COLUMNS]
        return [row for file in files for row in read_columns(file, [*_COLUMNS, *places]).to_pylist()]

    def _episode(self, row: dict[str, Any]) -> Episode:
        data = {key: row[f"data/{key}"] for key in ("chunk_index", "file_index")}
        return Episode(
            index=row["episode_index"],
            length=row["length"],
            task=(row["tasks"] or [""])[0],
            data_path=self.path / self.info["data_path"].format(**data),
            videos={key: self._piece(row, key) for key in self.video_keys},
        )

    def _piece(self, row: dict[str, Any], key: str) -> VideoPiece:
        chunk, file, from_s, to_s = (row[f"videos/{key}/{name}"] for name in _VIDEO_COLUMNS)
        name = self.info["video_path"].format(video_key=key, chunk_index=chunk, file_index=file)
        return VideoPiece(path=self.path / name, from_s=from_s, to_s=to_s)

    def _episode_of_v21(self, row: dict[str, Any]) -> Episode:
        index, length = int(row["episode_index"]), int(row["length"])
        place = lerobot_v21.place(self.info, index)
        return Episode(
            index=index,
            length=length,
            task=(row.get("tasks") or [""])[0],
            data_path=self.path / self.info["data_path"].format(**place),
            videos={
                key: VideoPiece(
                    path=self.path / self.info["video_path"].format(video_key=key, **place),
                    from_s=0.0,
                    to_s=length / self.fps,
                )
                for key in self.video_keys
            },
        )

    def _check_counts(self, episodes: list[Episode]) -> None:
        found = (len(episodes), sum(episode.length for episode in episodes))
        promised = (self.info["total_episodes"], self.info["total_frames"])
        if found != promised:
            raise DataError(
                f"{self.path / layout.INFO_PATH} promises {promised[0]} episodes and {promised[1]} frames; the list "
                f"of episodes has {found[0]} and {found[1]}. Copy the dataset whole, or record it again."
            )


def read_columns(file: Path, columns: Sequence[str]) -> pa.Table:
    """Read some columns of a parquet file.

    Raises:
        DataError: not parquet, or a column is missing; the file and its columns are named.
    """
    try:
        present = pq.read_schema(file).names
        missing = [name for name in columns if name not in present]
        if not missing:
            return pq.read_table(file, columns=list(columns))
    except FileNotFoundError as error:
        raise DataError(f"{file} is missing. Copy the dataset whole.") from error
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as parquet ({error}). Copy it again.") from error
    raise DataError(f"{file} has no column {', '.join(missing)}. Its columns: {', '.join(present)}.")


def _read_info(path: Path) -> dict[str, Any]:
    file = path / layout.INFO_PATH
    if not file.is_file():
        if (path / layout.SHARDS).is_dir():
            raise DataError(
                f"{path} is an unfinished dataset: {layout.INFO_PATH}, which is written last, is not there yet. Go "
                f"on with it: record with resume=true, or convert with the same words."
            )
        raise DataError(
            f"{path} is no LeRobotDataset: it has no {layout.INFO_PATH}. Give a dataset's folder."
        )
    info = dict(read_json(file))
    version = str(info.get("codebase_version"))
    if not version.startswith(("v3.", "v2.")):
        raise DataError(
            f"{file} has codebase_version {version}; the versions {', '.join(layout.READ_VERSIONS)} are read. Convert "
            f"the dataset with LeRobot's own converter to {layout.VERSION}."
        )
    features = info.get("features") or {}
    has_video = any(feature.get("dtype") == "video" for feature in features.values())
    needed = ("fps", "features", "total_episodes", "total_frames", "data_path")
    missing = [key for key in (*needed, *["video_path"] * has_video) if info.get(key) is None]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}. A LeRobotDataset {version} has them.")
    return info

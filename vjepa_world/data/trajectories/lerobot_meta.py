"""The `meta` folder of a LeRobotDataset v3.0: what features there are, and where each episode lies.

Needs no state or action, so a dataset's videos can serve as plain clips too.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.data.trajectories import lerobot_format as layout
from vjepa_world.errors import DataError

_COLUMNS = ("episode_index", "tasks", "length", "data/chunk_index", "data/file_index")
_VIDEO_COLUMNS = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")


@dataclass(frozen=True, kw_only=True)
class Episode:
    """Where one episode lies: its rows in a data file, its seconds in a video file."""

    index: int
    length: int
    task: str
    data_path: Path
    video_path: Path
    from_s: float
    to_s: float


def is_lerobot(path: str | os.PathLike[str]) -> bool:
    """Whether a folder is a LeRobotDataset, finished or being recorded."""
    path = Path(path)
    return (path / layout.INFO_PATH).is_file() or (path / layout.SHARDS).is_dir()


class LeRobotMeta:
    """The checked content of `meta/info.json` and `meta/episodes`.

    Raises:
        DataError: unfinished, of another version, keys missing.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.info = _read_info(self.path)
        self.features: dict[str, dict[str, Any]] = self.info["features"]
        self.cameras = [name for name, feature in self.features.items() if feature.get("dtype") == "video"]

    @property
    def fps(self) -> float:
        """Observations a second."""
        return float(self.info["fps"])

    def camera(self, name: str | None) -> str:
        """Return the video feature of that name, or the first when None.

        Raises:
            DataError: there is none; the features are listed.
        """
        if not self.cameras or (name is not None and name not in self.cameras):
            what = f"no video feature '{name}'" if name else "no video feature"
            raise DataError(
                f"{self.path} has {what}; its features: {', '.join(self.features)}. Choose one of its video "
                f"features ({', '.join(self.cameras) or 'none'}), or another dataset."
            )
        return name or self.cameras[0]

    def episodes(self, camera: str) -> list[Episode]:
        """Return all episodes in order, with their place in the videos of `camera`.

        Raises:
            DataError: files or columns are missing, or the counts disagree.
        """
        files = sorted(self.path.glob(layout.EPISODES_GLOB))
        if not files:
            raise DataError(
                f"{self.path} has no {layout.EPISODES_GLOB}. Copy the dataset's whole meta folder."
            )
        columns = [*_COLUMNS, *(f"videos/{camera}/{name}" for name in _VIDEO_COLUMNS)]
        rows = [row for file in files for row in read_columns(file, columns).to_pylist()]
        rows.sort(key=lambda row: row["episode_index"])
        for i, row in enumerate(rows):
            if row["episode_index"] != i:
                where = self.path / "meta/episodes"
                raise DataError(f"{where}: episode {i} is missing or doubled. Copy the dataset whole.")
        episodes = [self._episode(row, camera) for row in rows]
        self._check_files(episodes)
        self._check_counts(episodes)
        return episodes

    def _episode(self, row: dict[str, Any], camera: str) -> Episode:
        prefix = f"videos/{camera}/"
        data = {key: row[f"data/{key}"] for key in ("chunk_index", "file_index")}
        place = {key: row[prefix + key] for key in ("chunk_index", "file_index")}
        return Episode(
            index=row["episode_index"],
            length=row["length"],
            task=(row["tasks"] or [""])[0],
            data_path=self.path / self.info["data_path"].format(**data),
            video_path=self.path / self.info["video_path"].format(video_key=camera, **place),
            from_s=row[prefix + "from_timestamp"],
            to_s=row[prefix + "to_timestamp"],
        )

    def _check_files(self, episodes: list[Episode]) -> None:
        first_user: dict[Path, int] = {}
        for episode in episodes:
            first_user.setdefault(episode.data_path, episode.index)
            first_user.setdefault(episode.video_path, episode.index)
        for file, index in first_user.items():
            if not file.is_file():
                raise DataError(f"{file} is missing; episode {index} needs it. Copy the dataset whole.")

    def _check_counts(self, episodes: list[Episode]) -> None:
        found = (len(episodes), sum(episode.length for episode in episodes))
        promised = (self.info["total_episodes"], self.info["total_frames"])
        if found != promised:
            raise DataError(
                f"{self.path / layout.INFO_PATH} promises {promised[0]} episodes and {promised[1]} frames; "
                f"meta/episodes has {found[0]} and {found[1]}. Copy the dataset whole, or record it again."
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
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} cannot be read as parquet ({error}). Copy it again.") from error
    raise DataError(f"{file} has no column {', '.join(missing)}. Its columns: {', '.join(present)}.")


def _read_info(path: Path) -> dict[str, Any]:
    file = path / layout.INFO_PATH
    if not file.is_file():
        if (path / layout.SHARDS).is_dir():
            raise DataError(
                f"{path} is an unfinished dataset: {layout.INFO_PATH}, which is written last, is not there yet. Go "
                f"on recording it with resume=true."
            )
        raise DataError(
            f"{path} is no LeRobotDataset: it has no {layout.INFO_PATH}. Give a dataset's folder."
        )
    try:
        info: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(
            f"{file} is not JSON ({error}). Copy it again, or record the dataset again."
        ) from error
    version = str(info.get("codebase_version"))
    if not version.startswith("v3."):
        raise DataError(
            f"{file} has codebase_version {version}, expected {layout.VERSION}. Convert the dataset with LeRobot's "
            f"own converter to {layout.VERSION}."
        )
    needed = ("fps", "features", "total_episodes", "total_frames", "data_path", "video_path")
    missing = [key for key in needed if info.get(key) is None]
    if missing:
        raise DataError(
            f"{file} lacks {', '.join(missing)}. A LeRobotDataset {layout.VERSION} with videos has them."
        )
    return info

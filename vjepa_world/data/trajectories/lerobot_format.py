"""The layout of a LeRobotDataset v3.0: paths, features and their types. No reading or writing here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vjepa_world.errors import DataError

VERSION = "v3.0"
CHUNK_SIZE = 1000  # most files in one chunk folder
STATE = "observation.state"
ACTION = "action"
INFO_PATH = "meta/info.json"  # written last: a folder without it is unfinished
SHARDS = ".shards"  # where a dataset grows until it is finished
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_GLOB = "meta/episodes/*/*.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

# The columns that every dataset has beside its own features, with their types.
DEFAULT_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What every episode of a dataset has in common.

    Args:
        fps: observations a second.
        image_shape: (H, W, 3).
        state_names: one name for each entry of the state.
        action_names: one name for each entry of the action.
        robot_type: a word for the robot.
        camera: the image feature is `observation.images.CAMERA`.

    Raises:
        DataError: an image shape that cannot be encoded, or no names.
    """

    fps: int
    image_shape: tuple[int, int, int]
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    robot_type: str
    camera: str = "main"

    def __post_init__(self) -> None:
        height, width, channels = self.image_shape
        if channels != 3 or height % 2 or width % 2 or min(height, width) < 16:
            raise DataError(
                f"Image shape {self.image_shape} cannot be recorded. Expected (H, W, 3) with even H and W of at "
                f"least 16."
            )
        if self.fps < 1 or not self.state_names or not self.action_names:
            raise DataError(
                f"A dataset needs fps of at least 1 and names for state and action; got fps {self.fps}, "
                f"{len(self.state_names)} state and {len(self.action_names)} action names."
            )

    @property
    def video_key(self) -> str:
        """The feature name of the camera."""
        return f"observation.images.{self.camera}"

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON values."""
        return {
            "fps": self.fps,
            "image_shape": list(self.image_shape),
            "state_names": list(self.state_names),
            "action_names": list(self.action_names),
            "robot_type": self.robot_type,
            "camera": self.camera,
        }

    def features(self) -> dict[str, dict[str, Any]]:
        """Return the `features` entry of `meta/info.json`."""
        height, width, channels = self.image_shape
        video = {
            "dtype": "video",
            "shape": [height, width, channels],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": self.fps,
                "video.channels": channels,
                "has_audio": False,
            },
        }
        columns = {
            name: {"dtype": kind, "shape": [1], "names": None} for name, kind in DEFAULT_COLUMNS.items()
        }
        return {
            self.video_key: video,
            STATE: _vector_feature(self.state_names),
            ACTION: _vector_feature(self.action_names),
            **columns,
        }

    def data_schema(self) -> pa.Schema:
        """Return the schema of the data files."""
        vectors = [
            (STATE, pa.list_(pa.float32(), len(self.state_names))),
            (ACTION, pa.list_(pa.float32(), len(self.action_names))),
        ]
        columns = [
            (name, pa.float32() if kind == "float32" else pa.int64())
            for name, kind in DEFAULT_COLUMNS.items()
        ]
        return pa.schema(vectors + columns)


def file_path(template: str, number: int, **keys: str) -> tuple[Path, dict[str, int]]:
    """Return the relative path of file `number` of a dataset, and its chunk and file index."""
    place = {"chunk_index": number // CHUNK_SIZE, "file_index": number % CHUNK_SIZE}
    return Path(template.format(**place, **keys)), place


def _vector_feature(names: tuple[str, ...]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": list(names)}

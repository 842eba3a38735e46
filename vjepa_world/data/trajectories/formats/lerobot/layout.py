"""The layout of a LeRobotDataset: paths, features and their types, without reading or writing.

Shapes: T rows of an episode, H W pixels.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention

VERSION = "v3.0"
READ_VERSIONS = ("v3.0", "v2.1", "v2.0")
CHUNK_SIZE = 1000  # most files in one chunk folder
STATE = "observation.state"
ACTION = "action"
CAMERA = "observation.images."  # followed by the camera's name
TEXT = "string"  # the type of columns of texts
EXTRINSICS = "camera_extrinsics."  # followed by the camera's name
SUCCESS = ("next.success", "is_episode_successful")  # the first one is written
CLOCK = "observation.clock_s"  # times of rows, if `timestamp` only gives the positions of frames in videos
INFO_PATH = "meta/info.json"  # written last: a folder without it is unfinished
DECLARED_PATH = "meta/vjepa_world.json"  # our addition, see declared.py
SHARDS = ".shards"  # folder of an unfinished dataset
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
EPISODES_GLOB = "meta/episodes/*/*.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

# The columns that every dataset has in addition to its features, with their types.
DEFAULT_COLUMNS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


@dataclass(frozen=True, kw_only=True)
class ColumnSpec:
    """Type and shape of a column's entries: numbers of a shape ((1,) for single ones), or texts (dtype `string`)."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Return the specification of a column `[T, ...]`."""
        return cls(dtype=dtype_name(values), shape=values.shape[1:] or (1,))

    @property
    def is_text(self) -> bool:
        """Whether it has texts."""
        return self.dtype == TEXT

    def feature(self) -> dict[str, Any]:
        """Return its entry in `meta/info.json`."""
        names = None if self.names is None else list(self.names)
        return {"dtype": self.dtype, "shape": list(self.shape), "names": names}

    def arrow_type(self) -> pa.DataType:
        """Return its type in a data file, as LeRobot expects it for this shape."""
        if self.is_text:
            return pa.string()
        kind = pa.from_numpy_dtype(np.dtype(self.dtype))
        if self.shape == (1,):
            return kind
        if len(self.shape) == 1:
            return pa.list_(kind, self.shape[0])
        for _ in self.shape:
            kind = pa.list_(kind)
        return kind

    def arrow(self, values: np.ndarray) -> pa.Array:
        """Return a column `[T, ...]` as it is stored in a data file."""
        if self.is_text:
            return pa.array(values.tolist(), pa.string())
        flat = pa.array(np.ascontiguousarray(values, dtype=self.dtype).reshape(-1))
        if self.shape == (1,):
            return flat
        if len(self.shape) == 1:
            return pa.FixedSizeListArray.from_arrays(flat, self.shape[0])
        for size in reversed(self.shape):
            flat = pa.ListArray.from_arrays(pa.array(np.arange(0, len(flat) + 1, size, dtype=np.int32)), flat)
        return flat


@dataclass(frozen=True, kw_only=True)
class VideoSpec:
    """The video of one camera."""

    height: int
    width: int
    fps: float
    codec: str = "h264"
    pix_fmt: str = "yuv420p"

    @classmethod
    def encoded(cls, height: int, width: int, fps: float) -> Self:
        """Return the specification of frames `[T, height, width, 3]` to encode.

        Raises:
            DataError: The size cannot be encoded.
        """
        if height % 2 or width % 2 or min(height, width) < 16:
            raise DataError(
                f"Images of {width} x {height} cannot be recorded. Expected even H and W of at least 16."
            )
        return cls(height=height, width=width, fps=fps)

    def feature(self) -> dict[str, Any]:
        """Return its entry in `meta/info.json`."""
        return {
            "dtype": "video",
            "shape": [self.height, self.width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": self.height,
                "video.width": self.width,
                "video.codec": self.codec,
                "video.pix_fmt": self.pix_fmt,
                "video.is_depth_map": False,
                "video.fps": rate(self.fps),
                "video.channels": 3,
                "has_audio": False,
            },
        }


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """What all episodes of a dataset have in common.

    Args:
        fps: Observations per second.
        state_names: One name for each entry of the state; () if there is no state.
        action_names: One name for each entry of the action.
        robot_type: Name of the robot.
        cameras: By name; their features are `observation.images.NAME`.
        state_dtype: Type of the states' numbers.
        action_dtype: Type of the actions' numbers.
        columns: All other numeric columns.
        convention: How states and actions are written.
        environment: The environment that was recorded, as JSON: id, kwargs, variation, ...; empty if there was none.

    Raises:
        DataError: There is no positive rate, or no name of an action.
    """

    fps: float
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    robot_type: str
    cameras: dict[str, VideoSpec] = field(default_factory=dict)
    state_dtype: str = "float32"
    action_dtype: str = "float32"
    columns: dict[str, ColumnSpec] = field(default_factory=dict)
    convention: Convention = PLAIN
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.fps <= 0 or not self.action_names:
            raise DataError(
                f"A dataset needs a positive fps and names for its actions; got fps {self.fps:g} and "
                f"{len(self.action_names)} action names."
            )

    @property
    def numbers(self) -> dict[str, ColumnSpec]:
        """The columns by name: state if there is one, action and the others."""
        vectors = (
            (STATE, self.state_dtype, self.state_names),
            (ACTION, self.action_dtype, self.action_names),
        )
        return {
            **{
                name: ColumnSpec(dtype=kind, shape=(len(names),), names=names)
                for name, kind, names in vectors
                if names
            },
            **self.columns,
        }

    @property
    def all_columns(self) -> dict[str, ColumnSpec]:
        """The columns by name, default columns and the clock included."""
        default = {name: ColumnSpec(dtype=kind, shape=(1,)) for name, kind in DEFAULT_COLUMNS.items()}
        return {**self.numbers, CLOCK: ColumnSpec(dtype="float64", shape=(1,)), **default}

    def to_dict(self) -> dict[str, Any]:
        """Return the specification as JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain

    def schema(self) -> pa.Schema:
        """Return the schema of a shard's rows."""
        return pa.schema([(name, spec.arrow_type()) for name, spec in self.all_columns.items()])


def dtype_name(values: np.ndarray) -> str:
    """Return LeRobot's name of the type of a column `[T, ...]`."""
    return TEXT if values.dtype.kind in "OUT" else values.dtype.name


def camera_name(feature: str) -> str:
    """Return a camera's name from its feature's."""
    return feature.removeprefix(CAMERA)


def rate(fps: float) -> int | float:
    """Return a rate as LeRobot writes it: an integer if it is one."""
    return int(fps) if fps == int(fps) else fps


def file_path(template: str, number: int, **keys: str) -> tuple[Path, dict[str, int]]:
    """Return the relative path of file `number` of a dataset, and its chunk and file index."""
    numbers = {"chunk_index": number // CHUNK_SIZE, "file_index": number % CHUNK_SIZE}
    return Path(template.format(**numbers, **keys)), numbers

"""Reads and checks `meta/info.json` of a LeRobotDataset: the type and range of every entry that is used."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.reader_helpers import read_json
from vjepa_world.data.trajectories.safe_paths import ContainedFolder, PathTemplate
from vjepa_world.errors import DataError
from vjepa_world.files.validation import MOST, finite_number, mapping, short, text, whole_number

# Beyond these bounds an entry is damaged.
_MOST_NUMBERS = 1_000_000
_MOST_SIDE = 2**16
_MOST_AXES = 8
_FPS = (1e-6, 1e6)

_PICTURES = ("video", "image")


def read_info(folder: ContainedFolder) -> dict[str, Any]:
    """Return the content of `meta/info.json`; shapes of features are lists of integers, `[]` if not given.

    Raises:
        DataError: The dataset is unfinished or of another version, or an entry is missing, mistyped or out of range.
    """
    file = folder.file(layout.INFO_PATH)
    if not file.is_file():
        if (folder.path / layout.SHARDS).is_dir():
            raise DataError(
                f"{folder.path} is an unfinished dataset: {layout.INFO_PATH}, which is written last, is missing. "
                "Continue it: record with resume=true, or convert with the same settings."
            )
        raise DataError(
            f"{folder.path} is not a LeRobotDataset: it has no {layout.INFO_PATH}. Give a dataset's folder."
        )
    info = dict(read_json(file))
    # JSON may contain unpaired surrogates, which cannot be printed or written by conversions.
    text(json.dumps(info, ensure_ascii=False), f"{file}: its text", longest=MOST)
    version = str(info.get("codebase_version"))[:20]
    if not version.startswith(("v3.", "v2.")):
        raise DataError(
            f"{file} has codebase_version {version}; the versions {', '.join(layout.READ_VERSIONS)} are read. Convert "
            f"the dataset with LeRobot's own converter to {layout.VERSION}."
        )
    info["features"] = _features(file, info.get("features"))
    has_video = any(feature["dtype"] == "video" for feature in info["features"].values())
    needed = ("fps", "features", "data_path")
    missing = [key for key in (*needed, *["video_path"] * has_video) if info.get(key) in (None, {})]
    if missing:
        raise DataError(f"{file} lacks {', '.join(missing)}. A LeRobotDataset {version} has them.")
    finite_number(info["fps"], f"{file}: fps", least=_FPS[0], most=_FPS[1])
    info["chunks_size"] = whole_number(
        info.get("chunks_size", layout.CHUNK_SIZE), f"{file}: chunks_size", least=1
    )
    return info


def read_templates(info: dict[str, Any], file: Path) -> tuple[PathTemplate, PathTemplate | None]:
    """Return the path templates of data files and of videos; None without videos.

    Raises:
        DataError: They have unknown placeholders.
    """
    cameras = [name for name, feature in info["features"].items() if feature["dtype"] == "video"]
    of_v3 = str(info["codebase_version"]).startswith("v3.")
    numbers = ("chunk_index", "file_index") if of_v3 else ("episode_chunk", "episode_index")
    # Episodes may share data files, but not videos of v2, which has no positions of episodes in them.
    of_video = ("video_key",) * (len(cameras) > 1) + ("episode_index",) * (not of_v3)
    data = PathTemplate.read(info["data_path"], key="data_path", where=file, allowed=numbers, needed=())
    if not cameras:
        return data, None
    allowed = (*numbers, "video_key")
    return data, PathTemplate.read(
        info["video_path"], key="video_path", where=file, allowed=allowed, needed=of_video
    )


def is_depth(name: str, feature: dict[str, Any]) -> bool:
    """Return whether a camera shows depth: as declared, else by its name; high-bit-depth grey images always do."""
    for key in ("info", "video_info"):
        inside = feature.get(key)
        if isinstance(inside, dict) and is_deep_grey(str(inside.get("video.pix_fmt", inside.get("pix_fmt")))):
            return True
        for word in ("is_depth_map", "video.is_depth_map"):
            if isinstance(inside, dict) and isinstance(inside.get(word), bool):
                return bool(inside[word])
    if isinstance(feature.get("is_depth_map"), bool):
        return bool(feature["is_depth_map"])
    return "depth" in name.lower()


def is_deep_grey(pix_fmt: str) -> bool:
    """Return whether a pixel format (FFmpeg's name) has single numbers of more than 8 bits, as depth maps do."""
    return re.fullmatch(r"gray(9|1\d|32|f16|f32)(le|be)", pix_fmt) is not None


def _features(file: Path, features: object) -> dict[str, dict[str, Any]]:
    if features is None:
        return {}
    entries = mapping(features, f"{file}: features")
    return {name: _feature(f"{file}: feature '{name[:80]}'", feature) for name, feature in entries.items()}


def _feature(where: str, feature: object) -> dict[str, Any]:
    entry = mapping(feature, where)
    kind = text(entry.get("dtype"), f"{where}: dtype", longest=100)
    shape, is_picture = entry.get("shape"), kind in _PICTURES
    sizes = list(shape) if isinstance(shape, list) else [] if shape is None else [shape]
    if len(sizes) > _MOST_AXES:
        raise DataError(
            f"{where}: its shape has {len(sizes)} axes, expected at most {_MOST_AXES}. Copy the dataset's meta folder "
            "again."
        )
    if is_picture:  # some writers do not know the size; it is taken from the frames
        sizes = [size for size in sizes if size is not None]
    most = _MOST_SIDE if is_picture else _MOST_NUMBERS
    for size in sizes:
        whole_number(size, f"{where}: its shape {short(shape)} has a size that", least=1, most=most)
    if not is_picture and math.prod(sizes) > _MOST_NUMBERS:
        raise DataError(
            f"{where}: its shape {sizes} has {math.prod(sizes)} numbers per row, expected at most {_MOST_NUMBERS}. "
            "Copy the dataset's meta folder again."
        )
    return {**entry, "shape": sizes}

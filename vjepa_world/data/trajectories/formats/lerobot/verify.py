"""Verifies a written LeRobotDataset by reading it back, before it counts as finished."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.metadata import Episode, LeRobotMeta
from vjepa_world.data.video.reader import probe_video
from vjepa_world.errors import DataError
from vjepa_world.files.atomic import WriteError


def verify_written(root: Path, num_episodes: int, num_frames: int) -> None:
    """Check that a dataset was written completely; otherwise remove the file that marks it as finished.

    Its metadata must list these episodes and frames, each data file must have its rows, and each video must be a file,
    not a link, with a readable header and the length of its episodes.

    Raises:
        WriteError: Something is missing or incomplete.
    """
    try:
        check_complete(root, num_episodes, num_frames)
    except (DataError, OSError, pa.ArrowException) as error:
        (root / layout.INFO_PATH).unlink(missing_ok=True)
        raise WriteError(
            f"{root} was written, but cannot be read back: {error} The dataset is not finished; check the disk, and "
            "start again with the same settings."
        ) from error


def check_complete(root: Path, num_episodes: int, num_frames: int | None = None) -> None:
    """Check that a finished dataset has these numbers of episodes and frames (None: any), and all of its files.

    Raises:
        DataError: Something is missing, a link, or incomplete.
    """
    meta = LeRobotMeta(root)
    episodes = meta.episodes()
    found = (len(episodes), sum(episode.length for episode in episodes))
    wanted = (num_episodes, found[1] if num_frames is None else num_frames)
    if found != wanted or meta.left_out:
        raise DataError(
            f"it lists {found[0]} episodes and {found[1]} frames, not {wanted[0]} and {wanted[1]}."
        )
    rows = Counter[Path]()
    for episode in episodes:
        rows[episode.data_path] += episode.length
    for file, expected in rows.items():
        _check_file(file)
        if (count := pq.read_metadata(file).num_rows) != expected:
            raise DataError(f"{file} has {count} rows, not {expected}.")
    for file, end_s in _ends(episodes, meta.fps).items():
        _check_file(file)
        if (duration_s := probe_video(file).duration_s) < end_s:
            raise DataError(f"{file} lasts {duration_s:.3f} s, and its episodes last to {end_s:.3f} s.")


def _ends(episodes: list[Episode], fps: float) -> dict[Path, float]:
    """Return for each video the latest display time of the last row but one of its episodes [s]."""
    ends: dict[Path, float] = {}
    for episode in episodes:
        for span in episode.videos.values():
            # Containers differ in the duration of the last frame.
            ends[span.path] = max(ends.get(span.path, 0.0), span.from_s + (episode.length - 2) / fps)
    return ends


def _check_file(file: Path) -> None:
    if file.is_symlink() or not file.is_file():
        raise DataError(f"{file} is {'a link' if file.is_symlink() else 'missing'}, not a file.")

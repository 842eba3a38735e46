"""What differs in a LeRobotDataset v2.1 (and v2.0): lists in JSON lines, one parquet and one MP4 an episode."""

from __future__ import annotations

from typing import Any

from vjepa_world.data.trajectories.reader_helpers import read_json_lines
from vjepa_world.data.trajectories.safe_paths import ContainedFolder

EPISODES_PATH = "meta/episodes.jsonl"


def episode_rows(folder: ContainedFolder) -> list[dict[str, Any]]:
    """Return the list of episodes: `episode_index`, `tasks` and `length` of each.

    Raises:
        DataError: it is missing, or a line of it is no such entry; the line is named.
    """
    return read_json_lines(folder.file(EPISODES_PATH), ("episode_index", "length"))


def place(chunks_size: int, episode: int) -> dict[str, int]:
    """Return what the paths of an episode's files are made of."""
    return {"episode_chunk": episode // chunks_size, "episode_index": episode}

"""What differs in a LeRobotDataset v2.1 (and v2.0): lists in JSON lines, one parquet and one MP4 an episode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from vjepa_world.errors import DataError

EPISODES_PATH = "meta/episodes.jsonl"
_CHUNK_SIZE = 1000


def episode_rows(path: Path) -> list[dict[str, Any]]:
    """Return the list of episodes: `episode_index`, `tasks` and `length` of each.

    Raises:
        DataError: it is missing, or a line of it is no such entry; the line is named.
    """
    file = path / EPISODES_PATH
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read ({error}). Copy the dataset's whole meta folder.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row["episode_index"], row["length"] = int(row["episode_index"]), int(row["length"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{file}, line {number}: expected an object with episode_index and length, got '{line[:60]}'. Copy "
                f"the dataset's whole meta folder."
            ) from error
        rows.append(row)
    return rows


def place(info: dict[str, Any], episode: int) -> dict[str, int]:
    """Return what the paths of an episode's files are made of."""
    chunk = episode // int(info.get("chunks_size") or _CHUNK_SIZE)
    return {"episode_chunk": chunk, "episode_index": episode}

"""Ranges of numbers that users give: `field(default=0, metadata=SEED)`, `type=whole_number(*span(SEED))`.

A number outside of its range is a slip of the keyboard, and would end in an error of a library, fill the memory or run
for years. Free of imports, for the configurations and the command line's arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The largest count and the largest number of a key without a range of its own.
LARGEST, LARGEST_FLOAT = 10**9, 1e18

#: torch, NumPy and Gymnasium take all of these seeds, also with a little added.
SEED = {"range": (0, 2**62)}

#: Processes, each of which takes memory and files.
WORKERS = {"range": (0, 512)}

THREADS = {"range": (0, 4096)}

#: Action sequences of an iteration, and steps of each: both are held in memory.
SAMPLES, HORIZON = {"range": (1, 10**6)}, {"range": (1, 10**4)}

#: Frames per second of a clip; 0 where a key has a meaning for it.
FPS = {"range": (0.0, 1e6)}

#: Actions of an episode, and episodes: each of both is held in memory or in a list.
STEPS, EPISODES = {"range": (1, 10**6)}, {"range": (1, 10**7)}

#: Other counts that begin at 1, shares, and factors.
AT_LEAST_ONE, SHARE, FACTOR = {"range": (1, LARGEST)}, {"range": (0.0, 1.0)}, {"range": (0.0, 1e6)}

#: What a term of a sum counts; below 0 it is sought instead of avoided.
WEIGHT = {"range": (-1e6, 1e6)}

#: Degrees of a turn.
DEGREES = {"range": (-360.0, 360.0)}

#: Waiting [s]: the clock of processes that wait for each other has no more.
PATIENCE_S = {"range": (0.0, 1e8)}


def span(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Return the least and the largest number of a range."""
    low, high = metadata["range"]
    return low, high

"""Opening large corpora: a list of a million rows from its index, and a folder of files with and without an index.

The million names lead to a few hundred files through symbolic links to folders. The list, the system calls and the
index have full size; only the first reading of headers has not, and is measured on separate files.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row

logger = logging.getLogger(__name__)

ROWS, DISTINCT_FILES = 1_000_000, 250
FILES, FILES_PER_FOLDER = 20_000, 500

#: Limits for opening the rows again: time [s] and memory [GB].
MAX_S, MAX_GB = 10.0, 1.0

_OPEN = """
import sys, time
from vjepa_world.data.corpus.corpus import clip_span_s, find_videos

def memory_gb(key):
    return int(next(line for line in open("/proc/self/status") if line.startswith(key)).split()[1]) / 1e6

before, start = memory_gb("VmRSS"), time.perf_counter()
segments, good, _ = find_videos(sys.argv[1], images=True).fitted(clip_span_s(4, 4.0), 0.0)
print(int(good.sum()), time.perf_counter() - start, memory_gb("VmHWM") - before)
"""


def run(config: BenchConfig) -> list[Row]:
    """Return seconds and memory of opening corpora whose headers are indexed, compared with the limits."""
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        logger.info("writing a list of %d rows and a folder of %d files", ROWS, FILES)
        listed, folder = _make_list(home), _make_folder(home)
        _opened(listed, home, ROWS)
        again = [_opened(listed, home, ROWS) for _ in range(min(config.repeats, 3))]
        first_s = _opened(folder, home, FILES)[0]
        again_s = float(np.median([_opened(folder, home, FILES)[0] for _ in range(min(config.repeats, 3))]))
    seconds, memory_gb = (float(np.median([measured[i] for measured in again])) for i in (0, 1))
    name = f"opening a list of {ROWS:,} rows again, compared with the limit"
    return [
        row(name, seconds, MAX_S, "s", lower_is_better=True),
        row(f"{name}: memory", memory_gb, MAX_GB, "GB", lower_is_better=True),
        row(
            f"opening {FILES:,} files again, compared with the first time",
            again_s,
            first_s,
            "s",
            lower_is_better=True,
        ),
    ]


def _opened(path: Path, home: Path, count: int) -> tuple[float, float]:
    """Open a corpus in a separate process; return the seconds and the memory [GB] that it took.

    Raises:
        RuntimeError: It has another number of usable segments.
    """
    environment = {**os.environ, "VJEPA_WORLD_CACHE": str(home / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", _OPEN, str(path)], env=environment, capture_output=True, text=True, check=True
    )
    good, seconds, memory_gb = done.stdout.split()
    logger.info("opened %s in %.2f s, %.2f GB", path.name, float(seconds), float(memory_gb))
    if int(good) != count:
        raise RuntimeError(f"{path} has {good} usable segments instead of {count}")
    return float(seconds), float(memory_gb)


def _make_list(home: Path) -> Path:
    """Write a Parquet list of names that lead to the same few files through links to their folder."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    videos = home / "videos"
    _fill(videos, DISTINCT_FILES)
    links = [f"link_{number:05d}" for number in range(ROWS // DISTINCT_FILES)]
    for link in links:
        (home / link).symlink_to(videos)
    names = [f"{link}/clip_{number:06d}.mp4" for link in links for number in range(DISTINCT_FILES)]
    labels = [f"class {number % 400}" for number in range(ROWS)]
    pq.write_table(pa.table({"path": names, "label": labels}), home / "list.parquet")
    return home / "list.parquet"


def _make_folder(home: Path) -> Path:
    for first in range(0, FILES, FILES_PER_FOLDER):
        _fill(home / "files" / f"{first // FILES_PER_FOLDER:03d}", FILES_PER_FOLDER)
    return home / "files"


def _fill(folder: Path, count: int) -> None:
    """Write copies of a video of one second, with a modification time in the past as in a real corpus."""
    from vjepa_world.data.video.writer import write_video

    folder.mkdir(parents=True)
    first = write_video(folder / "clip_000000.mp4", np.zeros((10, 32, 32, 3), np.uint8), 10)
    for number in range(count):
        path = folder / f"clip_{number:06d}.mp4"
        if number:
            shutil.copyfile(first, path)
        os.utime(path, (time.time() - 60, time.time() - 60))

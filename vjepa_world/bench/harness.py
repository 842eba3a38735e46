"""Times two implementations of the same work in one process and reports them in a table.

The machine's speed drifts (other programs, heat), so the two sides alternate: ours, baseline, ours, baseline, ...
Their medians are compared.
"""

from __future__ import annotations

import dataclasses
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from statistics import median

from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.runs import RESULT_FILE
from vjepa_world.system.cpu import available_cores
from vjepa_world.system.text_table import text_table


@dataclass(frozen=True)
class Row:
    """One result of a benchmark.

    Attributes:
        name: What was measured.
        ours: Our value.
        baseline: The value that ours is compared with.
        ratio: How many times better ours is; above 1 is better, for rates and for times.
        unit: Unit of both values.
        share_of_limit: Our share of the best that the machine allows, if that is known.
    """

    name: str
    ours: float
    baseline: float
    ratio: float
    unit: str
    share_of_limit: float | None = None


@dataclass(frozen=True)
class Pair:
    """Seconds per call of either side, one entry per repetition."""

    ours_s: tuple[float, ...]
    baseline_s: tuple[float, ...]

    @property
    def ours(self) -> float:
        """Median seconds of our side."""
        return median(self.ours_s)

    @property
    def baseline(self) -> float:
        """Median seconds of the baseline."""
        return median(self.baseline_s)


def row(
    name: str,
    ours: float,
    baseline: float,
    unit: str,
    *,
    limit: float | None = None,
    lower_is_better: bool = False,
) -> Row:
    """Return the row of two values, with the ratio and the share of the limit computed so that higher is better.

    Args:
        name: What was measured.
        ours: Our value.
        baseline: The value of the other side.
        unit: Unit of both.
        limit: The best value that this machine allows, in the same unit.
        lower_is_better: True for times and errors, False for rates.

    Raises:
        ValueError: A value is not positive, so that it has no ratio.
    """
    if not (ours > 0 and baseline > 0 and (limit is None or limit > 0)):
        raise ValueError(
            f"{name}: expected positive values, got ours {ours}, baseline {baseline}, limit {limit}"
        )
    ratio = baseline / ours if lower_is_better else ours / baseline
    share = None if limit is None else (limit / ours if lower_is_better else ours / limit)
    return Row(name, ours, baseline, ratio, unit, share)


def time_pair(
    ours: Callable[[], object],
    baseline: Callable[[], object],
    *,
    repeats: int = 7,
    min_repeat_s: float = 0.1,
    synchronize: Callable[[], None] | None = None,
) -> Pair:
    """Time two functions alternately: ours, baseline, ours, baseline, ...

    Args:
        ours: Our side.
        baseline: The other side.
        repeats: Repetitions of each side.
        min_repeat_s: A repetition calls its side as often as needed to last about this long [s].
        synchronize: Waits for the device if work continues after the call returns (`torch.cuda.synchronize`).

    Returns:
        Seconds per call, for every repetition of either side. Each side is called twice beforehand, as a warm-up.
    """
    wait = synchronize or _nothing
    calls = [_calls_per_repeat(side, min_repeat_s, wait) for side in (ours, baseline)]
    taken_s: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, count, times_s in zip((ours, baseline), calls, taken_s, strict=True):
            times_s.append(_seconds(side, count, wait) / count)
    return Pair(tuple(taken_s[0]), tuple(taken_s[1]))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a text table."""
    header = ("name", "ours", "baseline", "ratio", "unit", "share of limit")
    cells = [header, *(_cells(entry) for entry in rows)]
    lines = text_table(cells, left=(0, 4))
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def report(name: str, rows: Sequence[Row], folder: Path) -> Path:
    """Print the table and write `folder/result.json`; return that file's path."""
    print(f"bench {name}\n{table(rows)}")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / RESULT_FILE
    entries = [dataclasses.asdict(entry) for entry in rows]
    write_json_atomic(path, {"bench": name, "machine": machine_description(), "rows": entries})
    return path


def machine_description() -> dict[str, str | int]:
    """Return what results depend on: processor, number of usable cores, versions."""
    return {
        "processor": _processor(),
        "cores": available_cores(),
        "python": platform.python_version(),
        "torch": metadata.version("torch"),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _calls_per_repeat(side: Callable[[], object], min_repeat_s: float, wait: Callable[[], None]) -> int:
    _seconds(side, 1, wait)
    once = _seconds(side, 1, wait)
    return max(1, round(min_repeat_s / max(once, 1e-9)))


def _seconds(side: Callable[[], object], count: int, wait: Callable[[], None]) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(count):
        side()
    wait()
    return time.perf_counter() - start


def _cells(entry: Row) -> tuple[str, ...]:
    share = "" if entry.share_of_limit is None else f"{entry.share_of_limit:.0%}"
    return (
        entry.name,
        _formatted(entry.ours),
        _formatted(entry.baseline),
        f"{entry.ratio:.2f}x",
        entry.unit,
        share,
    )


def _formatted(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _nothing() -> None:
    pass

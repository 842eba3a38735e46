"""Counts files that could not be used; each is reported once with its reason, in the log and in `bad_files.csv`."""

from __future__ import annotations

import csv
import fcntl
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from vjepa_world.errors import DataError
from vjepa_world.files.atomic import atomic_path, write_error

logger = logging.getLogger(__name__)

_LISTED = 10  # bad files that an error names
_COLUMNS = ["path", "reason", "step"]
_BEFORE = "start"  # in place of the step: found before the first step

#: File names need not be UTF-8; other bytes are written unchanged.
_TEXT = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


@dataclass
class BadFiles:
    """Files, or episodes, that could not be used, with reasons; each is logged once.

    Args:
        max_fraction: Share of bad ones above which `check` raises an error.
        reasons: Reasons by name.
        steps: Training step at which each was found, by name; None before the first.
        rows: Number of rows of a list that a name stands for, if more than one.
        quiet: Log nothing.
        what: What is counted, in the plural.
        option: The user's name of `max_fraction`.
    """

    max_fraction: float
    reasons: dict[str, str] = field(default_factory=dict)
    steps: dict[str, int | None] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    quiet: bool = False
    what: str = "videos"
    option: str = "data.max_bad_fraction"

    def add(self, name: str, reason: str, step: int | None = None, rows: int = 1) -> bool:
        """Count `name` as bad, if it is not yet; return whether it is new.

        Args:
            name: The file or episode.
            reason: The reason.
            step: The training step.
            rows: The number of entries of the total that it stands for: a list may name it often.
        """
        if name in self.reasons:
            return False
        self.reasons[name] = reason
        if rows > 1:
            self.rows[name] = rows
        self.steps[name] = step
        if not self.quiet:
            logger.warning("Skipped: %s", reason)
        return True

    def include(self, other: BadFiles) -> None:
        """Add the entries of `other` without logging them again."""
        self.reasons |= other.reasons
        self.steps |= other.steps
        self.rows |= other.rows

    def __len__(self) -> int:
        """Return the number of bad entries; a name counts as often as it is listed."""
        return len(self.reasons) + sum(rows - 1 for rows in self.rows.values())

    def __contains__(self, name: object) -> bool:
        return name in self.reasons

    def check(self, total: int) -> None:
        """Raise an error if too many of `total` are bad.

        Raises:
            DataError: More than `max_fraction` are bad, or all; the first ten are listed with their reasons.
        """
        bad = len(self)
        if bad == 0 or (bad <= self.max_fraction * total and bad < total):
            return
        listed = list(self.reasons.values())[:_LISTED]
        left = len(self.reasons) - _LISTED
        more = [f"... and {left} more"] if left > 0 else []
        lines = "\n  ".join(listed + more)
        raise DataError(
            f"{bad} of {total} {self.what} are bad; {self.option}={self.max_fraction:g} allows "
            f"{int(self.max_fraction * total)}. Replace or remove them, or raise {self.option}:\n  {lines}"
        )

    def write(self, path: Path) -> None:
        """Update the CSV file `path` (columns path, reason, step) atomically.

        Its existing rows, written before a resume or by another process of the run, are kept.

        Raises:
            DataError: It cannot be written.
        """
        with _locked(path):
            rows = _read_rows(path)
            known = {row[0] for row in rows}
            for name, reason in self.reasons.items():
                if name not in known:
                    step = self.steps.get(name)
                    rows.append([name, reason, _BEFORE if step is None else str(step)])
            with (
                atomic_path(path) as temporary,
                open(temporary, "w", **_TEXT) as stream,  # type: ignore[call-overload]
            ):
                csv.writer(stream).writerows([_COLUMNS, *rows])


def _read_rows(path: Path) -> list[list[str]]:
    if not path.exists():
        return []
    with open(path, **_TEXT) as stream:  # type: ignore[call-overload]
        return list(csv.reader(stream))[1:]


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process at a time read and replace `path`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path.with_name(f".{path.name}.lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise write_error(path, error) from error

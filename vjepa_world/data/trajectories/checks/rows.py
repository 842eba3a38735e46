"""Checks of rows: their number, their clock, and columns that never change.

Shapes: T observations of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding

#: Largest deviation of an interval, in frames.
_JITTER = 0.5

#: Largest relative deviation of the usual interval from the declared one.
_RATE = 0.1


def lengths(data: CheckInput) -> Iterator[Finding]:
    """Columns of different length.

    Rule: an episode of T states has T-1 actions, T timestamps, and T rows of every other column.
    """
    for episode in data.episodes:
        rows = len(episode)
        wrong = [
            f"{len(values)} {what}, expected {expected}"
            for what, values, expected in (
                ("actions", episode.actions, rows - 1),
                ("timestamps", episode.timestamps_s, rows),
                *((f"rows of {name}", values, rows) for name, values in episode.columns.items()),
                *((f"extrinsics of {name}", values, rows) for name, values in episode.extrinsics.items()),
            )
            if len(values) != expected
        ]
        if wrong:
            yield Finding(
                check="lengths",
                severity="error",
                message=f"{rows} states and {'; '.join(wrong)}: record the episode again, or leave it out.",
                episode=episode.index,
            )


def clock(data: CheckInput) -> Iterator[Finding]:
    """Jumps of the clock, and another rate than declared.

    Rule: the interval between rows is 1 / fps; one that deviates by more than half a frame is a jump. If the usual
    interval of a dataset deviates by a tenth, its fps is wrong.
    """
    intervals = [(e, np.diff(e.timestamps_s)) for e in data.episodes if len(e.timestamps_s) > 1]
    if not intervals:
        return
    usual_s = float(np.median([np.median(steps) for _, steps in intervals]))
    declared_s = 1 / intervals[0][0].fps
    if usual_s > 0 and abs(usual_s / declared_s - 1) > _RATE:
        yield Finding(
            check="rate",
            severity="error",
            message=f"fps is {1 / declared_s:g}, and the interval between rows is {usual_s:.4g} s, expected "
            f"{declared_s:.4g} s: set fps to {1 / usual_s:.4g}, or correct the timestamps.",
        )
    for episode, steps in intervals:
        back = np.flatnonzero(steps <= 0)
        wrong = np.flatnonzero(np.abs(steps - usual_s) > _JITTER * usual_s)
        rows = back if back.size else wrong
        if rows.size:
            yield Finding(
                check="clock",
                severity="error" if back.size else "warning",
                message=f"the clock {'goes back or stops' if back.size else 'jumps'} {rows.size} times, the "
                f"first time by {steps[rows[0]]:.4g} s, expected {usual_s:.4g} s: rows are missing there or were "
                "written late. Correct the timestamps; windows do not cross a jump.",
                episode=episode.index,
                row=int(rows[0]),
            )


def constant_columns(data: CheckInput) -> Iterator[Finding]:
    """Numbers that never change in any episode: their spread is 0, and nothing is learnt from them.

    Rule: the smallest value of a column is its largest.
    """
    groups: tuple[tuple[str, Sequence[str], list[np.ndarray]], ...] = (
        ("state", data.state_names, [e.states for e in data.episodes]),
        ("action", data.action_names, [e.actions for e in data.episodes if len(e.actions)]),
    )
    for what, names, parts in groups:
        if not parts or len({part.shape[1] for part in parts}) != 1:
            continue
        low = np.min([part.min(axis=0) for part in parts], axis=0)
        high = np.max([part.max(axis=0) for part in parts], axis=0)
        constant = np.flatnonzero(low == high).tolist()
        if constant:
            listed = ", ".join(
                f"{index}{f' ({names[index]})' if index < len(names) else ''} = {low[index]:.4g}"
                for index in constant
            )
            yield Finding(
                check="constant columns",
                severity="note" if len(constant) < low.size else "warning",
                message=f"{what} {listed} in every row, expected to vary if it is used: check that the column was "
                "recorded.",
            )

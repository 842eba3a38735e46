"""Checks of rows: their number, their clock, and columns that never change.

Shapes: T observations of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding

#: How far an interval may be off, in frames.
_JITTER = 0.5

#: How far the usual interval may be off the declared one, as a share.
_RATE = 0.1


def lengths(data: CheckInput) -> Iterator[Finding]:
    """Columns of different length.

    Rule: an episode of T states has T-1 actions between them, T times, and T rows of every other column.
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

    Rule: from row to row pass 1 / fps seconds; an interval off by more than half a frame is a jump. Where the usual
    interval of a dataset is off by a tenth, its fps is wrong.
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
            message=f"fps is {1 / declared_s:g}, and from row to row pass {usual_s:.4g} s, expected {declared_s:.4g} "
            f"s: set fps to {1 / usual_s:.4g}, or mend the timestamps.",
        )
    for episode, steps in intervals:
        back = np.flatnonzero(steps <= 0)
        wrong = np.flatnonzero(np.abs(steps - usual_s) > _JITTER * usual_s)
        rows = back if back.size else wrong
        if rows.size:
            yield Finding(
                check="clock",
                severity="error" if back.size else "warning",
                message=f"the clock {'goes back or stands still' if back.size else 'jumps'} {rows.size} times, the "
                f"first time by {steps[rows[0]]:.4g} s, expected {usual_s:.4g} s: rows are lost there or were written "
                "late. Mend the timestamps; windows do not cross a jump.",
                episode=episode.index,
                row=int(rows[0]),
            )


def constant_columns(data: CheckInput) -> Iterator[Finding]:
    """Numbers that never change, in any episode; they teach nothing, and their spread is 0.

    Rule: the least value of a column is its largest.
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
        still = np.flatnonzero(low == high).tolist()
        if still:
            listed = ", ".join(
                f"{place}{f' ({names[place]})' if place < len(names) else ''} = {low[place]:.4g}"
                for place in still
            )
            yield Finding(
                check="constant columns",
                severity="note" if len(still) < low.size else "warning",
                message=f"{what} {listed} in every row, expected to change where it matters: check that the column "
                "was recorded.",
            )

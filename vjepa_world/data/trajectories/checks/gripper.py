"""Checks of the gripper: other units than declared, and open and closed exchanged.

Shapes: T observations of an episode.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding, first_location

#: How far a closure may be outside of [0, 1], and the share of rows that may be further.
_SLACK, _OUTLIERS = 0.05, 0.01

#: Largest width of a gripper [m], and least share of its range that a moving one uses.
_WIDTH_M, _LEAST_SHARE = 0.2, 0.25

#: Least change of the closure that counts as a move; least numbers of episodes and moves for a conclusion.
_MOVE, _LEAST_EPISODES, _LEAST_MOVES = 0.02, 5, 10


def gripper_range(data: CheckInput) -> Iterator[Finding]:
    """A gripper in other units than declared: metres, percent, counts of its motor.

    Rule: in more than one row in a hundred the closure is outside of [0, 1] by more than 0.05; or the gripper moves
    within less than a quarter of its declared range, and its readings look like a width in metres (0 to 0.2).
    """
    convention = data.convention
    indices = list(convention.gripper_at)
    posed = list(data.with_poses())
    if not indices or not posed:
        return
    reading = np.concatenate([e.states[:, indices].astype(np.float64).sum(axis=1) for e, _ in posed])
    low, high = float(reading.min()), float(reading.max())
    outside = [(e, (poses[:, 6] < -_SLACK) | (poses[:, 6] > 1 + _SLACK)) for e, poses in posed]
    declared = f"{convention.gripper_open:g} (open) to {convention.gripper_closed:g} (closed)"
    if np.concatenate([mask for _, mask in outside]).mean() > _OUTLIERS:
        index, row = first_location(outside)
        yield Finding(
            check="gripper unit",
            severity="error",
            message=f"the gripper reads {low:.4g} to {high:.4g}{_guess(low, high)}, declared is {declared}: set "
            "gripper_open and gripper_closed to its readings when open and closed.",
            episode=index,
            row=row,
        )
        return
    span = (high - low) / abs(convention.gripper_closed - convention.gripper_open)
    if 0 < span < _LEAST_SHARE and low >= -1e-3 and 0.01 < high <= _WIDTH_M:
        yield Finding(
            check="gripper unit",
            severity="warning",
            message=f"the gripper reads {low:.4g} to {high:.4g}{_guess(low, high)}, declared is {declared}: if it is "
            f"its width, set gripper_open={high:.3g} gripper_closed=0.",
        )


def gripper_direction(data: CheckInput) -> Iterator[Finding]:
    """A gripper whose open and closed are exchanged.

    Rule: if actions are pose deltas, the closure falls when the action raises it (agreement below -0.5). Otherwise
    nothing proves it, and a gripper that is closed at the start of most episodes is a note.
    """
    posed = [(e, poses[:, 6]) for e, poses in data.with_poses() if len(poses) > 1]
    if not posed or not data.convention.gripper_at:
        return
    convention = data.convention
    swap = f"gripper_open={convention.gripper_closed:g} gripper_closed={convention.gripper_open:g}"
    if convention.actions == "delta" and all(e.actions.shape[1] == 7 for e, _ in posed):
        commanded = np.concatenate([e.actions[:, 6] for e, _ in posed]).astype(np.float64)
        measured = np.concatenate([np.diff(closure) for _, closure in posed])
        moving = (np.abs(commanded) > _MOVE) & (np.abs(measured) > _MOVE)
        if moving.sum() >= _LEAST_MOVES:
            agreement = float(np.sign(commanded[moving] * measured[moving]).mean())
            if agreement < -0.5:
                yield Finding(
                    check="gripper direction",
                    severity="error",
                    message=f"in {(1 - agreement) / 2:.0%} of the rows in which it moves, the gripper opens when the "
                    f"action closes it, or the other way round: set {swap}.",
                )
            return
    starts = np.array([closure[0] > 0.5 for _, closure in posed])
    moves = any(np.ptp(closure) > 0.5 for _, closure in posed)
    if len(starts) >= _LEAST_EPISODES and moves and starts.mean() > 0.6:
        yield Finding(
            check="gripper direction",
            severity="note",
            message=f"the gripper is closed at the start of {starts.mean():.0%} of the episodes, usual is open: set "
            f"{swap} if open and closed are exchanged.",
            episode=posed[int(starts.argmax())][0].index,
            row=0,
        )


def _guess(low: float, high: float) -> str:
    if low < -_SLACK:
        return ""
    for most, words in (
        (_WIDTH_M, " (a width in metres?)"),
        (1 + _SLACK, ""),
        (105, " (percent?)"),
        (260, " (counts?)"),
    ):
        if high <= most:
            return words
    return ""

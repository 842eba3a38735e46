r"""Checks of actions: shifted by a row, without effect, or in other units than the state.

What actions explain of the motion is measured by least squares. With :math:`\Delta_t` the change of state from t on,
the share of the variance of :math:`\Delta_t` that :math:`a_{t+k}` explains in addition to the state. It is
independent of how actions are written: deltas, targets and actions in another frame are all linear in (state, action).

Shapes: T observations of an episode, S state size, A action size, N rows of all episodes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from vjepa_world.data.trajectories.checks.findings import CheckInput, Finding
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.pose import pose_delta
from vjepa_world.ops.rotations import euler_to_matrix

#: Least number of rows of a fit for each of its unknowns, and largest number of rows.
_ROWS_EACH, _MOST_ROWS = 10, 50_000

#: Least share of the motion that actions should explain, and by how much another row must explain more.
_LEAST, _BETTER = 0.1, 0.1

#: Range of the factor between a delta and the following change if both are in metres.
_SLOWEST, _FASTEST = 0.5, 2.0


def action_lag(data: CheckInput) -> Iterator[Finding]:
    """Actions one row early or late, or actions that explain nothing of the motion.

    Rule: the change of the state from row t is explained better, by 0.1 of its variance, by the action of row t-1 or
    t+1 than by that of row t; or by none of the three to more than 0.1.
    """
    shares = _explained(data)
    if shares is None:
        return
    best = max(shares, key=lambda lag: shares[lag])
    used = not data.convention.actions.startswith("derived")
    shares_text = ", ".join(f"row t{lag:+d}" if lag else "row t" for lag in shares)
    shares_text = f"{shares_text}: {', '.join(f'{share:.0%}' for share in shares.values())}"
    todo = (
        "set actions=derived to take the changes of the state instead"
        if data.convention.has_pose or data.convention.has_joints
        else "check which column is the action"
    )
    if shares[best] < _LEAST:
        yield Finding(
            check="actions",
            severity="warning" if used else "note",
            message=f"actions explain nothing of how the state changes (by the action of {shares_text}), expected is "
            f"more than {_LEAST:.0%}: {todo}."
            + ("" if used else " They are derived already: nothing to do."),
        )
    elif best != 0 and shares[best] - shares[0] > _BETTER:
        yield Finding(
            check="action lag",
            severity="error" if used else "note",
            message=f"the change of the state from row t is explained best by the action of row t{best:+d} (by that "
            f"of {shares_text}): actions are one row {'early' if best < 0 else 'late'}, or the robot follows them "
            f"{'late' if best < 0 else 'before they are written'}. "
            + (f"Shift them, or {todo}." if used else "They are derived: nothing to do."),
        )


def action_scale(data: CheckInput) -> Iterator[Finding]:
    """Pose deltas that are not in metres, such as normalised ones.

    Rule: the best factor between the actions' x y z and the changes of position is outside of 0.5 to 2, and the two
    correlate (above 0.5).
    """
    if data.convention.actions != "delta":
        return
    pairs = [
        (e.actions[:, :3].astype(np.float64), np.diff(poses[:, :3], axis=0))
        for e, poses in data.with_poses()
        if e.actions.shape[1] >= 3
    ]
    if not pairs:
        return
    commanded, measured = (np.concatenate(parts).ravel() for parts in zip(*pairs, strict=True))
    power, product = float(commanded @ commanded), float(commanded @ measured)
    norm = np.sqrt(power * float(measured @ measured))
    if norm == 0 or product / norm < 0.5:
        return
    factor = product / power
    if not _SLOWEST <= factor <= _FASTEST:
        yield Finding(
            check="action scale",
            severity="error",
            message=f"actions are declared pose deltas in metres, and the arm moves {factor:.3g} m for an action of "
            "1, expected about 1: set actions=derived, or actions=given to take them as they are.",
        )


def _explained(data: CheckInput) -> dict[int, float] | None:
    """Return the share of the motion that the actions of rows t-1, t and t+1 explain; None for too few rows."""
    samples = [part for part in map(_samples, *_columns(data)) if part is not None]
    if not samples:
        return None
    changes, states, *actions = (np.concatenate(parts) for parts in zip(*samples, strict=True))
    chosen = np.unique(np.linspace(0, len(changes) - 1, min(len(changes), _MOST_ROWS)).astype(np.int64))
    changes, states, actions = changes[chosen], states[chosen], [part[chosen] for part in actions]
    moving = changes.std(axis=0) > 1e-7
    unknowns = states.shape[1] + actions[0].shape[1] + 1
    if not moving.any() or len(changes) < _ROWS_EACH * unknowns:
        return None
    changes = changes[:, moving] / changes[:, moving].std(axis=0)
    left = _residual(changes, states)
    shares = [1 - _residual(changes, np.concatenate([states, part], axis=1)) / left for part in actions]
    return dict(zip((-1, 0, 1), shares, strict=True)) if left > 1e-9 else None


def _columns(data: CheckInput) -> tuple[list[Trajectory], list[np.ndarray | None]]:
    """Return the readable episodes, and their poses or None."""
    pairs: list[tuple[Trajectory, np.ndarray | None]] = (
        list(data.with_poses()) if data.convention.has_pose else [(e, None) for e in data.episodes]
    )
    return [episode for episode, _ in pairs], [poses for _, poses in pairs]


def _samples(episode: Trajectory, poses: np.ndarray | None) -> tuple[np.ndarray, ...] | None:
    """Return, for rows 1 .. T-3, the change of the state, the state, and the actions at t-1, t and t+1."""
    if len(episode) < 4:
        return None
    actions = episode.actions.astype(np.float64)
    if poses is None:
        states = episode.states.astype(np.float64)
        changes = np.diff(states, axis=0)
    else:
        tensor = torch.from_numpy(poses)
        # Matrices instead of angles, since they have no jumps. Without the gripper, which follows thresholds.
        matrices = euler_to_matrix(tensor[:, 3:6])[:, :, :2].flatten(1)
        states = torch.cat([tensor[:, :3], matrices], dim=1).numpy()
        changes = pose_delta(tensor[:-1], tensor[1:])[:, :6].numpy()
    last = len(episode) - 1
    return changes[1:-1], states[1 : last - 1], *(actions[1 + lag : last - 1 + lag] for lag in (-1, 0, 1))


def _residual(targets: np.ndarray, inputs: np.ndarray) -> float:
    """Return the residual sum of squares of a linear fit with an offset, of inputs `[N, m]` to targets `[N, n]`."""
    spread = inputs.std(axis=0)
    scaled = (inputs - inputs.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    design = np.concatenate([scaled, np.ones((len(inputs), 1))], axis=1)
    solution, *_ = np.linalg.lstsq(design, targets, rcond=1e-8)
    return float(((targets - design @ solution) ** 2).sum())

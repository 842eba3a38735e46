"""The rotation between planned and true motions: a sign of a camera pose that was not in the training data.

Legend: W motions, R resamples, A action size. Positions are in the robot's base frame [m], z upwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjepa_world.evaluation.statistics import LEAST_GROUPS, EvaluationError, bootstrap_sums

#: Motions lie along a line if their second singular value is below this share of the first.
FLAT = 1e-4


@dataclass(frozen=True)
class CameraRotation:
    """The rotation that maps planned motions to the true ones with the least squared error.

    Long motions count for more, as their direction is known better.

    Attributes:
        angle_deg: Angle about the z axis of the base, counter-clockwise seen from above.
        interval_deg: 95 % interval over episodes; None of one episode.
        matrix: The same rotation as a 2 x 2 matrix.
        rms_before_m: Root mean square of the differences in x and y, before the rotation.
        rms_after_m: The same after the rotation.
        angle_3d_deg: Angle of the best rotation in space, from 0 to 180; None if all motions lie along a line.
        interval_3d_deg: 95 % interval over episodes, likewise. An angle in space is never negative, so 0 is not inside.
        matrix_3d: The same rotation as a 3 x 3 matrix.
    """

    angle_deg: float
    interval_deg: tuple[float, float] | None
    matrix: list[list[float]]
    rms_before_m: float
    rms_after_m: float
    angle_3d_deg: float | None
    interval_3d_deg: tuple[float, float] | None
    matrix_3d: list[list[float]] | None

    @property
    def is_turned(self) -> bool:
        """Whether there is an interval, and it excludes 0."""
        return self.interval_deg is not None and not self.interval_deg[0] <= 0 <= self.interval_deg[1]

    def as_json(self) -> dict[str, Any]:
        """Return it as `result.json` holds it."""
        space = {
            "angle_deg": self.angle_3d_deg,
            "interval_deg": self.interval_3d_deg,
            "matrix": self.matrix_3d,
        }
        return {
            "angle_deg": self.angle_deg,
            "interval_deg": None if self.interval_deg is None else list(self.interval_deg),
            "matrix": self.matrix,
            "rms_before_m": self.rms_before_m,
            "rms_after_m": self.rms_after_m,
            "in_space": space,
        }


def fit_rotation(
    planned: np.ndarray, true: np.ndarray, episodes: np.ndarray, rng: np.random.Generator
) -> CameraRotation:
    r"""Fit :math:`\min_R \sum_i \lVert R p_i - a_i \rVert^2`, about z alone and in space.

    About z, :math:`\theta = \mathrm{atan2}(\sum_i p_i \times a_i, \sum_i p_i \cdot a_i)` of the x and y parts.

    Args:
        planned: p, `[W, 3]` [m].
        true: a, `[W, 3]` [m].
        episodes: The episode of each motion, `[W]`.
        rng: Draws the resamples of the intervals.

    Raises:
        EvaluationError: If nothing moves in x and y, planned or true.

    Source: Kabsch, Acta Crystallographica A32 (1976).
    """
    p, a = planned.astype(np.float64), true.astype(np.float64)
    outer = (a[:, :, None] * p[:, None, :]).reshape(len(p), 9)
    summed, drawn = outer.sum(axis=0), bootstrap_sums(outer, episodes, rng)
    angle = float(_about_z(summed))
    if not np.any(p[:, :2]) or not np.any(a[:, :2]):
        raise EvaluationError(
            "a camera rotation needs motions in x and y, and all of them are zero; take episodes that move."
        )
    # Around the estimate, since angles are a circle.
    around = (_about_z(drawn) - angle + math.pi) % (2 * math.pi) - math.pi
    low, high = np.degrees(angle + np.quantile(around, [0.025, 0.975])).tolist()
    several = len(np.unique(episodes)) >= LEAST_GROUPS
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    space = kabsch(summed.reshape(3, 3))
    interval = None
    if space is not None and several:
        angles = [rotation_angle_deg(r) for d in drawn if (r := kabsch(d.reshape(3, 3))) is not None]
        if angles:
            interval = (float(np.quantile(angles, 0.025)), float(np.quantile(angles, 0.975)))
    return CameraRotation(
        angle_deg=math.degrees(angle),
        interval_deg=(low, high) if several else None,
        matrix=turn.tolist(),
        rms_before_m=_rms(p[:, :2] - a[:, :2]),
        rms_after_m=_rms(p[:, :2] @ turn.T - a[:, :2]),
        angle_3d_deg=None if space is None else rotation_angle_deg(space),
        interval_3d_deg=interval,
        matrix_3d=None if space is None else space.tolist(),
    )


def kabsch(covariance: np.ndarray) -> np.ndarray | None:
    r"""Return the rotation `[3, 3]` that maximises :math:`\mathrm{tr}(R^\top C)` for :math:`C = \sum_i a_i p_i^\top`.

    C is the `covariance`, `[3, 3]`. With :math:`C = U S V^\top` the rotation is
    :math:`U \mathrm{diag}(1, 1, \det U V^\top) V^\top`. None if all motions lie along a line: a rotation about that
    line changes nothing.
    """
    u, spread, vt = np.linalg.svd(covariance)
    if spread[1] <= FLAT * spread[0]:
        return None
    return np.asarray(u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt)


def rotation_angle_deg(rotation: np.ndarray) -> float:
    """Return the angle of a rotation `[3, 3]`, from 0 to 180 degrees."""
    sine = np.linalg.norm(rotation - rotation.T) / (2 * math.sqrt(2))
    return math.degrees(math.atan2(sine, (np.trace(rotation) - 1) / 2))


def _about_z(sums: np.ndarray) -> np.ndarray:
    """Return the angle about z [rad], `[...]`, for sums of `a_i p_j`, `[..., 9]`."""
    cross, dot = sums[..., 3] - sums[..., 1], sums[..., 0] + sums[..., 4]
    return np.asarray(np.arctan2(cross, dot))


def _rms(differences: np.ndarray) -> float:
    return float(np.sqrt((differences**2).sum(axis=1).mean()))

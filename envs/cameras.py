"""The cameras: where they stand, and which part of their picture is used."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

#: Cameras that stand next to the table, and all of them.
FIXED_CAMERAS: Final = ("main", "side", "top")
CAMERAS: Final = (*FIXED_CAMERAS, "wrist")


@dataclass(frozen=True, kw_only=True)
class Mount:
    """Where a fixed camera stands, by what it looks at.

    Attributes:
        look_at_m: The point in the middle of the picture.
        azimuth_rad: Direction from that point to the camera, about z from x.
        elevation_rad: Its height above the horizon.
        distance_m: How far away the camera is.
        fovy_deg: Vertical field of view.
    """

    look_at_m: tuple[float, float, float]
    azimuth_rad: float
    elevation_rad: float
    distance_m: float
    fovy_deg: float = 45.0

    def moved(
        self, offset: tuple[float, float, float], look_at_offset_m: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return position `[3]` and axes `[3, 3]` (columns: right, up, backward) of the camera after offsets.

        Args:
            offset: Azimuth [rad], elevation [rad], and distance relative to the nominal one.
            look_at_offset_m: Added to the point in the middle of the picture.
        """
        backward = direction(self.azimuth_rad + offset[0], self.elevation_rad + offset[1])
        look_at = np.array(self.look_at_m) + look_at_offset_m
        right = np.cross([0.0, 0.0, 1.0], backward)
        right /= np.linalg.norm(right)
        frame = np.stack([right, np.cross(backward, right), backward], axis=1)
        return look_at + self.distance_m * (1.0 + offset[2]) * backward, frame

    def scaled(self, scale: float) -> Mount:
        """Return the place in a scene of another size; all that is in metres is multiplied."""
        x, y, z = self.look_at_m
        return replace(self, look_at_m=(x * scale, y * scale, z * scale), distance_m=self.distance_m * scale)


def direction(azimuth_rad: float, elevation_rad: float) -> np.ndarray:
    """Return the unit vector `[3]` towards an azimuth about z (from x) and an elevation."""
    level = np.cos(elevation_rad)
    return np.array([level * np.cos(azimuth_rad), level * np.sin(azimuth_rad), np.sin(elevation_rad)])


_SIDE: Final = Mount(
    look_at_m=(0.47, 0.0, 0.14), azimuth_rad=np.deg2rad(-90.0), elevation_rad=np.deg2rad(18.0), distance_m=1.0
)
_TOP: Final = Mount(
    look_at_m=(0.49, 0.0, 0.05), azimuth_rad=np.deg2rad(0.0), elevation_rad=np.deg2rad(75.0), distance_m=1.0
)
#: From a front corner, looking down on the complete workspace.
REACH_MOUNTS: Final = {
    "main": Mount(
        look_at_m=(0.45, 0.0, 0.27),
        azimuth_rad=np.deg2rad(-38.0),
        elevation_rad=np.deg2rad(34.0),
        distance_m=1.24,
    ),
    "side": _SIDE,
    "top": _TOP,
}
#: Nearer to the table, so that an object is more than a few pixels.
TABLE_MOUNTS: Final = {
    "main": Mount(
        look_at_m=(0.46, 0.0, 0.13),
        azimuth_rad=np.deg2rad(-38.0),
        elevation_rad=np.deg2rad(28.0),
        distance_m=0.82,
    ),
    "side": _SIDE,
    "top": _TOP,
}

"""The cameras: where they stand, and which part of their picture is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from envs.checks import are_finite, whole_number
from envs.errors import EnvError

#: Cameras that stand next to the table, and all of them.
FIXED_CAMERAS: Final = ("main", "side", "top")
CAMERAS: Final = (*FIXED_CAMERAS, "wrist")


MIN_IMAGE_SIZE: Final = 16
MAX_IMAGE_SIZE: Final = 1024
_WHOLE: Final = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class View:
    """One camera's picture.

    Attributes:
        camera: Name of the camera.
        height: Height of the picture [pixels].
        width: Width of the picture [pixels].
        crop: Left, top, right and bottom of the part that is shown, as shares of the complete picture. The part fills
            all pixels; the complete picture has the camera's vertical field of view and square pixels.
    """

    camera: str
    height: int
    width: int
    crop: tuple[float, float, float, float] = _WHOLE

    @property
    def is_cropped(self) -> bool:
        """Whether a part of the picture is left out."""
        return self.crop != _WHOLE


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
    look_at_m=(0.49, 0.0, 0.05), azimuth_rad=np.deg2rad(0.0), elevation_rad=np.deg2rad(62.0), distance_m=0.95
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


def views_of(cameras: Any, image_size: Any, crop: Any) -> tuple[View, ...]:
    """Return the views that an environment is asked for.

    Args:
        cameras: Names of cameras, each once.
        image_size: Height and width, or (height, width), or these by the name of the camera [pixels].
        crop: Left, top, right, bottom as shares of the picture, or these by the name of the camera; None shows all.

    Raises:
        EnvError: If one of them is not allowed.
    """
    names = tuple(cameras) if isinstance(cameras, tuple | list) else ()
    if not names or not all(name in CAMERAS for name in names) or len(set(names)) < len(names):
        raise EnvError(f"cameras {cameras!r} are not allowed: give one or several of {CAMERAS}, each once.")
    for name, given in (("image_size", image_size), ("crop", crop)):
        if isinstance(given, Mapping) and set(given) - set(names):
            raise EnvError(f"{name} {dict(given)} names cameras that are not used: cameras are {names}.")
    return tuple(_view(name, _of(image_size, name, 128), _of(crop, name, _WHOLE)) for name in names)


def _of(given: Any, camera: str, default: Any) -> Any:
    """Return what is given for one camera."""
    if isinstance(given, Mapping):
        return given.get(camera, default)
    return default if given is None else given


def _view(camera: str, size: Any, crop: Any) -> View:
    sides = size if isinstance(size, tuple | list) else (size, size)
    if len(sides) != 2:
        raise EnvError(f"image_size {size!r} is not allowed: give one number, or (height, width).")
    height, width = (whole_number("image_size", side, MIN_IMAGE_SIZE, MAX_IMAGE_SIZE) for side in sides)
    if not are_finite(crop, 4) or not (0 <= crop[0] < crop[2] <= 1 and 0 <= crop[1] < crop[3] <= 1):
        raise EnvError(f"crop {crop!r} is not allowed: give left < right and top < bottom, from 0 to 1.")
    left, top, right, bottom = (float(share) for share in crop)
    return View(camera=camera, height=height, width=width, crop=(left, top, right, bottom))

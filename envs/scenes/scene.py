"""The sampled values of one episode: what it looks like and what lies on the table."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

from envs.scenes.objects import ObjectSpec

TextureKind = Literal["plain", "checker", "stripes", "speckle", "diagonal", "dots", "waves", "rings"]
ClutterShape = Literal["box", "cylinder", "sphere"]
RGB = tuple[float, float, float]

CLUTTER_SHAPES: Final[tuple[ClutterShape, ...]] = ("box", "cylinder", "sphere")


def triple(values: np.ndarray) -> tuple[float, float, float]:
    """Return an array `[3]` as a tuple of numbers."""
    x, y, z = values.tolist()
    return x, y, z


@dataclass(frozen=True, kw_only=True)
class ClutterSpec:
    """One object on the table.

    Attributes:
        shape: Its shape.
        position_m: x, y of its centre.
        yaw_rad: Its rotation about z.
        half_size_m: Half extents x, y, z; a cylinder takes x as radius, a sphere z.
        rgb: Its colour, each in [0, 1].
    """

    shape: ClutterShape
    position_m: tuple[float, float]
    yaw_rad: float
    half_size_m: tuple[float, float, float]
    rgb: RGB

    def scaled(self, scale: float) -> ClutterSpec:
        """Return the object in a scene of another size."""
        x, y = self.position_m
        a, b, c = self.half_size_m
        return replace(self, position_m=(x * scale, y * scale), half_size_m=(a * scale, b * scale, c * scale))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """The sampled values of one episode.

    Attributes:
        camera_offset: Azimuth [rad], elevation [rad] and relative distance, added to the nominal camera.
        look_at_offset_m: Added to the point that the camera looks at.
        light_azimuth_rad: Direction of the light about z.
        light_elevation_rad: Elevation of the light.
        light_intensity: Its diffuse strength.
        table_rgb: The table's colour.
        texture_kind: The table's pattern.
        texture_seed: Seed of the pattern's details.
        texture_contrast: Contrast of the pattern.
        wall_rgb: The walls' colour.
        arm_rgb: The arm's colour.
        clutter: The objects on the table.
        start_position_m: Start position of the TCP.
        closure: Gripper closure [0 open, 1 closed].
        object: The object to be handled, in tasks that have one.
    """

    camera_offset: tuple[float, float, float]
    look_at_offset_m: tuple[float, float, float]
    light_azimuth_rad: float
    light_elevation_rad: float
    light_intensity: float
    table_rgb: RGB
    texture_kind: TextureKind
    texture_seed: int
    texture_contrast: float
    wall_rgb: RGB
    arm_rgb: RGB
    clutter: tuple[ClutterSpec, ...]
    start_position_m: tuple[float, float, float]
    closure: float
    object: ObjectSpec | None = None

    def scaled(self, scale: float) -> Scene:
        """Return the scene at another size, as a smaller robot has it; all that is in metres is multiplied."""
        return replace(
            self,
            look_at_offset_m=triple(scale * np.array(self.look_at_offset_m)),
            clutter=tuple(item.scaled(scale) for item in self.clutter),
            start_position_m=triple(scale * np.array(self.start_position_m)),
            object=None if self.object is None else self.object.scaled(scale),
        )

"""Objects that a task handles: boxes, cylinders, balls, cups and bars, made of a few primitive shapes.

The body's frame lies at the centre of the object's height, z up; fingers close along its y axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np

ObjectShape = Literal["box", "cylinder", "ball", "cup", "bar"]
OBJECT_SHAPES: Final[tuple[ObjectShape, ...]] = ("box", "cylinder", "ball", "cup", "bar")

_DENSITY_KG_M3: Final = 500.0
#: A cup is a floor and flat walls around it.
_CUP_WALLS: Final = 8
_WALL_M: Final = 0.004
#: Length of a bar over its width.
_BAR_LENGTH: Final = 1.7
#: Shapes of the object with most of them.
MAX_PARTS: Final = _CUP_WALLS + 1
#: Every part of every object lies within this distance of the body's frame, each axis.
MAX_HALF_EXTENT_M: Final = 0.06
#: A rotation about z by this much looks the same to the fingers, 0 for any rotation.
_SYMMETRY_RAD: Final = {
    "box": math.pi / 2,
    "cylinder": 0.0,
    "ball": 0.0,
    "cup": 2 * math.pi / _CUP_WALLS,
    "bar": math.pi,
}


@dataclass(frozen=True, kw_only=True)
class ObjectSpec:
    """One object and where it stands.

    Attributes:
        shape: Its shape.
        width_m: Side of a box's square base, the shorter side of a bar's, or outer diameter.
        aspect: Height over width; a ball has 1.
        position_m: x, y of its centre.
        yaw_rad: Its rotation about z.
        rgb: Its colour, each in [0, 1].
    """

    shape: ObjectShape
    width_m: float
    aspect: float
    position_m: tuple[float, float]
    yaw_rad: float
    rgb: tuple[float, float, float]

    def scaled(self, scale: float) -> ObjectSpec:
        """Return the object in a scene of another size."""
        x, y = self.position_m
        return replace(self, width_m=self.width_m * scale, position_m=(x * scale, y * scale))

    @property
    def height_m(self) -> float:
        """Its height; at rest its centre is half of it above the table."""
        return self.width_m * (1.0 if self.shape == "ball" else self.aspect)

    def nearest_grasp_rad(self, yaw_rad: float) -> float:
        """Return the rotation of the hand about z, nearest to 0, whose fingers fit an object turned by `yaw_rad`."""
        period = _SYMMETRY_RAD[self.shape]
        return math.remainder(yaw_rad, period) if period else 0.0

    def reach_m(self, along: np.ndarray, yaw_rad: float) -> float:
        """Return how far it reaches from its axis, turned by `yaw_rad`, in a horizontal direction `[2]` of any length.

        A cup counts as round: the edges between its flat walls are left out.
        """
        half = self.width_m / 2
        if self.shape not in ("box", "bar"):
            return half
        half_length = half * _BAR_LENGTH if self.shape == "bar" else half
        angle = math.atan2(along[1], along[0]) - yaw_rad
        return half_length * abs(math.cos(angle)) + half * abs(math.sin(angle))


@dataclass(frozen=True, kw_only=True)
class Part:
    """One primitive shape of an object, in the body's frame.

    Attributes:
        kind: MuJoCo's name of the shape.
        size_m: MuJoCo's sizes of it: half extents; radius and half height; radius.
        position_m: Its centre.
        yaw_rad: Its rotation about z.
    """

    kind: Literal["box", "cylinder", "sphere"]
    size_m: tuple[float, float, float]
    position_m: tuple[float, float, float] = (0.0, 0.0, 0.0)
    yaw_rad: float = 0.0

    def mass_and_inertia(self) -> tuple[float, np.ndarray]:
        """Return mass [kg] and inertia `[3, 3]` [kg m^2] about its own centre, in the body's axes."""
        x, y, z = self.size_m
        if self.kind == "sphere":
            mass = _DENSITY_KG_M3 * 4 / 3 * math.pi * x**3
            return mass, np.eye(3) * 0.4 * mass * x * x
        if self.kind == "cylinder":
            mass = _DENSITY_KG_M3 * math.pi * x * x * 2 * y
            across = mass * (3 * x * x + 4 * y * y) / 12
            return mass, np.diag([across, across, mass * x * x / 2])
        mass = _DENSITY_KG_M3 * 8 * x * y * z
        own = mass / 3 * np.diag([y * y + z * z, x * x + z * z, x * x + y * y])
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        return mass, turn @ own @ turn.T


def parts_of(spec: ObjectSpec) -> tuple[Part, ...]:
    """Return the shapes of an object, at most `MAX_PARTS`."""
    half, up = spec.width_m / 2, spec.height_m / 2
    if spec.shape == "box":
        return (Part(kind="box", size_m=(half, half, up)),)
    if spec.shape == "bar":
        return (Part(kind="box", size_m=(half * _BAR_LENGTH, half, up)),)
    if spec.shape == "cylinder":
        return (Part(kind="cylinder", size_m=(half, up, 0.0)),)
    if spec.shape == "ball":
        return (Part(kind="sphere", size_m=(half, 0.0, 0.0)),)
    floor = Part(
        kind="cylinder", size_m=(half - _WALL_M, _WALL_M / 2, 0.0), position_m=(0.0, 0.0, _WALL_M / 2 - up)
    )
    across = half * math.tan(math.pi / _CUP_WALLS)
    middle = half - _WALL_M / 2
    walls = (
        Part(
            kind="box",
            size_m=(_WALL_M / 2, across, up),
            position_m=(middle * math.cos(angle), middle * math.sin(angle), 0.0),
            yaw_rad=angle,
        )
        for angle in np.arange(_CUP_WALLS) * (2 * math.pi / _CUP_WALLS)
    )
    return (floor, *walls)


def mass_properties(spec: ObjectSpec) -> tuple[float, np.ndarray, np.ndarray]:
    r"""Return mass [kg], centre of mass `[3]` [m] and principal inertia `[3]` [kg m^2] about it.

    Each object is symmetric about its planes xz and yz, so its principal axes are those of the body. By Steiner's
    theorem :math:`I = \sum_i I_i + m_i (d_i^\top d_i\,E - d_i d_i^\top)`, with :math:`d_i` from the centre of mass.
    """
    parts = parts_of(spec)
    masses, inertias = zip(*(part.mass_and_inertia() for part in parts), strict=True)
    positions = np.array([part.position_m for part in parts])
    mass = float(sum(masses))
    centre = np.array(masses) @ positions / mass
    total = np.zeros((3, 3))
    for part_mass, inertia, d in zip(masses, inertias, positions - centre, strict=True):
        total += inertia + part_mass * (d @ d * np.eye(3) - np.outer(d, d))
    return mass, centre, np.diag(total)

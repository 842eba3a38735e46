"""Ranges that scenes are drawn from.

`Variation.train()` and `Variation.test()` share no hue, no texture, no light direction and no camera pose,
so that a test episode shows a scene that training never showed. An object to be handled has a
size, a shape or a hue of training in some test episodes, and one that is held out in the others. The arm's start, the
distance of its goal, and the number and shapes of the objects around come from the same ranges in both.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field, fields
from typing import Final, get_args

import numpy as np

from envs.arm.limits import WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.arm.model import NUM_CLUTTER
from envs.checks import are_finite, is_finite, whole_number
from envs.errors import EnvError
from envs.scenes.objects import OBJECT_SHAPES, ObjectShape
from envs.scenes.scene import TextureKind, triple

Range = tuple[float, float]

_HUE_SECTORS: Final = 12
#: Share of a hue sector left unused at each of its ends, between train's hues and test's.
_HUE_GUARD: Final = 0.15
#: Sizes of objects in training; those between them occur in tests only.
_TRAIN_WIDTHS_M: Final = ((0.040, 0.046), (0.052, 0.058))
_TEST_WIDTHS_M: Final = ((0.047, 0.051),)
_TRAIN_ASPECTS: Final = ((0.8, 1.0), (1.2, 1.4))
_TEST_ASPECTS: Final = ((1.05, 1.15),)


def _sectors(parity: int) -> tuple[Range, ...]:
    """Return the hue bands [0, 1] of the even or the odd sectors of the hue circle."""
    return tuple(
        ((index + _HUE_GUARD) / _HUE_SECTORS, (index + 1 - _HUE_GUARD) / _HUE_SECTORS)
        for index in range(parity, _HUE_SECTORS, 2)
    )


@dataclass(frozen=True, kw_only=True)
class Variation:
    """Ranges that a scene is drawn from. The defaults are those of `train()`.

    Attributes:
        name: Its name in messages and in `info`.
        camera_scale: Largest camera offset: azimuth [rad], elevation [rad], relative distance.
        camera_shell: Range of the largest of the three offsets, as multiples of `camera_scale`:
            (0, 1) fills the box, (1.05, 1.5) only a shell around it.
        look_at_m: Largest offset of the point looked at, each axis.
        light_azimuth_rad: Ranges of the light's direction about z; one is chosen by its width.
        light_elevation_rad: Range of the light's height.
        light_intensity: Range of its strength.
        hue_bands: Bands of hue in [0, 1] for table, walls, objects and the arm's tint.
        saturation: Range of the saturation of table and objects.
        brightness: Range of the HSV value of table and objects.
        texture_kinds: The table's patterns.
        texture_seeds: Half-open range of pattern seeds.
        texture_contrast: Range of the pattern's contrast.
        clutter_count: Fewest and most objects.
        wall_saturation: Range of the walls' saturation.
        wall_brightness: Range of the walls' HSV value.
        arm_saturation: Range of the arm's saturation.
        arm_brightness: Range of the arm's HSV value.
        start_low_m: Lower corner of the box that the TCP starts in.
        start_high_m: Upper corner of it.
        closure: Range of the gripper's closure.
        object_shapes: Shapes of the object to be handled.
        object_width_m: Ranges of its width; one is chosen by its width.
        object_aspect: Ranges of its height over its width.
        object_hue_bands: Bands of its hue in [0, 1].
        object_saturation: Range of its saturation.
        object_brightness: Range of its HSV value.
        object_yaw_rad: Range of its rotation about z.
        object_low_m: Lower corner, x and y, of where its centre may be.
        object_high_m: Upper corner of it.
    """

    name: str = "train"
    camera_scale: tuple[float, float, float] = (np.deg2rad(4.0), np.deg2rad(3.0), 0.04)
    camera_shell: Range = (0.0, 1.0)
    look_at_m: float = 0.01
    light_azimuth_rad: tuple[Range, ...] = ((-1.4, 0.2),)
    light_elevation_rad: Range = (0.8, 1.25)
    light_intensity: Range = (0.45, 0.70)
    hue_bands: tuple[Range, ...] = field(default_factory=lambda: _sectors(0))
    saturation: Range = (0.25, 0.65)
    brightness: Range = (0.45, 0.80)
    texture_kinds: tuple[TextureKind, ...] = ("plain", "checker", "stripes", "speckle")
    texture_seeds: tuple[int, int] = (0, 1 << 20)
    texture_contrast: Range = (0.05, 0.22)
    clutter_count: tuple[int, int] = (0, 4)
    wall_saturation: Range = (0.05, 0.30)
    wall_brightness: Range = (0.55, 0.85)
    arm_saturation: Range = (0.0, 0.06)
    arm_brightness: Range = (0.88, 0.95)
    start_low_m: tuple[float, float, float] = triple(WORKSPACE_LOW_M)
    start_high_m: tuple[float, float, float] = triple(WORKSPACE_HIGH_M)
    closure: Range = (0.0, 1.0)
    object_shapes: tuple[ObjectShape, ...] = ("box", "cylinder", "ball", "cup")
    object_width_m: tuple[Range, ...] = _TRAIN_WIDTHS_M
    object_aspect: tuple[Range, ...] = _TRAIN_ASPECTS
    object_hue_bands: tuple[Range, ...] = field(default_factory=lambda: _sectors(0))
    object_saturation: Range = (0.65, 0.95)
    object_brightness: Range = (0.6, 0.95)
    object_yaw_rad: Range = (-0.35, 0.35)
    object_low_m: tuple[float, float] = (0.41, -0.18)
    object_high_m: tuple[float, float] = (0.57, 0.18)

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            EnvError: If a range is reversed, empty or out of its bounds.
        """
        self._check_types()
        self._check_ranges()
        inner, outer = self.camera_shell
        if inner < 0 or (inner > 0 and inner >= outer):
            raise EnvError(f"camera_shell {self.camera_shell} is empty: give 0 <= inner < outer.")
        fewest, most = self.clutter_count
        if not 0 <= fewest <= most <= NUM_CLUTTER:
            raise EnvError(
                f"clutter_count {self.clutter_count} is not allowed: use 0 <= fewest <= most <= {NUM_CLUTTER}."
            )
        unknown = sorted(set(self.texture_kinds) - set(get_args(TextureKind)))
        if unknown or not self.texture_kinds:
            raise EnvError(f"texture_kinds {self.texture_kinds} must be some of {get_args(TextureKind)}.")
        if not self.object_shapes or set(self.object_shapes) - set(OBJECT_SHAPES):
            raise EnvError(f"object_shapes {self.object_shapes} must be some of {OBJECT_SHAPES}.")
        if self.texture_seeds[0] >= self.texture_seeds[1]:
            raise EnvError(f"texture_seeds {self.texture_seeds} is empty: the second must be the larger.")
        low, high = np.array(self.start_low_m), np.array(self.start_high_m)
        if (low > high).any() or (low < WORKSPACE_LOW_M).any() or (high > WORKSPACE_HIGH_M).any():
            raise EnvError(
                f"start box {self.start_low_m} to {self.start_high_m} m is not within the workspace "
                f"{WORKSPACE_LOW_M.tolist()} to {WORKSPACE_HIGH_M.tolist()} m."
            )

    def _check_types(self) -> None:
        """Check that every number is one, and each tuple of the length that its default has."""
        for item in fields(self):
            value, default = getattr(self, item.name), _DEFAULTS[item.name]
            if item.name in _BANDS:
                good, allowed = (
                    isinstance(value, tuple | list) and all(are_finite(band, 2) for band in value),
                    "pairs of finite numbers",
                )
            elif item.name in ("texture_kinds", "object_shapes"):
                good, allowed = (
                    isinstance(value, tuple | list) and all(isinstance(kind, str) for kind in value),
                    "a tuple of names",
                )
            elif isinstance(default, tuple):
                good, allowed = are_finite(value, len(default)), f"{len(default)} finite numbers"
            else:
                good = isinstance(value, str) if isinstance(default, str) else is_finite(value)
                allowed = "a text" if isinstance(default, str) else "a finite number"
            if not good:
                raise EnvError(f"{item.name} {value!r} is not allowed: give {allowed}.")
        for name in ("clutter_count", "texture_seeds"):
            for number in getattr(self, name):
                whole_number(name, number, 0)

    def _check_ranges(self) -> None:
        unit = (
            *("hue_bands", "saturation", "brightness", "wall_saturation", "wall_brightness"),
            *("arm_saturation", "arm_brightness", "texture_contrast", "closure"),
            *("object_hue_bands", "object_saturation", "object_brightness"),
        )
        other = ("camera_shell", "light_azimuth_rad", "light_elevation_rad", "light_intensity")
        for name in (*unit, *other, "object_width_m", "object_aspect", "object_yaw_rad"):
            value = getattr(self, name)
            bands = value if name in _BANDS else (value,)
            if not bands or any(low > high for low, high in bands):
                raise EnvError(f"{name} {value} is empty or reversed: give (low, high) with low <= high.")
            if name in unit and any(low < 0.0 or high > 1.0 for low, high in bands):
                raise EnvError(f"{name} {value} is out of bounds: it must lie within 0 to 1.")

    @classmethod
    def train(cls) -> Variation:
        """Return the ranges for collecting training data."""
        return cls()

    @classmethod
    def test(cls) -> Variation:
        """Return the ranges of evaluation scenes.

        Hues, textures, lights and cameras are disjoint from `train()`. The handled object has training's sizes and hues
        in some episodes and others in the rest, so that a result can be split by them.
        """
        return cls(
            name="test",
            camera_shell=(1.05, 1.5),
            light_azimuth_rad=((-2.2, -1.5), (0.3, 1.0)),
            hue_bands=_sectors(1),
            texture_kinds=("diagonal", "dots", "waves", "rings"),
            texture_seeds=(1 << 20, 1 << 21),
            object_shapes=OBJECT_SHAPES,
            object_width_m=_TRAIN_WIDTHS_M + _TEST_WIDTHS_M,
            object_aspect=_TRAIN_ASPECTS + _TEST_ASPECTS,
            object_hue_bands=_sectors(0) + _sectors(1),
        )

    @classmethod
    def none(cls) -> Variation:
        """Return ranges of zero width: one scene and one start; only goals, and where an object stands, differ."""
        centre = (0.47, 0.0, 0.25)
        return cls(
            name="none",
            camera_scale=(0.0, 0.0, 0.0),
            look_at_m=0.0,
            light_azimuth_rad=((-0.6, -0.6),),
            light_elevation_rad=(1.0, 1.0),
            light_intensity=(0.6, 0.6),
            hue_bands=((0.08, 0.08),),
            saturation=(0.45, 0.45),
            brightness=(0.65, 0.65),
            texture_kinds=("plain",),
            texture_seeds=(0, 1),
            texture_contrast=(0.1, 0.1),
            clutter_count=(0, 0),
            wall_saturation=(0.1, 0.1),
            wall_brightness=(0.7, 0.7),
            arm_saturation=(0.0, 0.0),
            arm_brightness=(0.92, 0.92),
            start_low_m=centre,
            start_high_m=centre,
            closure=(0.0, 0.0),
            object_shapes=("box",),
            object_width_m=((0.045, 0.045),),
            object_aspect=((1.0, 1.0),),
            object_hue_bands=((0.6, 0.6),),
            object_saturation=(0.85, 0.85),
            object_brightness=(0.85, 0.85),
            object_yaw_rad=(0.0, 0.0),
        )

    @classmethod
    def named(cls, name: str) -> Variation:
        """Return the variation called "train", "test" or "none".

        Raises:
            EnvError: If there is none of that name.
        """
        known = {"train": cls.train, "test": cls.test, "none": cls.none}
        if name not in known:
            raise EnvError(f"variation {name!r} is unknown: use one of {sorted(known)} or a Variation.")
        return known[name]()


#: Fields that are several ranges.
_BANDS: Final = ("hue_bands", "light_azimuth_rad", "object_width_m", "object_aspect", "object_hue_bands")
#: Default values of the fields, which their types are checked against.
_DEFAULTS: Final = {
    item.name: item.default if item.default_factory is MISSING else item.default_factory()
    for item in fields(Variation)
}

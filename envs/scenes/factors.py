"""Factors of variation by name: what each changes, what it may be, and what training and tests draw it from.

`reset(options={"variation": {"light.azimuth": 0.3}})` sets single factors of a drawn episode and leaves all others as
they were drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, get_args

import numpy as np

from envs.arm.model import NUM_CLUTTER
from envs.checks import are_finite, is_finite, whole_number
from envs.errors import EnvError
from envs.scenes.objects import OBJECT_SHAPES, ObjectSpec
from envs.scenes.sampling import with_clutter
from envs.scenes.scene import Scene, TextureKind
from envs.scenes.variation import Range, Variation

#: What a factor belongs to: the scene, the object to be handled, or where the object is to be.
FactorPart = Literal["scene", "object", "goal"]


def _by_the_task(variation: Variation) -> str:
    return "by the task"


@dataclass(frozen=True, kw_only=True)
class Factor:
    """One factor of variation.

    Attributes:
        name: Its name in options.
        meaning: What it is, with its unit.
        part: What it belongs to; tasks without an object have no factors of "object" and "goal".
        field: The field of a `Scene` or an `ObjectSpec`, or the axis of a goal.
        index: The entry of the field, if the field is a tuple.
        allowed: Least and most, or the choices, or "rgb".
        drawn: What it is drawn from, as text, in the ranges of a variation.
    """

    name: str
    meaning: str
    part: FactorPart = "scene"
    field: str
    index: int | None = None
    allowed: Range | tuple[str, ...] | Literal["rgb"]
    drawn: Callable[[Variation], str] = _by_the_task

    def check(self, value: Any) -> Any:
        """Return a value of this factor as scenes have it.

        Raises:
            EnvError: If it is not allowed.
        """
        if self.allowed == "rgb":
            if not are_finite(value, 3) or not all(0 <= entry <= 1 for entry in value):
                raise EnvError(f"{self.name} {value!r} is not allowed: give red, green, blue, from 0 to 1.")
            return tuple(float(entry) for entry in value)
        if isinstance(self.allowed[0], str):
            if value not in self.allowed:
                raise EnvError(f"{self.name} {value!r} is not allowed: use one of {self.allowed}.")
            return value
        low, high = self.allowed
        if self.name in _COUNTS:
            return whole_number(self.name, value, int(low), int(high))
        if not is_finite(value) or not low <= value <= high:
            raise EnvError(f"{self.name} {value!r} is not allowed: give a number from {low:g} to {high:g}.")
        return float(value)


def vary_scene(scene: Scene, values: Mapping[str, Any], variation: Variation) -> Scene:
    """Return the scene with the given factors of part "scene" instead of the drawn ones."""
    for name, value in values.items():
        factor = FACTORS[name]
        if factor.name == "clutter.count":
            scene = with_clutter(scene, value, variation)
        elif factor.part == "scene":
            scene = replace(scene, **{factor.field: _entry(getattr(scene, factor.field), factor, value)})
    return scene


def vary_object(spec: ObjectSpec, values: Mapping[str, Any]) -> ObjectSpec:
    """Return the object with the given factors of part "object"."""
    for name, value in values.items():
        factor = FACTORS[name]
        if factor.part == "object":
            spec = replace(spec, **{factor.field: _entry(getattr(spec, factor.field), factor, value)})
    return spec


def vary_goal(target_m: np.ndarray, values: Mapping[str, Any]) -> np.ndarray:
    """Return a goal position `[3]` with the given factors of part "goal"."""
    varied = target_m.copy()
    for name, value in values.items():
        if FACTORS[name].part == "goal":
            varied["xyz".index(FACTORS[name].field)] = value
    return varied


def check_factors(values: Any, parts: tuple[FactorPart, ...]) -> dict[str, Any]:
    """Return given factors after a check.

    Args:
        values: Values by the name of the factor.
        parts: What the task has.

    Raises:
        EnvError: If a factor is unknown or its value not allowed.
    """
    if not isinstance(values, Mapping):
        raise EnvError(f"the option variation {values!r} is not a mapping from names of factors to values.")
    known = [name for name, factor in FACTORS.items() if factor.part in parts]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise EnvError(f"factors {unknown} are unknown or not of this task: use some of {known}.")
    return {name: FACTORS[name].check(value) for name, value in values.items()}


def _entry(present: Any, factor: Factor, value: Any) -> Any:
    """Return a field with one entry replaced, or the value."""
    if factor.index is None:
        return value
    return (*present[: factor.index], value, *present[factor.index + 1 :])


def _bands(name: str) -> Callable[[Variation], str]:
    """Describe a field that is one or several ranges."""

    def text(variation: Variation) -> str:
        value = getattr(variation, name)
        bands = value if isinstance(value[0], tuple) else (value,)
        return ", ".join(
            f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in sorted(bands)
        )

    return text


def _choices(name: str) -> Callable[[Variation], str]:
    return lambda variation: ", ".join(getattr(variation, name))


def _camera(axis: int) -> Callable[[Variation], str]:
    def text(variation: Variation) -> str:
        inner, outer = variation.camera_shell
        scale = variation.camera_scale[axis]
        if not scale:
            return "0"
        shell = f", one of the three beyond {inner:g} times training's" if inner else ""
        return f"{-outer * scale:.3g} to {outer * scale:.3g}{shell}"

    return text


def _look_at(variation: Variation) -> str:
    return f"{-variation.look_at_m:g} to {variation.look_at_m:g}" if variation.look_at_m else "0"


def _colour(hues: str, saturation: str, brightness: str) -> Callable[[Variation], str]:
    """Describe a colour by its ranges of hue, saturation and HSV value."""

    def text(variation: Variation) -> str:
        bands = getattr(variation, hues)
        hue = f"{len(bands)} bands from {bands[0][0]:.2f}" if len(bands) > 1 else f"{bands[0][0]:.2f}"
        parts = (
            f"{low:g} to {high:g}"
            for low, high in (getattr(variation, saturation), getattr(variation, brightness))
        )
        return f"hue {hue}, saturation {', value '.join(parts)}"

    return text


def _corners(axis: int) -> Callable[[Variation], str]:
    return lambda v: f"{v.object_low_m[axis]:g} to {v.object_high_m[axis]:g}"


#: Factors that are whole numbers.
_COUNTS: Final = ("clutter.count", "table.texture_seed")
_ALL: Final = (
    Factor(
        name="camera.azimuth", meaning="of the cameras at the table, relative [rad]", field="camera_offset", index=0,
        allowed=(-0.5, 0.5), drawn=_camera(0),
    ),
    Factor(
        name="camera.elevation", meaning="likewise [rad]", field="camera_offset", index=1, allowed=(-0.4, 0.4),
        drawn=_camera(1),
    ),
    Factor(
        name="camera.distance", meaning="likewise, a share of the distance", field="camera_offset", index=2,
        allowed=(-0.3, 0.5), drawn=_camera(2),
    ),
    *(
        Factor(
            name=f"camera.look_at_{axis}", meaning="shift of the point looked at [m]", field="look_at_offset_m",
            index=index, allowed=(-0.1, 0.1), drawn=_look_at,
        )
        for index, axis in enumerate("xyz")
    ),
    Factor(
        name="light.azimuth", meaning="direction of the light about z [rad]", field="light_azimuth_rad",
        allowed=(-3.15, 3.15), drawn=_bands("light_azimuth_rad"),
    ),
    Factor(
        name="light.elevation", meaning="its height above the horizon [rad]", field="light_elevation_rad",
        allowed=(0.1, 1.57), drawn=_bands("light_elevation_rad"),
    ),
    Factor(
        name="light.intensity", meaning="its strength", field="light_intensity", allowed=(0.0, 1.5),
        drawn=_bands("light_intensity"),
    ),
    Factor(
        name="table.rgb", meaning="colour of the table", field="table_rgb", allowed="rgb",
        drawn=_colour("hue_bands", "saturation", "brightness"),
    ),
    Factor(
        name="table.texture", meaning="pattern of the table", field="texture_kind", allowed=get_args(TextureKind),
        drawn=_choices("texture_kinds"),
    ),
    Factor(
        name="table.texture_seed", meaning="details of the pattern", field="texture_seed", allowed=(0, 2**31 - 1),
        drawn=lambda v: f"{v.texture_seeds[0]} to {v.texture_seeds[1] - 1}",
    ),
    Factor(
        name="table.contrast", meaning="contrast of the pattern", field="texture_contrast", allowed=(0.0, 1.0),
        drawn=_bands("texture_contrast"),
    ),
    Factor(
        name="walls.rgb", meaning="colour of the walls", field="wall_rgb", allowed="rgb",
        drawn=_colour("hue_bands", "wall_saturation", "wall_brightness"),
    ),
    Factor(
        name="arm.rgb", meaning="colour of the arm", field="arm_rgb", allowed="rgb",
        drawn=_colour("hue_bands", "arm_saturation", "arm_brightness"),
    ),
    Factor(
        name="clutter.count", meaning="other objects on the table", field="clutter", allowed=(0, NUM_CLUTTER),
        drawn=lambda v: f"{v.clutter_count[0]} to {v.clutter_count[1]}",
    ),
    Factor(
        name="object.shape", meaning="shape of the object", part="object", field="shape", allowed=OBJECT_SHAPES,
        drawn=_choices("object_shapes"),
    ),
    Factor(
        name="object.width", meaning="its width or diameter [m]", part="object", field="width_m", allowed=(0.035, 0.06),
        drawn=_bands("object_width_m"),
    ),
    Factor(
        name="object.aspect", meaning="its height over its width", part="object", field="aspect", allowed=(0.7, 1.5),
        drawn=_bands("object_aspect"),
    ),
    Factor(
        name="object.rgb", meaning="its colour", part="object", field="rgb", allowed="rgb",
        drawn=_colour("object_hue_bands", "object_saturation", "object_brightness"),
    ),
    Factor(
        name="object.yaw", meaning="its rotation about z [rad]", part="object", field="yaw_rad", allowed=(-0.4, 0.4),
        drawn=_bands("object_yaw_rad"),
    ),
    Factor(
        name="object.x", meaning="where it stands [m]", part="object", field="position_m", index=0,
        allowed=(0.38, 0.59), drawn=_corners(0),
    ),
    Factor(
        name="object.y", meaning="likewise [m]", part="object", field="position_m", index=1, allowed=(-0.22, 0.22),
        drawn=_corners(1),
    ),
    Factor(name="goal.x", meaning="where it is to be [m]", part="goal", field="x", allowed=(0.37, 0.59)),
    Factor(name="goal.y", meaning="likewise [m]", part="goal", field="y", allowed=(-0.22, 0.22)),
    Factor(
        name="goal.z", meaning="likewise [m]; its centre, of a carried object", part="goal", field="z",
        allowed=(0.08, 0.26),
    ),
)  # fmt: skip
#: The factors by name.
FACTORS: Final = {factor.name: factor for factor in _ALL}

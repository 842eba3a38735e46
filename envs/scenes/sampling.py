"""Draws scenes and objects from the ranges of a variation."""

from __future__ import annotations

import colorsys
from dataclasses import replace
from typing import Final

import numpy as np

from envs.errors import EnvError
from envs.scenes.objects import ObjectSpec
from envs.scenes.scene import CLUTTER_SHAPES, RGB, ClutterSpec, Scene, triple
from envs.scenes.variation import Range, Variation

#: Clutter on the floor of the workspace stays below the fingers; around it it may be taller.
LOW_CLUTTER_HEIGHT_M: Final = 0.034
#: Where low clutter may stand (x, y ranges), and where taller clutter may.
_LOW_ZONE: Final = ((0.30, 0.66), (-0.30, 0.30))
_TALL_ZONES: Final = (((0.25, 0.65), (0.46, 0.62)), ((0.05, 0.20), (-0.55, -0.30)), ((0.0, 0.2), (0.30, 0.6)))
_CLUTTER_GAP_M: Final = 0.14
_MAX_DRAWS: Final = 10_000  # of rejection sampling, before the ranges are reported as impossible


def sample(variation: Variation, rng: np.random.Generator) -> Scene:
    """Draw one scene.

    Args:
        variation: The ranges.
        rng: Source of all randomness.
    """
    low, high = variation.texture_seeds
    clutter_low, clutter_high = variation.clutter_count
    light = variation.light_azimuth_rad
    return Scene(
        camera_offset=_camera_offset(variation, rng),
        look_at_offset_m=triple(rng.uniform(-variation.look_at_m, variation.look_at_m, 3)),
        light_azimuth_rad=_uniform(light[_weighted(light, rng)], rng),
        light_elevation_rad=_uniform(variation.light_elevation_rad, rng),
        light_intensity=_uniform(variation.light_intensity, rng),
        table_rgb=_colour(variation, rng, variation.saturation, variation.brightness),
        texture_kind=variation.texture_kinds[int(rng.integers(len(variation.texture_kinds)))],
        texture_seed=int(rng.integers(low, high)),
        texture_contrast=_uniform(variation.texture_contrast, rng),
        wall_rgb=_colour(variation, rng, variation.wall_saturation, variation.wall_brightness),
        arm_rgb=_colour(variation, rng, variation.arm_saturation, variation.arm_brightness),
        clutter=_clutter(variation, int(rng.integers(clutter_low, clutter_high + 1)), rng),
        start_position_m=triple(rng.uniform(variation.start_low_m, variation.start_high_m)),
        closure=_uniform(variation.closure, rng),
    )


def sample_object(variation: Variation, rng: np.random.Generator) -> ObjectSpec:
    """Draw an object to be handled."""
    shape = variation.object_shapes[int(rng.integers(len(variation.object_shapes)))]
    hue = _of_bands(variation.object_hue_bands, rng)
    x, y = rng.uniform(variation.object_low_m, variation.object_high_m).tolist()
    return ObjectSpec(
        shape=shape,
        width_m=_of_bands(variation.object_width_m, rng),
        aspect=_of_bands(variation.object_aspect, rng),
        position_m=(x, y),
        yaw_rad=_uniform(variation.object_yaw_rad, rng),
        rgb=colorsys.hsv_to_rgb(
            hue, _uniform(variation.object_saturation, rng), _uniform(variation.object_brightness, rng)
        ),
    )


def _uniform(bounds: Range, rng: np.random.Generator) -> float:
    return float(rng.uniform(*bounds))


def _weighted(ranges: tuple[Range, ...], rng: np.random.Generator) -> int:
    """Choose one of several ranges in proportion to its width; evenly if all widths are zero."""
    widths = np.array([high - low for low, high in ranges])
    if not widths.any():
        return int(rng.integers(len(ranges)))
    return int(rng.choice(len(ranges), p=widths / widths.sum()))


def _camera_offset(variation: Variation, rng: np.random.Generator) -> tuple[float, float, float]:
    inner, outer = variation.camera_shell
    for _ in range(_MAX_DRAWS):
        offset = rng.uniform(-outer, outer, 3)
        if np.abs(offset).max() >= inner:
            return triple(offset * variation.camera_scale)
    raise EnvError(
        f"camera_shell {variation.camera_shell} is too thin: {_MAX_DRAWS} draws missed it. Widen it."
    )


def _of_bands(bands: tuple[Range, ...], rng: np.random.Generator) -> float:
    return _uniform(bands[_weighted(bands, rng)], rng)


def _colour(variation: Variation, rng: np.random.Generator, saturation: Range, brightness: Range) -> RGB:
    hue = _of_bands(variation.hue_bands, rng)
    return colorsys.hsv_to_rgb(hue, _uniform(saturation, rng), _uniform(brightness, rng))


def with_clutter(scene: Scene, count: int, variation: Variation) -> Scene:
    """Return the scene with `count` objects on the table: the first of its own, and more if it has fewer."""
    rng = np.random.default_rng(scene.texture_seed)  # the scene's own, so that nothing else changes
    return replace(scene, clutter=_clutter(variation, count, rng, scene.clutter[:count]))


def _clutter(
    variation: Variation, count: int, rng: np.random.Generator, present: tuple[ClutterSpec, ...] = ()
) -> tuple[ClutterSpec, ...]:
    placed = list(present)
    for _ in range(_MAX_DRAWS):
        if len(placed) == count:
            return tuple(placed)
        spec = _clutter_spec(variation, rng)
        gaps = [np.hypot(*np.subtract(spec.position_m, other.position_m)) for other in placed]
        if all(gap > _CLUTTER_GAP_M for gap in gaps):
            placed.append(spec)
    raise EnvError(
        f"{count} things found no room {_CLUTTER_GAP_M} m apart in {_MAX_DRAWS} draws. Lower clutter_count."
    )


def _clutter_spec(variation: Variation, rng: np.random.Generator) -> ClutterSpec:
    low = bool(rng.uniform() < 0.5)
    zone = _LOW_ZONE if low else _TALL_ZONES[int(rng.integers(len(_TALL_ZONES)))]
    # A low sphere would be too small to see.
    shapes = CLUTTER_SHAPES[:2] if low else CLUTTER_SHAPES
    shape = shapes[int(rng.integers(len(shapes)))]
    height = rng.uniform(0.024, LOW_CLUTTER_HEIGHT_M) if low else rng.uniform(0.06, 0.12)
    width, depth = rng.uniform(0.03, 0.055, 2)
    return ClutterSpec(
        shape=shape,
        position_m=(_uniform(zone[0], rng), _uniform(zone[1], rng)),
        yaw_rad=float(rng.uniform(-np.pi, np.pi)),
        half_size_m=(float(width), float(depth), float(height / 2)),
        rgb=_colour(variation, rng, variation.saturation, variation.brightness),
    )

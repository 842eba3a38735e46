"""Labels of a scene by which an evaluation can be split: what of it training does not have."""

from __future__ import annotations

import colorsys
from typing import Final

import numpy as np

from envs.scenes.objects import ObjectSpec
from envs.scenes.scene import Scene
from envs.scenes.variation import Range, Variation

_TRAIN: Final = Variation.train()


def labels(scene: Scene) -> dict[str, bool | str | float]:
    """Return the labels of a scene.

    `camera_moved`, `unseen_light`, `unseen_texture`, `unseen_object` (its shape, size or proportions) and
    `unseen_colour` (the object's) say that the value is outside of training's ranges; `clutter` is whether other
    objects are there, `object_shape` the shape of the one that is handled.
    """
    offset = np.abs(np.array(scene.camera_offset)) / _TRAIN.camera_scale
    found: dict[str, bool | str | float] = {
        "camera_moved": bool(offset.max() > _TRAIN.camera_shell[1]),
        "unseen_light": not _within(scene.light_azimuth_rad, _TRAIN.light_azimuth_rad),
        "unseen_texture": scene.texture_kind not in _TRAIN.texture_kinds,
        "clutter": len(scene.clutter) > 0,
    }
    return found if scene.object is None else found | _object_labels(scene.object)


def _object_labels(spec: ObjectSpec) -> dict[str, bool | str | float]:
    known = spec.shape in _TRAIN.object_shapes and _within(spec.width_m, _TRAIN.object_width_m)
    if spec.shape != "ball":
        known = known and _within(spec.aspect, _TRAIN.object_aspect)
    hue = colorsys.rgb_to_hsv(*spec.rgb)[0]
    return {
        "object_shape": spec.shape,
        "unseen_object": not known,
        "unseen_colour": not _within(hue, _TRAIN.object_hue_bands),
    }


def _within(value: float, bands: tuple[Range, ...]) -> bool:
    # Colours went through RGB and back.
    return any(low - 1e-9 <= value <= high + 1e-9 for low, high in bands)

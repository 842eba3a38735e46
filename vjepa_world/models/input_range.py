"""Warnings about inputs that are far from the training data: units, order of numbers, images.

Legend: B problems, T frames, S state size, H W pixels, V views.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vjepa_world.models.config import EmbodimentConfig, ImageStatistics
from vjepa_world.models.embodiment import Embodiment
from vjepa_world.ops.pixels import resize_frames

#: Standard deviations from the training mean beyond which a state's number is far; uniform numbers end at 1.7.
FAR_STATE = 10.0

#: Standard deviations within which a number that was converted to another unit fits.
FITTING_STATE = 3.0

#: Standard deviations between training frames beyond which an image's brightness, contrast or detail is far.
FAR_IMAGE = 4.0

#: Least standard deviations assumed of training frames: 5 of 255 grey levels, and less in detail.
LEAST_IMAGE_SPREAD, LEAST_DETAIL_SPREAD = 0.02, 0.01

#: Height and width at which images are compared [pixels].
SIZE = 64

#: Factor that converts a number to the unit of training, and the mistake that it indicates.
LENGTHS = ((1e-3, "millimetres instead of metres"), (1e-2, "centimetres instead of metres"))
ANGLES = ((math.pi / 180, "degrees instead of radians"),)
RESCALED = (
    (180 / math.pi, "radians instead of degrees"),
    (1e3, "metres instead of millimetres"),
    (1e2, "a share of 1 instead of percent"),
)

POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "closure")
COLOURS = ("red", "green", "blue")


def state_warnings(robot: Embodiment, states: Tensor) -> list[str]:
    """Return warnings about states that are far from the training data; none if its statistics are not known.

    Args:
        robot: The robot's embodiment, with the mean and standard deviation of its training states.
        states: `[..., S]`, in the data's units.
    """
    mean, spread = (part.detach().cpu().double() for part in (robot.state_mean, robot.state_std))
    if not bool(mean.any()) and bool((spread == 1).all()):
        return []  # a checkpoint without statistics
    every = states.detach().cpu().double().reshape(-1, len(mean))
    away = ((every - mean) / spread).abs().nan_to_num(torch.inf)
    worst = away.max(dim=0)
    far = [index for index, value in enumerate(worst.values.tolist()) if value > FAR_STATE]
    if not far:
        return []
    names, shown, causes = _names(robot.config), [], []
    for index in far:
        value = float(every[worst.indices[index], index])
        shown.append(
            f"{names[index]} is {value:g}, of training {float(mean[index]):.3g} +- {float(spread[index]):.2g} "
            f"({float(worst.values[index]):.0f} standard deviations)"
        )
        cause = _cause(robot.config, index, value, float(mean[index]), float(spread[index]))
        if cause and cause not in causes:
            causes.append(cause)
    likely = (
        f" Likely cause: {' and '.join(causes)}."
        if causes
        else " Check its units and the order of its numbers."
    )
    return [f"the state is far from what this model was trained on: {'; '.join(shown)}.{likely}"]


def _names(config: EmbodimentConfig) -> Sequence[str]:
    names = config.state_names or (POSE_NAMES if config.state_meaning == "pose" else ())
    if len(names) != config.state_dim:
        return [f"number {index}" for index in range(config.state_dim)]
    units = config.state_units or ("",) * len(names)
    return [f"{name} [{unit}]" if unit else name for name, unit in zip(names, units, strict=True)]


def _cause(config: EmbodimentConfig, index: int, value: float, mean: float, spread: float) -> str | None:
    """Return the unit mistake that would explain a number best, or None if none explains it."""
    candidates: Sequence[tuple[float, str]] = (*LENGTHS, *ANGLES, *RESCALED)
    if config.state_meaning == "pose" and config.state_dim == len(POSE_NAMES):
        candidates = LENGTHS if index < 3 else ANGLES if index < 6 else ()
    elif config.state_units and config.state_units[index] in ("rad", "m"):
        candidates = ANGLES if config.state_units[index] == "rad" else LENGTHS
    if abs(value) <= 2 * math.pi:
        candidates = [candidate for candidate in candidates if candidate not in ANGLES]  # surely radians
    distances = [(abs(factor * value - mean) / spread, mistake) for factor, mistake in candidates]
    distance, mistake = min(distances, default=(math.inf, ""))
    return mistake if distance <= FITTING_STATE else None


def image_warnings(trained: ImageStatistics, frames: Tensor, what: str = "the picture") -> list[str]:
    """Return warnings about an image that is unlike those of training; none if their statistics are not known.

    Args:
        trained: Statistics of the training images.
        frames: uint8 `[..., 3, H, W]`, each of one view; the one that fits least counts.
        what: What the image is called in a warning.
    """
    if not trained.known:
        return []
    mean, contrast, detail = appearance(frames)
    away = (
        _away(mean, trained.mean, trained.mean_spread, LEAST_IMAGE_SPREAD),
        _away(contrast, trained.contrast, trained.contrast_spread, LEAST_IMAGE_SPREAD),
        _away(detail, trained.detail, trained.detail_spread, LEAST_DETAIL_SPREAD),
    )
    if max(away) <= FAR_IMAGE:
        return []
    shown = "; ".join(
        f"{colour} {float(m):.2f} +- {float(c):.2f}, of training {trained.mean[i]:.2f} +- {trained.contrast[i]:.2f}"
        for i, (colour, m, c) in enumerate(zip(COLOURS, mean.mean(dim=0), contrast.mean(dim=0), strict=True))
    )
    if int(frames.max()) <= 1:
        cause = "Likely cause: pixels from 0 to 1 that were turned into bytes; multiply them by 255 first."
    elif not bool(contrast.max() > 0.01):
        cause = "It is of one colour all over; look at the camera."
    else:
        cause = "Look at it: another camera, another exposure, noise, or another scene."
    return [f"{what} is unlike those that this model was trained on (0 black to 1 white): {shown}. {cause}"]


def appearance(frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return brightness, contrast and detail of each colour of `frames [..., 3, H, W]` uint8: `[M, 3]` in [0, 1] each.

    Frames are resized to one small size first, since detail depends on the size.
    """
    small = resize_frames(frames.detach().cpu().reshape(-1, *frames.shape[-3:]), SIZE).double() / 255
    edges = [small.diff(dim=axis).abs().flatten(2).mean(dim=2) for axis in (-2, -1)]
    pixels = small.flatten(2)
    return pixels.mean(dim=2), pixels.std(dim=2, correction=0), (edges[0] + edges[1]) / 2


def image_statistics(frames: Tensor) -> ImageStatistics:
    """Return the statistics of training frames `[M, 3, H, W]` uint8: their means and their spread over frames."""
    found: dict[str, tuple[float, ...]] = {}
    for name, numbers in zip(("mean", "contrast", "detail"), appearance(frames), strict=True):
        found[name] = _numbers(numbers.mean(dim=0))
        found[f"{name}_spread"] = _numbers(numbers.std(dim=0, correction=0))
    return ImageStatistics(**found)


def _numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(round(number, 6) for number in tensor.tolist())


def _away(got: Tensor, mean: Sequence[float], spread: Sequence[float], least: float) -> float:
    """Return the largest distance of colours `[M, 3]` from their mean, in standard deviations."""
    unit = torch.tensor(spread, dtype=torch.float64).clamp(min=least)
    return float(((got - torch.tensor(mean, dtype=torch.float64)) / unit).abs().max())

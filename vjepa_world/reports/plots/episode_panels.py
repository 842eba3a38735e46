"""Pictures of episodes: camera, goal image and energy side by side.

Shapes: T frames, H W pixels; everything is RGB, uint8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vjepa_world.evaluation.closed_loop.episode import Episode, Recording

TILE = 256
"""Least side of one picture in a panel [pixels]; smaller frames are enlarged by a whole factor."""

HEADER = 48
"""Height of the text above the pictures [pixels]: one line about the step, one of captions."""

GAP = 4
"""Space between the pictures [pixels]."""

_BACKGROUND = (24, 26, 30)
_GRID = (62, 66, 74)
_TEXT = (226, 228, 232)
_DIM = (146, 150, 158)
_LINE = (86, 180, 233)
_DOT = (240, 228, 66)
_GREEN = (70, 200, 140)
_RED = (225, 105, 90)


def episode_panel(recording: Recording, title: str = "") -> np.ndarray:
    """Return a video of an episode, `[T, H, W, 3]`: what the policy sees, the present goal, the energy so far.

    One frame for each observation, from reset on. Where the policy has no energy the distance to the
    goal is drawn instead. Height and width are even, as video encoders want.

    Args:
        recording: What to show.
        title: Written at the left of the top line, such as the policy's name.
    """
    episode = recording.episode
    factor = max(1, math.ceil(TILE / recording.frames.shape[1]))
    values, name = _curve(episode)
    frames = []
    for t, frame in enumerate(recording.frames):
        picture, goal = _enlarge(frame, factor), _enlarge(recording.goal_images[t], factor)
        chart = _chart(values, t, len(recording.frames), size=goal.shape[0])
        row = _side_by_side([picture, goal, chart])
        captions = (
            "camera" if picture.shape[1] < 2 * picture.shape[0] else "cameras",
            _goal_name(episode, t),
            name,
        )
        header = _header(episode, t, row.shape[1], title, captions, picture.shape[1] + GAP)
        frames.append(_even(np.concatenate([header, row], axis=0)))
    return np.stack(frames)


def _curve(episode: Episode) -> tuple[tuple[float, ...], str]:
    if episode.energies:
        return episode.energies, "energy"
    return (episode.initial_distance, *episode.distances), "distance"


def _goal_name(episode: Episode, t: int) -> str:
    """Return the caption of the goal: which sub-goal it is."""
    if not episode.pursued:
        return "goal"
    index, names = episode.pursued[t], episode.subgoal_names
    return f"sub-goal {index + 1} of {len(names)}: {names[index].replace('_', ' ')}"


def _header(
    episode: Episode, t: int, width: int, title: str, captions: Sequence[str], apart: int
) -> np.ndarray:
    """Title, step, distance to the goal and how it ended; below, a caption every `apart` pixels."""
    distance = (episode.initial_distance, *episode.distances)[t]
    image = Image.new("RGB", (width, HEADER), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    parts = [title] if title else []
    parts += [f"step {t}/{episode.steps}", f"distance {distance:.3f}"]
    draw.text((8, 16), "   ".join(parts), fill=_TEXT, font=_font(15), anchor="lm")
    if t == episode.steps:
        outcome, colour = ("success", _GREEN) if episode.success else ("not reached", _RED)
        draw.text((width - 8, 16), outcome, fill=colour, font=_font(15), anchor="rm")
    for index, caption in enumerate(captions):
        draw.text((8 + index * apart, 38), caption, fill=_DIM, font=_font(12), anchor="lm")
    return np.asarray(image)


def _chart(values: Sequence[float], t: int, length: int, size: int) -> np.ndarray:
    """Draw `values[: t + 1]` on axes that stay the same for the whole episode, `[size, size, 3]`."""
    image = Image.new("RGB", (size, size), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = 46, 30, size - 12, size - 26
    lowest, highest = _limits(values)
    for part in (0.0, 0.5, 1.0):
        y = bottom + part * (top - bottom)
        draw.line([(left, y), (right, y)], fill=_GRID)
        draw.text(
            (left - 6, y), f"{lowest + part * (highest - lowest):.3g}", fill=_DIM, font=_font(11), anchor="rm"
        )
    draw.text((right, 14), f"{values[t]:.4f}", fill=_DOT, font=_font(13), anchor="rm")
    last = max(1, length - 1)
    for tick, anchor in ((0, "lm"), (last, "rm")):
        x = left + (right - left) * tick / last
        draw.text((x, size - 12), str(tick), fill=_DIM, font=_font(11), anchor=anchor)
    points = [
        (
            left + (right - left) * k / last,
            bottom + (_clipped(v, lowest, highest) - lowest) / (highest - lowest) * (top - bottom),
        )
        for k, v in enumerate(values)
    ]
    if t > 0:
        draw.line(points[: t + 1], fill=_LINE, width=2, joint="curve")
    x, y = points[t]
    draw.ellipse([x - 4, y - 4, x + 4, y + 4], fill=_DOT)
    return np.asarray(image)


def _clipped(value: float, lowest: float, highest: float) -> float:
    """Return a value on the axis; one that diverged stands at its top."""
    return highest if math.isnan(value) else min(max(value, lowest), highest)


def _limits(values: Sequence[float]) -> tuple[float, float]:
    """Return the ends of an axis: from 0, or close around the values where they would crowd at the top."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    lowest, highest = min(finite), max(finite)
    margin = 0.05 * (highest - lowest) or 0.05 * abs(highest) or 1.0
    return (0.0 if 0.0 <= lowest < 0.5 * highest else lowest - margin), highest + margin


def _side_by_side(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Join pictures of one height from left to right, with gaps."""
    gap = np.full((pictures[0].shape[0], GAP, 3), _BACKGROUND, dtype=np.uint8)
    first, *others = pictures
    return np.concatenate([first, *(part for picture in others for part in (gap, picture))], axis=1)


def _enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def _even(image: np.ndarray) -> np.ndarray:
    """Repeat the last row or column where a side is odd."""
    height, width, _ = image.shape
    return np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)

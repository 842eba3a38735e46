"""Learning-rate and EMA-momentum schedules, as functions of the step."""

from __future__ import annotations

import math


def warmup_constant_cooldown(step: int, total: int, peak: float, warmup: float, cooldown: float) -> float:
    """Return the learning rate at `step`: linear up, constant, then a half-cosine down to zero.

    Args:
        step: 0-based step.
        total: Steps of the whole run.
        peak: Learning rate of the constant part.
        warmup: Share of the run that warms up, in [0, 1].
        cooldown: Share of the run that cools down, in [0, 1].

    Source: the shape of V-JEPA 2's schedule (arXiv:2506.09985, section 2), with a cosine tail.
    """
    warm_steps, cool_steps = max(round(warmup * total), 1), max(round(cooldown * total), 1)
    rise = min((step + 1) / warm_steps, 1.0)
    left = min(max((total - step) / cool_steps, 0.0), 1.0)
    return peak * rise * 0.5 * (1 - math.cos(math.pi * left))


def ema_momentum(step: int, total: int, start: float, end: float) -> float:
    """Return the EMA momentum at `step`, going linearly from `start` to `end`."""
    return start + (end - start) * min(step / max(total - 1, 1), 1.0)

"""Schedules of learning rate, weight decay and loss weights by step (EMA momentum: training/engine/ema.py).

A schedule longer than the run (V-JEPA's stretches it by 1.25) is one whose `total` is more than the run's steps.
"""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["linear", "cosine"]


def warmup_constant_cooldown(
    step: int,
    total: int,
    peak: float,
    warmup: float,
    cooldown: float,
    *,
    start: float = 0.0,
    end: float = 0.0,
    shape: Shape = "cosine",
) -> float:
    r"""Return the learning rate at `step`: linear warm-up, constant, then cool-down.

    .. math::
        r_s = s_0 + (p - s_0) \min\{(s + 1) / W, 1\}, \qquad
        \mathrm{lr}_s = e + (r_s - e)\, f(\min\{(T - s) / C, 1\})

    with W and C the steps of warm-up and cool-down, :math:`f(x) = x` or :math:`(1 - \cos \pi x) / 2`. The end value
    would be reached one step after the last, so that with an end of 0 no step is without effect.

    Args:
        step: 0-based step s.
        total: Steps of the schedule, T.
        peak: Learning rate p of the constant part.
        warmup: Share of the schedule that warms up, in [0, 1].
        cooldown: Share of the schedule that cools down, in [0, 1].
        start: Learning rate :math:`s_0` at the start of the warm-up.
        end: Learning rate e at the end of the cool-down.
        shape: Shape of the cool-down.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2): 1e-4 to 5.25e-4, constant, linearly to 1e-6.
    """
    warm_steps, cool_steps = max(round(warmup * total), 1), max(round(cooldown * total), 1)
    rise = min((step + 1) / warm_steps, 1.0)
    left = min(max((total - step) / cool_steps, 0.0), 1.0)
    risen = start + (peak - start) * rise
    return end + (risen - end) * (left if shape == "linear" else 0.5 * (1 - math.cos(math.pi * left)))


def warmup_cosine(
    step: int, total: int, peak: float, warmup: float, *, start: float = 0.0, end: float = 0.0
) -> float:
    r"""Return the learning rate at `step`: linear warm-up, then a half-cosine to `end` at the last step.

    .. math::
        \mathrm{lr}_s = s_0 + (p - s_0) (s + 1) / W \quad (s + 1 < W), \qquad
        e + (p - e) \tfrac12 \left(1 + \cos \pi \tfrac{s + 1 - W}{T - W}\right) \quad \text{after}

    Args:
        step: 0-based step s.
        total: Steps of the schedule, T.
        peak: Learning rate p at the end of the warm-up.
        warmup: Share of the schedule that warms up, in [0, 1].
        start: Learning rate :math:`s_0` at the start of the warm-up.
        end: Learning rate e of the last step.

    Source: I-JEPA (arXiv:2301.08243, appendix A): 2e-4 to 1e-3, then to 1e-6; V-JEPA (arXiv:2404.08471) alike.
    """
    warm_steps = round(warmup * total)
    if step + 1 < warm_steps:
        return start + (peak - start) * (step + 1) / warm_steps
    return cosine_schedule(step - warm_steps, total - warm_steps, peak, end)


def cosine_schedule(step: int, total: int, start: float, end: float) -> float:
    r"""Return :math:`e + (s_0 - e) \tfrac12 (1 + \cos \pi \tfrac{s + 1}{T})`: from `start` to `end` at the last step.

    It may rise or fall; after the last step it stays at `end`. Weight decay of I-JEPA and V-JEPA: .04 to .4.
    """
    progress = min((step + 1) / max(total, 1), 1.0)
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def ramp(progress: float, first: float, last: float) -> float:
    r"""Return :math:`\mathrm{clamp}((x - a) / (b - a), 0, 1)`: 0 up to `first`, 1 from `last` on, linear between.

    Args:
        progress: x; a share of the run or a step, in the same unit as the others.
        first: a.
        last: b, at least a; the same as `first` is a jump there.

    Source: the weight of V-JEPA 2.1's context loss (arXiv:2603.14482): steps 15,000 to 30,000.
    """
    if progress >= last:
        return 1.0
    return (progress - first) / (last - first) if progress > first else 0.0

"""Is a model worth planning with? What predicts planning success before anything moves, with thresholds.

Legend: W windows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vjepa_world.evaluation.open_loop.prediction_error import HorizonErrors
from vjepa_world.evaluation.open_loop.random_plans import RandomPlans, what_moves
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.statistics import mean, ratio

#: The group of all windows.
ALL = "all windows"

#: Each threshold, and where it comes from.
LEAST_VARIATION, MOST_RANK, MOST_RATIO = 0.30, 0.25, 1.0
SOURCES = {
    "squared_variation": f"at least {LEAST_VARIATION:.2f}: what users of LeWM (arXiv:2603.19312) asked of its cost, a "
    "squared distance, before a Franka arm moved",
    "rank": f"below {MOST_RANK:.2f}, half of chance: our choice",
    "ratio_to_copy": "below 1: better than a model in which nothing moves",
}


def worth_metrics(
    plans: RandomPlans | None, errors: HorizonErrors, windows: Windows, rng: np.random.Generator
) -> dict[str, Any]:
    """Return what decides whether to plan with a model, with 95 % intervals over episodes, ready for JSON.

    Args:
        plans: None if no axis of the actions varies.
        errors: Prediction errors by horizon.
        windows: The windows, with the labels of what moves if the data has them.
        rng: Draws the resamples.

    Returns:
        `steps` of the random sequences, `thresholds` with their sources, and `groups`: by what moves, first all
        windows, the number of windows and episodes, `variation`, `squared_variation`, `rank` (None if not measured) and
        `ratio_to_copy` by horizon (plain, and weighted towards what moves).
    """
    steps = plans.steps if plans is not None else windows.horizon
    groups = {ALL: np.ones(len(windows), bool)}
    groups |= {name: chosen.numpy() for name, chosen in what_moves(windows.labels, steps).items()}
    return {
        "steps": steps,
        "thresholds": dict(SOURCES),
        "groups": {
            name: _group(plans, errors, windows.episodes.numpy(), chosen, rng)
            for name, chosen in groups.items()
        },
    }


def _group(
    plans: RandomPlans | None,
    errors: HorizonErrors,
    episodes: np.ndarray,
    chosen: np.ndarray,
    rng: np.random.Generator,
) -> dict[str, Any]:
    own = episodes[chosen]
    found: dict[str, Any] = {"windows": int(chosen.sum()), "episodes": len(np.unique(own))}
    for name in ("variation", "squared_variation", "rank"):
        found[name] = (
            None if plans is None else mean(getattr(plans, name).numpy()[chosen], own, rng).as_json()
        )
    for name, curves in (("ratio_to_copy", errors.plain), ("moving_ratio_to_copy", errors.moving)):
        found[name] = [
            ratio(curves.model[chosen, k], curves.copy[chosen, k], own, rng).as_json()
            for k in range(curves.model.shape[1])
        ]
    return found

"""Gymnasium's checker of environments."""

from __future__ import annotations

import warnings
from typing import Any

import gymnasium
from gymnasium.utils.env_checker import check_env


def faults_of(env_id: str, **options: Any) -> list[str]:
    """Return what Gymnasium's checker warns about in an environment; it raises what it does not accept."""
    made = gymnasium.make(env_id, render_mode="rgb_array", **options).unwrapped
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        check_env(made)
    made.close()
    # Gymnasium cannot make other modes from a bare environment with arguments; that is not a fault of ours.
    return [str(item.message) for item in raised if "alternative render modes" not in str(item.message)]

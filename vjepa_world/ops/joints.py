"""Joints that turn: the changes between their angles."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

#: A full turn in a unit of angles.
TURNS = {"rad": 2 * math.pi, "deg": 360.0}


def short_way(changes: Tensor, units: Sequence[str]) -> Tensor:
    """Return changes of joints from row to row `[..., J]`, those of angles by the shorter way round.

    A joint that is read from -180 to 180 degrees jumps from one end to the other where it turns on, and no joint makes
    half a turn in a row.

    Args:
        changes: In the joints' units.
        units: One for each joint; those that are no angles stay as they are.
    """
    turns = changes.new_tensor([TURNS.get(unit, math.inf) for unit in units])
    whole = torch.round(changes / turns)
    return torch.where(whole == 0, changes, changes - whole * turns.nan_to_num(posinf=0.0))

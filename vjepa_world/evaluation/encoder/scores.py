"""Scores of a set of frames: does the energy to the goal's tokens rise with the distance to the goal?

Legend: M frames, N tokens per frame, D feature width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from planners.protocols import Energy, evaluate_energy
from vjepa_world.evaluation.encoder.frames import GoalFrames
from vjepa_world.evaluation.encoder.tokens import TokenReader
from vjepa_world.evaluation.rank_correlation import share_in_order, spearman
from vjepa_world.evaluation.statistics import EvaluationError

#: Energies that differ by less than this share of the tokens' size are equal: it is what rounding leaves.
_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Variant:
    """An encoder with a number of tokens.

    Attributes:
        encoder: Its name.
        tokens: Tokens of one camera's picture.
        width: D.
    """

    encoder: str
    tokens: int
    width: int


class Score(NamedTuple):
    """Scores of one set of frames; NaN where all energies are equal, so that they have no order.

    Attributes:
        rank: Spearman's rank correlation of energy and distance.
        in_order: Share of the pairs of frames that the energy orders as the distance does.
        lowest: Distance of the frame with the lowest energy.
    """

    rank: float
    in_order: float
    lowest: float


@torch.no_grad()
def energies_of(reader: TokenReader, frames: GoalFrames, energy: Energy) -> tuple[list[Tensor], list[int]]:
    """Return the energies of frames, float64 `[M]`, and the width D of their tokens, for each size of a reader.

    They are computed as a planner computes them, with the tokens of the real frames instead of predicted ones.

    Raises:
        EvaluationError: If an energy is not finite.
    """
    views = [
        torch.cat([goal.unsqueeze(0), view])
        for goal, view in zip(frames.goal_views, frames.views, strict=True)
    ]
    found, widths = [], []
    for tokens in reader(views):
        goal, states = tokens[:1], tokens[None, 1:, None]
        values = (
            evaluate_energy(energy, states, goal, tokens.new_zeros(*states.shape[:3], 1))[0].double().cpu()
        )
        if not values.isfinite().all():
            raise EvaluationError(
                f"energies of {frames.kind} in scene {frames.scene} are not finite; check the encoder's weights."
            )
        if values.max() - values.min() <= _ROUNDING * float(goal.abs().mean()):
            values = torch.zeros_like(values)
        found.append(values)
        widths.append(tokens.shape[-1])
    return found, widths


def score(energies: Tensor, distances: Tensor) -> Score:
    """Return the scores of energies `[M]` at distances `[M]`."""
    if energies.max() == energies.min() or distances.max() == distances.min():
        return Score(math.nan, math.nan, math.nan)
    return Score(
        float(spearman(energies, distances)),
        share_in_order(energies, distances),
        float(distances[energies.argmin()]),
    )

"""The cross-entropy method for discrete actions. Shapes as in `planners.protocols`; A choices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from planners.bounds import Box
from planners.config import CategoricalCEMConfig
from planners.errors import PlannerError
from planners.sampling import elites_of, mask_of
from planners.search_loop import ScoredSamples, Search

_AVAILABLE = 0.5  # a choice is available at a step where its upper bound is above


@dataclass(frozen=True, kw_only=True, eq=False)
class CategoricalCEM(CategoricalCEMConfig, Search[Tensor]):
    r"""Fit the probabilities of choices at each step to the best samples (the elites) in every iteration.

    .. math:: p_k \leftarrow m \, p_k + (1 - m) \, \mathrm{frequency}_k(elites), \qquad
              p_k \leftarrow (1 - \epsilon) \, p_k + \epsilon / A

    It plans for models whose actions are choices (`action_type` "choice"): vectors that are 1 at the choice and 0
    elsewhere. The search starts with equal probabilities, or half at a warm start. A choice whose upper bound is 0 is
    never taken. The most probable sequence is evaluated too.

    Args:
        model, energy, fixed: As in `Search`; `fixed={2: 0}` leaves choice 2 out.
        horizon, num_samples, ...: Options, see `planners.config.CategoricalCEMConfig`.

    Raises:
        PlannerError: If an argument is not allowed, or the model's actions are not choices.

    Source:
        Rubinstein (1999), "The cross-entropy method for combinatorial and continuous optimization".
    """

    plans_choices: ClassVar[bool] = True
    kind: Literal["categorical_cem"] = field(default="categorical_cem", init=False, repr=False)

    def _initial_state(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> Tensor:
        available = (box.high > _AVAILABLE).to(box.low)
        if not bool(available.any(dim=-1).all()):
            raise PlannerError(
                "No choice is left at a step of the plan: the upper bounds of all are 0. Leave fewer choices out."
            )
        equal = available / available.sum(dim=-1, keepdim=True)
        return equal if starts is None else (equal + starts[:, 0]) / 2

    def _starts(self, box: Box, warm_start: Tensor | None) -> Tensor | None:
        starts = super()._starts(box, warm_start)
        if starts is None:
            return None
        available = (box.high > _AVAILABLE).unsqueeze(1)
        return _one_hot(torch.where(available, starts, -torch.inf).argmax(dim=-1), starts)

    def _sample(self, state: Tensor, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        shape = (self.num_samples, state.shape[1], 1)
        drawn = [torch.rand(shape, generator=g, device=g.device, dtype=state.dtype) for g in generators]
        share = torch.stack([numbers.to(state) for numbers in drawn])  # [B, S, K, 1]
        upper = state.cumsum(dim=-1).unsqueeze(1)
        # Of the choices with a probability the first whose cumulative one is above; rounding may leave none.
        above = (upper > share * upper[..., -1:]) & (state > 0).unsqueeze(1)
        return _one_hot(above.int().argmax(dim=-1), state)

    def _refit(self, state: Tensor, box: Box, scored: ScoredSamples) -> tuple[Tensor, Tensor]:
        elites = elites_of(scored.energies, self.num_elites)
        frequency = torch.stack(
            [s[indices[indices >= 0]].mean(dim=0) for s, indices in zip(scored.samples, elites, strict=True)]
        )
        available = (box.high > _AVAILABLE).to(state)
        equal = available / available.sum(dim=-1, keepdim=True)
        fitted = self.momentum * state + (1 - self.momentum) * frequency
        mixed = (1 - self.exploration) * fitted + self.exploration * equal
        return mixed, mask_of(elites, scored.samples.shape[1])

    def _final_candidates(self, state: Tensor, box: Box) -> Tensor | None:
        return _one_hot(state.argmax(dim=-1), state).unsqueeze(1)

    def _spread(self, state: Tensor, box: Box) -> Tensor:
        """Return the probability of choices other than the likeliest, `[B]`, averaged over the steps."""
        return torch.stack([(1 - p.amax(dim=-1)).mean() for p in state])


def _one_hot(choices: Tensor, like: Tensor) -> Tensor:
    """Return indices `[...]` as vectors `[..., A]` of the type of `like [..., A]`."""
    return F.one_hot(choices, like.shape[-1]).to(like)

"""Gradient descent through the world model. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.config import GradientDescentConfig
from planners.errors import PlannerError
from planners.sampling import sample_uniform
from planners.scoring import Scorer
from planners.search_loop import ScoredSamples, Search

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's published constants."""


@dataclass
class AdamState:
    """The current points of all starts and Adam's moments; every tensor is `[B, S, K, A]`.

    Attributes:
        position: Actions in half-widths from the centre of the action bounds, from -1 to 1.
        gradient: Gradient of the energy by `position`, at the last evaluation.
        mean: Decaying average of the gradients.
        square: Decaying average of the squared gradients.
        steps: Number of steps made.
    """

    position: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    steps: int = 0

    def step(self, lr: float) -> None:
        """Make a step of Adam. It is written out because importing `torch.optim` takes seconds at the first plan."""
        self.steps += 1
        self.mean = MEAN_DECAY * self.mean + (1 - MEAN_DECAY) * self.gradient
        self.square = SQUARE_DECAY * self.square + (1 - SQUARE_DECAY) * self.gradient.square()
        mean = self.mean / (1 - MEAN_DECAY**self.steps)
        root = (self.square / (1 - SQUARE_DECAY**self.steps)).sqrt()
        self.position = (self.position - lr * mean / (root + EPSILON)).clamp(-1, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class GradientDescent(GradientDescentConfig, Search[AdamState]):
    r"""Follow the gradient of the energy from several starts at once, each with Adam, within the action bounds.

    .. math:: u \leftarrow \mathrm{clip}\big(u - \alpha \, \mathrm{Adam}(\nabla_u E), -1, 1\big), \qquad
              a = centre + half\_width \cdot u

    The first start is the centre of the action bounds (or the warm start), the others are uniform within the bounds.
    The energy must be differentiable, and the model's `rollout` must keep the graph of actions that require a gradient.
    Where an energy or its gradient is not finite, the gradient counts as zero. Iteration i of `Plan.iterations` is
    evaluated before step i; the result of the last step is evaluated at the end, without a gradient, if the deadline
    leaves time for it. The plan is the best of all evaluated sequences.

    Args:
        model, energy, fixed: As in `Search`.
        horizon, num_samples, ...: Options, see `planners.config.GradientDescentConfig`.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid; at the first plan, if
            the energy does not depend on the actions.

    Source:
        Adam: Kingma and Ba (arXiv:1412.6980). Through a latent world model: Zhou et al., DINO-WM (arXiv:2411.04983,
        appendix).
    """

    kind: Literal["gradient"] = field(default="gradient", init=False, repr=False)

    def _initial_state(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> AdamState:
        if torch.is_inference_mode_enabled():
            raise PlannerError(
                "gradient descent was called under torch.inference_mode, where nothing has a gradient; allowed is "
                "torch.no_grad. Encode and plan outside of inference_mode."
            )
        first = box.centre.unsqueeze(1) if starts is None else starts
        starts = torch.cat(
            [first, sample_uniform(box, self.num_samples, generators)[:, first.shape[1] :]], dim=1
        )
        edges = box.per_sample()
        position = torch.where(edges.half_width > 0, (starts - edges.centre) / edges.half_width, 0.0)
        zeros = torch.zeros_like(position)
        return AdamState(position, zeros, zeros, zeros)

    def _sample(self, state: AdamState, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return self._final_candidates(state, box)

    def _final_candidates(self, state: AdamState, box: Box) -> Tensor:
        edges = box.per_sample()
        return edges.clamp(edges.centre + edges.half_width * state.position)

    def _score(self, scorer: Scorer, state: AdamState, box: Box, samples: Tensor) -> Tensor:
        gradients: list[Tensor] = []

        def energy_of(samples: Tensor) -> Tensor:
            with torch.enable_grad():
                actions = samples.detach().requires_grad_()
                energy = scorer.score(actions)
                gradients.append(_gradient(energy, actions))
            return energy.detach()

        energies = scorer(samples, energy_of)
        gradient = torch.zeros_like(samples)
        gradient[:, : sum(part.shape[1] for part in gradients)] = torch.cat(gradients, dim=1)
        finite = torch.isfinite(gradient).all(-1).all(-1) & torch.isfinite(energies)
        state.gradient = torch.where(finite[:, :, None, None], gradient * box.per_sample().half_width, 0.0)
        return energies

    def _refit(self, state: AdamState, box: Box, scored: ScoredSamples) -> tuple[AdamState, Tensor]:
        state.step(self.lr)
        return state, torch.ones_like(scored.energies, dtype=torch.bool)  # every start continues

    def _spread(self, state: AdamState, box: Box) -> Tensor:
        if self.num_samples == 1:
            return state.position.new_zeros(len(state.position))
        pairs = zip(state.position, box.half_width, strict=True)
        between = [position.std(dim=0)[half_width > 0] for position, half_width in pairs]
        return torch.stack([b.mean() if b.numel() else b.new_zeros(()) for b in between])


def _gradient(energy: Tensor, actions: Tensor) -> Tensor:
    """Return the gradient `[B, S, K, A]` of energies `[B, S]`, each by its own actions."""
    gradient = None
    if energy.requires_grad:
        try:
            [gradient] = torch.autograd.grad(energy.sum(), actions, allow_unused=True)
        except RuntimeError as error:
            raise PlannerError(
                f"The gradient of the energy by the actions could not be computed: {error} Gradient descent needs a "
                "world model and an energy that do not write into what they were given. Choose another planner, or "
                "work on copies there."
            ) from error
    if gradient is None:
        raise PlannerError(
            "The energy does not depend on the actions in a way that has a gradient; gradient descent needs a world "
            "model whose rollout keeps the graph, and a differentiable energy. Choose another planner, or remove "
            "no_grad from the model's rollout."
        )
    return gradient

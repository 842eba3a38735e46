"""Gradient descent through the world model. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.checks import check_positive
from planners.errors import PlannerError
from planners.protocols import WorldModel
from planners.sampling import uniform
from planners.scoring import Scorer
from planners.search import Scored, Search, SearchOptions

MEAN_DECAY, SQUARE_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's, as published."""


@dataclass
class Descent:
    """Where the restarts are, and what Adam remembers of their way; every tensor is `[B, S, K, A]`.

    Attributes:
        place: In half-widths from the box's centre, from -1 to 1.
        gradient: The energy's by `place`, where it was scored last.
        mean: Of the gradients so far.
        square: Of the gradients' squares so far.
        steps: Steps made.
    """

    place: Tensor
    gradient: Tensor
    mean: Tensor
    square: Tensor
    steps: int = 0

    def step(self, lr: float) -> None:
        """Make a step of Adam, written out: to import `torch.optim`'s takes seconds at the first plan."""
        self.steps += 1
        self.mean = MEAN_DECAY * self.mean + (1 - MEAN_DECAY) * self.gradient
        self.square = SQUARE_DECAY * self.square + (1 - SQUARE_DECAY) * self.gradient.square()
        mean = self.mean / (1 - MEAN_DECAY**self.steps)
        root = (self.square / (1 - SQUARE_DECAY**self.steps)).sqrt()
        self.place = (self.place - lr * mean / (root + EPSILON)).clamp(-1, 1)


class GradientDescent(Search[Descent]):
    r"""Follow the energy's gradient down from several starts at once, each by Adam, inside the box.

    .. math:: u \leftarrow \mathrm{clip}\big(u - \alpha \, \mathrm{Adam}(\nabla_u E), -1, 1\big), \qquad
              a = centre + half \cdot u

    The first restart begins at the box's centre (or the warm start), the others uniformly in the box. The model's
    `rollout` must keep the graph of actions that require a gradient. Where an energy or its gradient is not finite, the
    gradient counts as zero. Iteration i of the trace is scored before step i; where the last step leads is scored at
    the end, without a gradient, if the deadline leaves time for it. The plan is the best of all that was scored.

    Args:
        model, horizon, fixed, slice_size: As in `Search`.
        energy: What is minimised; it must be differentiable.
        num_samples: S, restarts; 8 by default.
        num_iterations: Steps of Adam, at least 1; 20 by default.
        lr: Its rate :math:`\alpha`, in half-widths of the box.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box; at the first plan, if the
            energy does not depend on the actions.

    Source:
        Adam: Kingma and Ba (arXiv:1412.6980). Through a latent world model: Zhou et al., DINO-WM (arXiv:2411.04983,
        appendix).
    """

    SAMPLES, ITERATIONS = 8, 20

    def __init__(
        self,
        model: WorldModel,
        *,
        lr: float = 0.1,
        **options: Unpack[SearchOptions],
    ) -> None:
        super().__init__(model, **options)
        self.lr = check_positive("lr", lr)

    def _begin(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> Descent:
        if torch.is_inference_mode_enabled():
            raise PlannerError(
                "gradient descent was called under torch.inference_mode, where nothing has a gradient; allowed is "
                "torch.no_grad. Encode and plan outside of inference_mode."
            )
        first = box.centre.unsqueeze(1) if starts is None else starts
        begun = torch.cat([first, uniform(box, self.num_samples, generators)[:, first.shape[1] :]], dim=1)
        edges = box.per_sample()
        place = torch.where(edges.half > 0, (begun - edges.centre) / edges.half, 0.0)
        none = torch.zeros_like(place)
        return Descent(place, none, none, none)

    def _sample(self, belief: Descent, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return self._candidates(belief, box)

    def _candidates(self, belief: Descent, box: Box) -> Tensor:
        edges = box.per_sample()
        return edges.clamp(edges.centre + edges.half * belief.place)

    def _energies(self, scorer: Scorer, belief: Descent, box: Box, samples: Tensor) -> Tensor:
        gradients: list[Tensor] = []

        def energy_of(part: Tensor) -> Tensor:
            with torch.enable_grad():
                actions = part.detach().requires_grad_()
                energy = scorer.score(actions)
                gradients.append(_gradient(energy, actions))
            return energy.detach()

        energies = scorer(samples, energy_of)
        gradient = torch.zeros_like(samples)
        gradient[:, : sum(part.shape[1] for part in gradients)] = torch.cat(gradients, dim=1)
        usable = torch.isfinite(gradient).all(-1).all(-1) & torch.isfinite(energies)
        belief.gradient = torch.where(usable[:, :, None, None], gradient * box.per_sample().half, 0.0)
        return energies

    def _refit(self, belief: Descent, box: Box, scored: Scored) -> tuple[Descent, Tensor]:
        belief.step(self.lr)
        return belief, torch.ones_like(scored.energies, dtype=torch.bool)  # every restart goes on

    def _spread(self, belief: Descent, box: Box) -> Tensor:
        if self.num_samples == 1:
            return belief.place.new_zeros(len(belief.place))
        between = [place.std(dim=0)[half > 0] for place, half in zip(belief.place, box.half, strict=True)]
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

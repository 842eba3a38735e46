"""A plan and what the model imagines of it, step by step.

Legend: K horizon, A action size, P state size, N tokens per frame, D width, H W pixels, s pixels of a decoded picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from planners.protocols import Energy, Plan, energy_for, evaluate_energy, needs_states
from vjepa_world.models.context import Context
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.token_error import token_error
from vjepa_world.planning.action_axes import ActionSpace, action_space, space_of


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Features decoded to pictures: `now` and `goal` `[3, s, s]`, `imagined [K, 3, s, s]`; uint8, on the CPU."""

    now: Tensor
    goal: Tensor
    imagined: Tensor


@dataclass(frozen=True, eq=False)
class ImaginedPlan:
    """A plan of one problem and what the model imagines of it.

    Attributes:
        plan: The plan.
        state: The robot's state before it, `[P]`.
        bounds: Lowest and highest action, `[2, A]`.
        image: The camera's image now, uint8 `[3, H, W]`.
        goal_image: The image to reach, uint8 `[3, H, W]`.
        energy_now: Energy of the observation.
        energies: Energy of each imagined step alone, `[K]`.
        distances: L1 distance of each token to the goal's, now and after each step, `[K + 1, rows, columns]`; None
            where tokens are not positions in the image.
        decoded: The features as pictures; None without a decoder.
        space: What the numbers of actions mean; None where their count alone decides.
    """

    plan: Plan
    state: Tensor
    bounds: Tensor
    image: Tensor
    goal_image: Tensor
    energy_now: float
    energies: Tensor
    distances: Tensor | None
    decoded: DecodedFrames | None
    space: ActionSpace | None = None

    @property
    def action_space(self) -> ActionSpace:
        """What the numbers of actions mean."""
        return self.space or action_space(self.plan.actions.shape[2])


@torch.no_grad()
def imagine_plan(
    model: LatentWorldModel,
    energy: Energy,
    context: Context,
    goal: Tensor,
    plan: Plan,
    *,
    image: Tensor,
    goal_image: Tensor,
) -> ImaginedPlan:
    """Imagine a plan once more, and evaluate each step alone.

    Args:
        model: The model that was planned with.
        energy: What was minimised.
        context: Of one problem.
        goal: Its goal's features, `[1, N, D]`.
        plan: Its plan.
        image: The camera's image now, uint8 `[3, H, W]`.
        goal_image: The image to reach, uint8 `[3, H, W]`.
    """
    energy = energy_for(energy, context, goal)
    now, actions = context.features[:, -1], plan.actions[:, None]
    if needs_states(energy):
        imagined, states = model.rollout_with_states(context, actions)
    else:
        imagined, states = model.rollout(context, actions), None
    distances = None
    if model.config.latents.kind != "queries":
        features = torch.cat([now, imagined[0, 0]])
        distances = token_error(features, goal).unflatten(-1, model.config.grid).cpu()
    return ImaginedPlan(
        plan=plan,
        state=context.states[0, -1].cpu(),
        bounds=torch.stack([model.action_low, model.action_high]).float().cpu(),
        image=image,
        goal_image=goal_image,
        energy_now=energy_now(energy, context, goal, plan, model.hold_action(context)),
        energies=_energies(energy, imagined, goal, actions, states),
        distances=distances,
        decoded=_decoded(model, now[0], goal[0], imagined[0, 0]),
        space=space_of(model),
    )


def energy_now(
    energy: Energy, context: Context, goal: Tensor, plan: Plan, hold: Tensor | None = None
) -> float:
    """Return the energy of the observation, as if it had been imagined with no motion.

    Arguments are those of :func:`imagine_plan`. `hold [1, A]` is the action of no motion; None stands for zeros.
    """
    no_motion = torch.zeros_like(plan.actions[:, None, :1]) if hold is None else hold[:, None, None]
    energy = energy_for(energy, context, goal)
    observed = context.features[:, None, -1:], goal, no_motion, context.states[:, None, -1:]
    return float(_energies(energy, *observed)[0])


def _energies(
    energy: Energy, imagined: Tensor, goal: Tensor, actions: Tensor, states: Tensor | None
) -> Tensor:
    """Return the energies `[K]` of imagined features `[1, 1, K, N, D]`, each step alone; states `[1, 1, K, P]`."""
    energies = []
    for step in range(imagined.shape[2]):
        part = slice(step, step + 1)
        state = None if states is None else states[:, :, part]
        energies.append(evaluate_energy(energy, imagined[:, :, part], goal, actions[:, :, part], state)[0, 0])
    return torch.stack(energies).float().cpu()


def _decoded(model: LatentWorldModel, now: Tensor, goal: Tensor, imagined: Tensor) -> DecodedFrames | None:
    """Return features now and of the goal `[N, D]` and imagined ones `[K, N, D]` as pictures."""
    if model.decoder is None:
        return None
    pictures = model.picture(torch.cat([now[None], goal[None], imagined])).cpu()
    return DecodedFrames(pictures[0], pictures[1], pictures[2:])

"""The losses of fine-tuning, one function per equation: the action-conditioned prediction, and the auxiliary modules.

Legend: B windows, T frames, N0 frozen tokens per frame, N tokens as the predictor sees them, D width, A action size,
S state size, K steps of the rollout.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.token_error import token_error
from vjepa_world.training.finetune.micro_batch import MicroBatch
from vjepa_world.training.finetune.predictions import Predictions

#: Below this error [standard deviations] the goal reader's loss is a square.
_SMALL_ERROR = 0.2


def prediction_losses(predicted: Predictions, batch: MicroBatch, kind: str = "l1") -> dict[str, Tensor]:
    r"""Return the losses of teacher forcing (`loss_teacher`) and of the rollout (`loss_rollout`), if there is one.

    .. math::
        L = \mathrm{mean}_{b,t,n}\, w_{btn}\, e(\hat z_{btn}, z_{btn})

    Args:
        predicted: The predictions.
        batch: The true features z, and the weights w of their tokens.
        kind: Which error e, see :func:`vjepa_world.ops.token_error.token_error`.

    Returns:
        Scalars by name.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3), there with l1 and w = 1.
    """
    true = batch.features
    error = token_error(predicted.teacher_forced, true[:, 1:], kind)
    losses = {"loss_teacher": (error * batch.teacher_forced_weights).mean()}
    steps = predicted.rollout.shape[1]
    if steps:
        error = token_error(predicted.rollout, true[:, 1 : steps + 1], kind)
        losses["loss_rollout"] = (error * batch.rollout_weights).mean()
    return losses


def state_loss(model: LatentWorldModel, predicted: Tensor, batch: MicroBatch) -> Tensor:
    r"""Return :math:`\mathrm{mean}\,|\hat s - s| / \sigma_s` for predicted states of frames 1.., `[B, T-1, S]`."""
    if not predicted.numel():  # a robot without a state
        return predicted.sum()
    spread = model.predictor.robot(batch.embodiment).state_std
    return ((predicted.float() - batch.states[:, 1:]).abs() / spread).mean()


def reconstruction_loss(model: LatentWorldModel, batch: MicroBatch) -> Tensor:
    r"""Return :math:`\mathrm{mean}\,w\,|r(c(f)) - f|`, which alone trains the learned tokens c.

    f are the frozen features `[B, T, N0, D]`, r reconstructs them from the tokens. The predictor's loss does not train
    the tokens: it is lowest for tokens that are all alike.
    """
    assert model.latents is not None
    frozen = batch.frozen.flatten(0, 1)
    back = model.latents.reconstruct(model.compact(frozen))
    return (token_error(back, frozen) * batch.reconstruction_weights.flatten(0, 1)).mean()


def inverse_loss(model: LatentWorldModel, batch: MicroBatch) -> Tensor:
    r"""Return the mean over windows of :math:`\mathrm{mean}_{i<k}\,|\hat a_i - a_i| / \sigma_a`, frames 0 and k given.

    A scalar. k is `batch.later_frame`, at most the inverse model's horizon.
    """
    assert model.inverse is not None
    robot, later = model.predictor.robot(batch.embodiment), batch.later_frame
    rows = torch.arange(len(batch), device=later.device)
    state = robot.standard_states(batch.states[:, 0])
    first, last = batch.features[:, 0], batch.features[rows, later]
    predicted = model.inverse(first, last, state, later, batch.embodiment)
    steps = min(predicted.shape[1], batch.actions.shape[1])
    error = (
        (predicted[:, :steps].float() - robot.standard_actions(batch.actions[:, :steps])).abs().mean(dim=-1)
    )
    counted = torch.arange(steps, device=later.device) < later.unsqueeze(1)
    return ((error * counted).sum(dim=1) / later).mean()


def goal_reader_loss(model: LatentWorldModel, batch: MicroBatch) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return the goal reader's loss, its error :math:`\mathrm{mean}\,|\hat s_g - s_g|/\sigma_s`, and no motion's.

    Scalars. From each frame, the goals are all frames of its window and of another window of the same episode: the
    neighbour in the batch (`draw_step` with `in_pairs`), if that is of the same episode. The loss is smooth L1: most
    goals show the same gripper as the present frame, and with plain L1 their constant pull to no change wins over the
    few that show another one.
    """
    assert model.goal_reader is not None
    robot = model.predictor.robot(batch.embodiment)
    now, goal = _readings(batch.episodes, batch.features.shape[1])
    states = batch.states.flatten(0, 1)
    change = states[goal] - states[now]
    angles = list(robot.config.state_angles)
    change[..., angles] = torch.remainder(change[..., angles] + math.pi, math.tau) - math.pi
    wanted = change / robot.state_std
    as_now, as_goal = model.goal_reader.look(batch.features.flatten(0, 1))
    measured = robot.standard_states(states[now])
    read = model.goal_reader.change(as_now[now], as_goal[goal], measured, batch.embodiment)
    loss = F.smooth_l1_loss(read.float(), wanted, beta=_SMALL_ERROR)
    return loss, (read.float() - wanted).abs().mean(), wanted.abs().mean()


def _readings(episodes: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Return present frames and goals, int64 `[R]` each, that number the T frames of all windows in turn."""
    windows = torch.arange(len(episodes), device=episodes.device)
    partner = (windows ^ 1).clamp(max=len(episodes) - 1)
    partner = torch.where(episodes[partner] == episodes, partner, windows)
    numbers = torch.arange(len(episodes) * frames, device=episodes.device).view(-1, frames)
    shape = (-1, frames, 2 * frames)
    goals = torch.cat([numbers, numbers[partner]], dim=1)
    return numbers[:, :, None].expand(shape).flatten(), goals[:, None].expand(shape).flatten()


def decoder_loss(model: LatentWorldModel, batch: MicroBatch) -> Tensor:
    r"""Return :math:`\mathrm{mean}\,|g(z) - x|`, a scalar, over the pixels, 0 to 1, of each window's decoded frame."""
    assert model.decoder is not None
    assert batch.images is not None
    rows = torch.arange(len(batch), device=batch.decoded_frame.device)
    true = batch.images[rows, batch.decoded_frame].float() / 255
    return (model.decoder(batch.features[rows, batch.decoded_frame]).float() - true).abs().mean()

"""What is trained beside the predictor, one function an equation: states, learned tokens, inverse model, decoder.

Legend: B windows, T frames, N tokens a frame, D width, A action size, S state size, K steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.token_error import token_error
from vjepa_world.training.finetune.micro_batches import Piece


def state_loss(model: LatentWorldModel, predicted: Tensor, piece: Piece) -> Tensor:
    r"""Return :math:`\mathrm{mean}\,|\hat s - s| / \sigma_s` for predicted states of frames 1.., `[B, T-1, S]`."""
    spread = model.predictor.robot(piece.embodiment).state_std
    return ((predicted.float() - piece.states[:, 1:]).abs() / spread).mean()


def reconstruction_loss(model: LatentWorldModel, piece: Piece) -> Tensor:
    r"""Return :math:`\mathrm{mean}\,w\,|r(c(f)) - f|`, which alone trains the learned tokens c.

    What the predictor wants of them is that they be easy to predict, and tokens that are all alike are the easiest.
    """
    assert model.latents is not None
    frozen = piece.frozen.flatten(0, 1)
    back = model.latents.reconstruct(model.compact(frozen))
    return (token_error(back, frozen) * piece.reconstruction_weights.flatten(0, 1)).mean()


def inverse_loss(model: LatentWorldModel, piece: Piece) -> Tensor:
    r"""Return the mean over windows of :math:`\mathrm{mean}_{i<k}\,|\hat a_i - a_i| / \sigma_a`, frames 0 and k given.

    k is `piece.later`, at most the inverse model's horizon.
    """
    assert model.inverse is not None
    robot, later = model.predictor.robot(piece.embodiment), piece.later
    rows = torch.arange(len(piece), device=later.device)
    state = robot.standard_states(piece.states[:, 0])
    now, then = piece.features[:, 0], piece.features[rows, later]
    guessed = model.inverse(now, then, state, later, piece.embodiment)
    steps = min(guessed.shape[1], piece.actions.shape[1])
    error = (guessed[:, :steps].float() - robot.standard_actions(piece.actions[:, :steps])).abs().mean(dim=-1)
    counted = torch.arange(steps, device=later.device) < later.unsqueeze(1)
    return ((error * counted).sum(dim=1) / later).mean()


def decoder_loss(model: LatentWorldModel, piece: Piece) -> Tensor:
    r"""Return :math:`\mathrm{mean}\,|g(z) - x|` over the pixels, 0 to 1, of frame `piece.shown` of each window."""
    assert model.decoder is not None
    assert piece.pictures is not None
    rows = torch.arange(len(piece), device=piece.shown.device)
    true = piece.pictures[rows, piece.shown].float() / 255
    return (model.decoder(piece.features[rows, piece.shown]).float() - true).abs().mean()

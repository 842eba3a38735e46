"""Errors of a linear and of an attentive probe on the features of recorded scenes.

Legend: S scenes, T frames, N tokens, D width, K numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_world.models.config import ProbeConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.ops.ridge import linear_classifier, linear_probe
from vjepa_world.ops.schedules import warmup_constant_cooldown
from vjepa_world.ops.sincos import sincos_positions
from vjepa_world.training.probe.config import Setting
from vjepa_world.training.probe.data import ProbeData
from vjepa_world.training.probe.sweep import ProbeSweep

#: Cells along a side that a frame's tokens are averaged to for the linear probe.
POOLED = 4

#: Learning rates of the attentive probe; the best one on held-out training scenes is used.
LRS = (1e-3, 3e-3)

STEPS, BATCH = 1000, 64
_AT_ONCE = 64


@dataclass(frozen=True)
class Question:
    """Tokens `[S, N, D]` and targets, numbers `[S, K]` or classes `[S]`, of the training and of the test scenes."""

    train: tuple[Tensor, Tensor]
    test: tuple[Tensor, Tensor]

    @property
    def classes(self) -> bool:
        """Whether targets are classes."""
        return self.train[1].ndim == 1


@torch.no_grad()
def tokens(encoder: VideoEncoder, clips: Tensor) -> Tensor:
    """Return the LayerNormed tokens of uint8 clips `[S, T, C, H, W]`, `[S, N, D]` float16."""
    parts = []
    for chunk in clips.split(_AT_ONCE):
        fitted = encoder.preprocessing(chunk.flatten(0, 1)).unflatten(0, chunk.shape[:2])
        features = encoder(fitted).float()
        parts.append(F.layer_norm(features, features.shape[-1:]).half())
    return torch.cat(parts)


def linear_errors(question: Question, grid: int) -> Tensor:
    """Return the error of a linear probe on each test scene, `[S]`: Euclidean, or 1 where a class is wrong.

    Args:
        question: Tokens and targets.
        grid: Tokens along a side of a frame.
    """
    train, test = ((_pooled(clips, grid), targets) for clips, targets in (question.train, question.test))
    return (linear_classifier if question.classes else linear_probe)(train, test).errors


def _pooled(features: Tensor, grid: int) -> Tensor:
    frames = features.float().unflatten(1, (-1, grid, grid)).permute(0, 1, 4, 2, 3)
    return F.adaptive_avg_pool2d(frames.flatten(0, 1), POOLED).unflatten(0, frames.shape[:2]).flatten(1)


def attentive_errors(question: Question, grid: int, heads: int, outputs: int, seed: int) -> Tensor:
    """Return the error of an attentive probe of one block on each test scene, `[S]`, as :func:`linear_errors`.

    Its learning rate is the better of :data:`LRS` on held-out training scenes.

    Channels are standardised, and position embeddings are added: rotary features hold little of a token's position, so
    a query over all tokens could not recover it otherwise.

    Args:
        question: Tokens and targets.
        grid: Tokens along a side of a frame.
        heads: Attention heads.
        outputs: Classes, or numbers.
        seed: Seed of the weights and of the batches.
    """
    (fit, targets), (tested, wanted) = question.train, question.test
    count = len(fit)
    positions = sincos_positions(fit.shape[1] // grid**2, grid, grid, fit.shape[-1])
    mean, std = _statistics(fit)
    parts = {
        "train": torch.arange(round(0.85 * count)),
        "val": torch.arange(round(0.85 * count), count),
        "test": torch.arange(count, count + len(tested)),
    }
    data = ProbeData(
        features=((torch.cat([fit, tested]).float() - mean) / std + positions).half(),
        targets=torch.cat([targets, wanted]),
        groups=torch.arange(count + len(tested)),
        labels=tuple(str(number) for number in range(outputs)),
        clips=parts,
    )
    config = ProbeConfig(embed_dim=fit.shape[-1], num_heads=heads, depth=1, num_outputs=outputs)
    settings = [Setting(lr, 0.01) for lr in LRS]
    sweep = ProbeSweep(config, settings, data, seed=seed, device=torch.device("cpu"), precision="auto")
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        drawn = torch.randint(len(parts["train"]), (BATCH,), generator=generator)
        sweep.step(drawn, warmup_constant_cooldown(step, STEPS, 1.0, 0.05, 0.5))
    best = sweep.best(sweep.trials(BATCH))
    outputs_ = sweep.outputs(best, parts["test"], BATCH)
    if question.classes:
        return (outputs_.argmax(dim=1) != wanted).double()
    return (outputs_ - wanted).norm(dim=1)


def _statistics(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and spread `[D]` of tokens `[S, N, D]`."""
    rows = features.float().flatten(0, 1)
    return rows.mean(dim=0), rows.std(dim=0).clamp_min(1e-3)

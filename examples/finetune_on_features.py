"""Train a world model on features that are already in memory, from any encoder, and plan with it.

The features here are those of a toy: a bump on a grid of 4 x 4 tokens that actions move. Replace `record` by your own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

import vjepa_world as vw
from planners import CEM, GoalL1, make_generators

SIDE, WIDTH = 4, 8


def encode(positions: Tensor) -> Tensor:
    """Return features `[T, N, D]` of positions `[T, 2]` in the unit square."""
    places = (torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE)) + 0.5) / SIDE
    bump = torch.exp(-(positions[:, None] - places).square().sum(dim=-1) / 0.1)
    scales = torch.linspace(0.5, 2.0, WIDTH)
    return bump[..., None] ** scales


def record(generator: torch.Generator, steps: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Return an episode: features `[T, N, D]`, states `[T, S]` and actions `[T-1, A]`."""
    actions = 0.3 * torch.rand(steps, 2, generator=generator) - 0.15
    positions = [torch.rand(2, generator=generator)]
    for action in actions:
        positions.append((positions[-1] + action).clamp(0, 1))
    states = torch.stack(positions)
    return encode(states), states, states.diff(dim=0)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--run", type=Path, default=Path("runs/finetune/features"), help="the new run folder")
parser.add_argument("--recorded", type=int, default=100, help="episodes to train on")
parser.add_argument("--steps", type=int, default=1000)
arguments = parser.parse_args()

generator = torch.Generator().manual_seed(0)
recorded = [record(generator) for _ in range(arguments.recorded)]
dataset = vw.InMemoryDataset(
    [vw.EpisodeArrays(states=states.numpy(), actions=actions.numpy()) for _, states, actions in recorded],
    fps=4.0,
)
config = vw.FinetuneConfig(
    latents=vw.LatentsConfig(kind="none"),
    predictor=vw.ActionPredictorConfig(embed_dim=48, depth=2, num_heads=2),
    inverse=vw.InverseConfig(horizon=0),
    decoder=vw.DecoderConfig(image_size=0),
    objective=vw.FinetuneObjective(rollout=1),
    trainer=vw.TrainerConfig(steps=arguments.steps, batch_size=24),
)
features = [tokens for tokens, _, _ in recorded]
result = vw.finetune(config, dataset=dataset, features=features, folder=arguments.run)
last = result.metrics()[-1]
print(f"validation error {last['val_error']:.4f}, of the unchanged frame {last['val_copy_last_frame']:.4f}")

# Plan one step, from the features of one position to those of another.
model, start, end = result.model, torch.tensor([[0.4, 0.4]]), torch.tensor([[0.5, 0.3]])
planner = CEM(model, energy=GoalL1(), num_samples=64, num_iterations=4, num_elites=8)
context = model.encode_features(encode(start)[None], start[None])
plan = planner.plan(context, model.goal_features(encode(end)), generators=make_generators([0]))
print(f"planned {plan.actions[0, 0].tolist()}, true {(end - start)[0].tolist()}")

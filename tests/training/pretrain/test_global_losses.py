"""Losses with statistics of the global batch: two processes equal one with all rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from vjepa_world.ops.regularizers import covariance_penalty, random_directions, sigreg, variance_hinge
from vjepa_world.training.pretrain.losses.contrastive import nt_xent

WORLD = 2
ROWS, INPUT, WIDTH = 12, 5, 4
DIRECTIONS = random_directions(WIDTH, 6, torch.Generator().manual_seed(0))

Mean = Callable[[Tensor], Tensor]


def losses_and_gradient(
    inputs: Tensor, weights: Tensor, mean: Mean, rows: Mean, rank: int, world: int
) -> dict[str, Tensor]:
    """Return every loss of one process, of features that are `inputs [M, 2, INPUT]` times the weights."""
    first, second = (inputs @ weights).unbind(1)
    return {
        "variance": variance_hinge(first, gamma=3.0, mean=mean, processes=world),
        "covariance": covariance_penalty(first, mean=mean, processes=world),
        "sigreg": sigreg(first, DIRECTIONS, mean=mean, processes=world),
        "nt_xent": nt_xent(first, second, 0.5, rows=rows, rank=rank),
    }


def problem() -> tuple[Tensor, Tensor]:
    """Return inputs whose halves differ, so that the halves' own statistics are not the whole's, and weights."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(ROWS, 2, INPUT, generator=generator)
    inputs[ROWS // 2 :] += 1
    return inputs, torch.randn(INPUT, WIDTH, generator=generator)


def gradients(found: dict[str, Tensor], weights: Tensor) -> dict[str, Tensor]:
    return {
        name: torch.autograd.grad(loss, weights, retain_graph=True)[0] for name, loss in sorted(found.items())
    }


class Sum(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous().clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return Sum.forward(ctx, grads[0])


def averaged(x: Tensor) -> Tensor:
    return Sum.apply(x) / WORLD


def gathered(x: Tensor, rank: int) -> Tensor:
    """Return the rows of all processes: a sum in which each has its own position."""
    return Sum.apply(torch.cat([x if other == rank else torch.zeros_like(x) for other in range(WORLD)]))


def process(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    inputs, weights = problem()
    weights.requires_grad_()
    found = losses_and_gradient(
        inputs.chunk(WORLD)[rank],
        weights,
        mean=averaged,
        rows=lambda x: gathered(x, rank),
        rank=rank,
        world=WORLD,
    )
    slopes = gradients(found, weights)
    for slope in slopes.values():
        dist.all_reduce(slope)
    losses = {name: loss.detach() for name, loss in found.items()}
    torch.save((losses, {name: slope / WORLD for name, slope in slopes.items()}), f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    folder = tmp_path_factory.mktemp("two")
    mp.spawn(process, (str(folder),), nprocs=WORLD)
    return [torch.load(Path(folder) / f"{rank}.pt") for rank in range(WORLD)]


def alone(inputs: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    weights = problem()[1].requires_grad_()
    found = losses_and_gradient(inputs, weights, mean=lambda x: x, rows=lambda x: x, rank=0, world=1)
    return found, gradients(found, weights)


@pytest.mark.parametrize("name", ["variance", "covariance", "sigreg", "nt_xent"])
def test_two_processes_find_the_loss_and_gradient_of_the_global_batch(
    name: str, together: list[tuple[dict[str, Tensor], dict[str, Tensor]]]
) -> None:
    losses, slopes = alone(problem()[0])
    mean = torch.stack([found[name] for found, _ in together]).mean()
    torch.testing.assert_close(mean, losses[name], rtol=1e-5, atol=1e-6)
    for _, found in together:
        torch.testing.assert_close(found[name], slopes[name], rtol=1e-4, atol=1e-5)
    # Each process alone would compute another value.
    halves = [alone(half)[1][name] for half in problem()[0].chunk(WORLD)]
    assert float((torch.stack(halves).mean(dim=0) - slopes[name]).norm()) > 0.02 * float(slopes[name].norm())
    if name != "nt_xent":  # the statistic is one number, known to every process
        torch.testing.assert_close(together[0][0][name], together[1][0][name], rtol=0, atol=0)

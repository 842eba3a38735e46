"""Several processes that train as one: ranks, the process group, and collective operations.

Legend: W processes, M rows of each.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vjepa_world.errors import TrainingError


@dataclass(frozen=True)
class Ranks:
    """Index of this process, number of processes, and index among those of its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes logs and checkpoints."""
        return self.rank == 0


def ranks() -> Ranks:
    """Return the ranks of this process; a single process without a process group."""
    if not dist.is_initialized():
        return Ranks()
    return Ranks(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))


def refuse_ungrouped_process() -> None:
    """Refuse to train in one of several processes that form no group: each would train on its own.

    Raises:
        TrainingError: If torchrun, or Slurm, started several processes and there is no process group.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        raise TrainingError(
            f"this is process {os.environ.get('RANK', '?')} of {os.environ['WORLD_SIZE']}, but this command trains in "
            "one process; start it without torchrun."
        )


@contextlib.contextmanager
def process_group(device: torch.device, timeout_s: float) -> Iterator[Ranks]:
    """Form a process group of the processes that `torchrun` (or Slurm) started, until the block ends.

    A single process forms none.

    Args:
        device: The training device; GPUs communicate by NCCL, processors by Gloo.
        timeout_s: How long to wait for the others [s].

    Raises:
        TrainingError: If the group cannot be formed; no process trains on its own instead.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2 or dist.is_initialized():
        yield ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    try:
        dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s))
    except (RuntimeError, ValueError) as error:
        raise TrainingError(_no_group(error, timeout_s)) from error
    try:
        yield ranks()
    finally:
        dist.destroy_process_group()


def _no_group(error: Exception, timeout_s: float) -> str:
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    settings = ", ".join(f"{name}={os.environ.get(name, 'not set')}" for name in names)
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"the processes did not find each other within {timeout_s:g} s ({settings}): {reason}. Start all of them with "
        "torchrun, with one address that every machine reaches and a free port; no process trains alone."
    )


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone().contiguous()
        dist.all_reduce(total)
        return total / dist.get_world_size()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total / dist.get_world_size()


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [
            torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, x.detach().contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # Gloo would read a transposed gradient as if it were not.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.chunk(dist.get_world_size())[dist.get_rank()]


def all_mean(x: Tensor) -> Tensor:
    """Return the mean of `x [...]` over all processes, `[...]`; its gradient reaches all of them."""
    mean: Tensor = _Mean.apply(x) if dist.is_initialized() else x
    return mean


def all_rows(x: Tensor) -> Tensor:
    """Return the rows of all processes in their order, `[M, ...]` -> `[W*M, ...]`, differentiably."""
    rows: Tensor = _Rows.apply(x) if dist.is_initialized() else x
    return rows


def any_process(flag_here: bool) -> bool:
    """Return whether the flag is set in any process, the same result in all of them."""
    if not dist.is_initialized():
        return flag_here
    flag = torch.tensor(int(flag_here))
    dist.all_reduce(flag, dist.ReduceOp.MAX)
    return bool(flag)


def barrier() -> None:
    """Wait until every process has called this."""
    if dist.is_initialized():
        dist.barrier()


def mean_metrics(metrics: dict[str, float]) -> dict[str, float]:
    """Return metrics averaged over all processes, which must have the same names in each."""
    if not dist.is_initialized():
        return metrics
    values = torch.tensor([metrics[name] for name in sorted(metrics)], dtype=torch.float64)
    dist.all_reduce(values)
    return dict(zip(sorted(metrics), (values / dist.get_world_size()).tolist(), strict=True))

"""How the forward passes of a step run: in one process, on replicas (DDP) or on shards of the weights (FSDP2)."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.nn.parallel import DistributedDataParallel

from vjepa_world.models.transformer import AdaLNBlock, Block
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import Ranks

#: One forward pass of a step; it returns metrics by name, scalars, `loss` among them.
ForwardPass = Callable[[], dict[str, Tensor]]

#: Methods besides `forward` that read a module's weights.
FORWARDS = ("features", "dense", "forward_with_state", "step", "reconstruct")


class Parallel(Protocol):
    """Runs passes forward and backward; after the last one, gradients are averaged over the processes."""

    def run(self, forward_pass: ForwardPass, last: bool) -> dict[str, Tensor]:
        """Run a pass, backpropagate its `loss`, and return its metrics, scalars; `last` of the step."""
        ...

    def close(self) -> None:
        """Free what refers to the process group; no pass runs afterwards."""
        ...


class SingleProcess:
    """One process."""

    def run(self, forward_pass: ForwardPass, last: bool) -> dict[str, Tensor]:
        """See :class:`Parallel`."""
        metrics = forward_pass()
        metrics["loss"].backward()
        return metrics

    def close(self) -> None:
        """See :class:`Parallel`."""


class _Runner(nn.Module):
    """The module that DDP wraps: it owns the weights, and runs any forward pass."""

    def __init__(self, modules: nn.Module) -> None:
        super().__init__()
        self.owned = modules

    def forward(self, forward_pass: ForwardPass) -> dict[str, Tensor]:
        return forward_pass()


class Replicas:
    """A copy of the weights in each process; gradients are averaged with the last pass."""

    def __init__(self, modules: nn.Module, device: torch.device) -> None:
        # Torch 2.13 renamed the option.
        parameters = inspect.signature(DistributedDataParallel).parameters
        sync = "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        no_sync: dict[str, Any] = {sync: False}
        # A pass may leave weights unused (the mask token of another family); DDP must not wait for them.
        self.model = DistributedDataParallel(
            _Runner(modules),
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,
            **no_sync,
        )

    def run(self, forward_pass: ForwardPass, last: bool) -> dict[str, Tensor]:
        """See :class:`Parallel`."""
        with contextlib.nullcontext() if last else self.model.no_sync():
            metrics = cast("dict[str, Tensor]", self.model(forward_pass))
            metrics["loss"].backward()
        return metrics

    def close(self) -> None:
        """Free DDP's reducer, which its logger refers to as well, while others still refer to the process group.

        If the reducer is the last to refer to the group, it destroys the group while it holds Python's global lock.
        Gloo's thread may need that lock to free the last collective, and both wait forever (torch 2.13).
        """
        del self.model.logger, self.model.reducer


class Shards:
    """Each process stores a shard of all weights, gradients and optimizer states, gathered block by block."""

    def __init__(self, modules: nn.Module) -> None:
        self.sharded: list[FSDPModule] = []
        for root in modules.children() if isinstance(modules, nn.ModuleDict) else [modules]:
            for module in root.modules():
                if isinstance(module, Block | AdaLNBlock):
                    fully_shard(module)
                    register_fsdp_forward_method(module, "step")
            # A root would stay gathered until its backward pass, and a target has none.
            fully_shard(root, reshard_after_forward=True)
            for name in FORWARDS:
                if hasattr(root, name):
                    register_fsdp_forward_method(root, name)
            self.sharded.append(cast(FSDPModule, root))

    def run(self, forward_pass: ForwardPass, last: bool) -> dict[str, Tensor]:
        """See :class:`Parallel`."""
        for module in self.sharded:
            module.set_requires_gradient_sync(last)
            module.set_is_last_backward(last)
        metrics = forward_pass()
        metrics["loss"].backward()
        return metrics

    def close(self) -> None:
        """See :class:`Parallel`."""


def make_parallel(modules: nn.Module, config: TrainerConfig, ranks: Ranks, device: torch.device) -> Parallel:
    """Prepare the modules in place, and return what runs the forward passes."""
    _set_recompute(modules.modules(), config.recompute)
    if config.compile:
        for module in modules.modules():
            if isinstance(module, Block | AdaLNBlock):
                module.compile(dynamic=True)
    if ranks.world_size == 1:
        return SingleProcess()
    if config.parallel == "ddp":
        return Replicas(modules, device)
    return Shards(modules)


def _set_recompute(modules: Iterable[nn.Module], recompute: bool) -> None:
    for module in modules:
        if hasattr(module, "recompute"):
            module.recompute = recompute  # type: ignore[assignment]

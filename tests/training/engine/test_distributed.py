"""Several processes: ranks, differentiable collectives, and failing launches."""

from __future__ import annotations

import time
import weakref
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from tests.training.processes import free_port, start, wait, wait_for_success
from tests.training.tiny import LineTask, trainer_config
from vjepa_world.errors import TrainingError
from vjepa_world.training.engine.distributed import (
    Ranks,
    all_mean,
    all_rows,
    any_process,
    mean_metrics,
    ranks,
)
from vjepa_world.training.engine.parallel import Replicas
from vjepa_world.training.engine.trainer import Trainer

#: Each process has three rows of six; the loss is of all six, through the means and through the rows.
GRADIENTS = """
import torch
from vjepa_world.training.engine.distributed import *
with process_group(torch.device("cpu"), 60.0) as here:
    weight = torch.arange(8.0).view(4, 2).div(8).requires_grad_()
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    mine = rows.chunk(here.world_size)[here.rank] @ weight
    mean = all_mean(mine.mean(dim=0))
    everything = all_rows(mine.T.contiguous().T)
    loss = mean.square().sum() + (everything @ everything.T).sigmoid().mean()
    loss.backward()
    gradient = weight.grad / here.world_size
    torch.distributed.all_reduce(gradient)
    print(loss.item(), *gradient.flatten().tolist())
    flags = [any_process(here.rank == 1), any_process(False)]
    print(flags, mean_metrics({"b": float(here.rank), "a": 3.0}), here)
"""


def test_collectives_have_the_gradients_of_a_single_process(tmp_path: Path) -> None:
    finished = wait_for_success(start(["-c", GRADIENTS], tmp_path, world_size=2))
    weight = torch.arange(8.0).view(4, 2).div(8).requires_grad_()
    out = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) @ weight
    loss = out.mean(dim=0).square().sum() + (out @ out.T).sigmoid().mean()
    loss.backward()
    assert weight.grad is not None
    expected = [loss.item(), *weight.grad.flatten().tolist()]
    for rank, one in enumerate(finished):
        values, shared = one.out.splitlines()
        assert [float(word) for word in values.split()] == pytest.approx(expected, rel=1e-5)
        assert shared == (
            "[True, False] {'a': 3.0, 'b': 0.5} " + f"Ranks(rank={rank}, world_size=2, local_rank={rank})"
        )


def test_single_process_collectives_are_identities() -> None:
    x = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    assert all_mean(x) is x
    assert all_rows(x) is x
    assert (any_process(True), any_process(False)) == (True, False)
    assert mean_metrics({"a": 1.0}) == {"a": 1.0}
    assert ranks() == Ranks()


def test_a_process_group_timeout_names_rank_and_address(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    start_s, port = time.monotonic(), free_port()
    single = start(
        ["-m", "vjepa_world", "pretrain", "data.path=videos", "device=cpu", "trainer.timeout_s=2"],
        tmp_path,
        RANK="0",
        WORLD_SIZE="2",
        LOCAL_RANK="0",
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    [finished] = wait(single)
    assert finished.code == 2
    address = f"(RANK=0, WORLD_SIZE=2, MASTER_ADDR=127.0.0.1, MASTER_PORT={port})"
    assert f"the processes did not find each other within 2 s {address}: " in finished.error
    assert "no process trains alone" in finished.error
    assert time.monotonic() - start_s < 60
    assert not (tmp_path / "runs").exists()


def test_incomplete_launch_variables_are_reported(tmp_path: Path) -> None:
    [finished] = wait(
        start(["-m", "vjepa_world", "pretrain", "data.path=videos"], tmp_path, WORLD_SIZE="2", RANK="1")
    )
    assert finished.code == 2
    assert "MASTER_ADDR=not set" in finished.error


def test_a_single_process_training_is_refused_in_a_multi_process_launch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    config = trainer_config()
    with pytest.raises(TrainingError, match="this is process 1 of 2, but this command trains in one"):
        Trainer(LineTask(config), config, Path("unused"), torch.device("cpu"))


def test_the_reducer_is_freed_before_the_process_group() -> None:
    """The last to refer to a group must not be DDP's reducer: it would destroy the group under the global lock."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        layer = nn.Linear(2, 1)
        replicas = Replicas(layer, torch.device("cpu"))
        reducer = weakref.ref(replicas.model.reducer)
        replicas.run(lambda: {"loss": layer(torch.ones(1, 2)).sum()}, last=True)
        assert reducer() is not None
        replicas.close()
        assert reducer() is None
    finally:
        dist.destroy_process_group()

"""Planning compared with a plain implementation of the published loop: same weights, samples and iterations.

It also measures one planned action of the shipped model: median time and high percentiles.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from planners import CEM, GoalL1, make_generators
from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row
from vjepa_world.bench.memory import measured_in_process, peak_rise_gb, print_gb
from vjepa_world.bench.references.planning import PlainPlanner, PlainSearch, plain_predictor
from vjepa_world.bench.shipped_planner import shipped_rows
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.context import Context
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.system.device import keep_freed_memory, resolve_device, set_threads
from vjepa_world.system.seeding import seeded
from vjepa_world.training.engine.flops import rollout_flops
from vjepa_world.training.engine.matrix_rate import matrix_rate

PATCH = 16
ELITES = 10

#: The published action bounds: 7.5 cm per axis, no rotation, three quarters of the gripper's range.
BOX = (0.075, 0.075, 0.075, 0.0, 0.0, 0.0, 0.75)


class Size(NamedTuple):
    """Model and search of a planning benchmark.

    Attributes:
        name: Name in the results.
        predictor: Width, depth and number of heads of a predictor like V-JEPA 2-AC's.
        side: Tokens along a side of a frame.
        width: Feature width.
        samples: Samples per iteration.
        iterations: Iterations of the search.
        run: Iterations that are run on both sides; all take equally long, and the plain loop takes minutes.
        horizon: Steps planned ahead.
        frames: Frames of the context.
        repeats: Most repetitions of each side.
    """

    name: str
    predictor: tuple[int, int, int]
    side: int
    width: int
    samples: int
    iterations: int
    run: int
    horizon: int
    frames: int
    repeats: int


SMALL, MIDDLE, LARGE = (192, 6, 6), (384, 12, 6), (1024, 24, 16)
SIZES = {
    "cpu": (
        Size("2.7M, 64 tokens, 64 x 3, H=1", SMALL, 8, 192, 64, 3, 3, 1, 1, 5),
        Size("2.7M, 64 tokens, 64 x 3, H=5", SMALL, 8, 192, 64, 3, 3, 5, 1, 2),
        Size("22M, 256 tokens, 64 x 2, H=2", MIDDLE, 16, 384, 64, 2, 2, 2, 1, 1),
        Size("2.7M, 64 tokens, 300 x 10, H=5, 4 context frames", SMALL, 8, 192, 300, 10, 1, 5, 4, 1),
    ),
    "cuda": (
        Size("2.7M, 64 tokens, 300 x 10, H=5, 4 context frames", SMALL, 8, 192, 300, 10, 10, 5, 4, 3),
        Size("305M, 256 tokens, 800 x 10, H=1", LARGE, 16, 1408, 800, 10, 10, 1, 1, 2),
    ),
}

#: Indices of the sizes whose memory is measured.
MEMORY = {"cpu": (1, 2), "cuda": (0, 1)}


def run(config: BenchConfig) -> list[Row]:
    """Return seconds per plan and memory compared with the plain loop, gains of compiling, and the shipped model."""
    set_threads(0)
    device = resolve_device(config.device)
    sizes = SIZES[device.type]
    rows = [_speed(number, config, device) for number in range(len(sizes))]
    for number in MEMORY[device.type]:
        arguments = (config.device, str(config.seed), str(number))
        mine, theirs = (measured_in_process(__name__, side, *arguments) for side in ("ours", "plain"))
        rows.append(row(f"{sizes[number].name}, memory", mine, theirs, "GB", lower_is_better=True))
    rows += _compiled(config, device)
    return [*rows, *shipped_rows(config, device)]


class Problem:
    """One planning problem of a size, with random weights, features and noise, which do not affect speed or memory.

    Args:
        size: Model and search.
        device: The device of model and data.
        seed: Seed of all random numbers.
    """

    def __init__(self, size: Size, device: torch.device, seed: int) -> None:
        self.size, self.seed = size, seed
        with seeded(seed):
            self.model = _model(size).eval().requires_grad_(False).to(device)
        generator = torch.Generator().manual_seed(seed)
        tokens, frames = size.side**2, size.frames
        features = torch.randn(1, frames, tokens, size.width, generator=generator)
        states = torch.rand(1, frames, 7, generator=generator)
        past_actions = 0.05 * torch.randn(1, frames - 1, 7, generator=generator)
        self.context = Context(features.to(device), states.to(device), None, past_actions.to(device))
        self.goal = torch.randn(1, tokens, size.width, generator=generator).to(device)

    def side(self, kind: str) -> Callable[[int], object]:
        """Return a search in bfloat16, called with the number of iterations: ours, compiled or plain."""
        if kind == "plain":
            return self.plain(torch.bfloat16)
        if self.model.device.type == "cpu":
            keep_freed_memory()
        return self.ours(torch.bfloat16, compiled=kind == "compiled")

    def ours(self, dtype: torch.dtype, *, compiled: bool = False) -> Callable[[int], object]:
        """Return our search."""
        self.model.prepare(dtype, compiled=compiled)

        def plan(iterations: int) -> object:
            cem = CEM(
                self.model,
                energy=GoalL1(),
                horizon=self.size.horizon,
                num_samples=self.size.samples,
                num_iterations=iterations,
                num_elites=ELITES,
                momentum_mean=0.15,
                momentum_std=0.75,
                answer="mean",
            )
            context = replace(self.context)  # a new one, so that its preparation is measured too
            return cem.plan(context, self.goal, generators=make_generators([self.seed]))

        return plan

    def plain(self, dtype: torch.dtype) -> Callable[[int], object]:
        """Return the plain search with the same weights and, up to rounding, the same samples."""
        predictor = plain_predictor(self.model)
        planner = PlainPlanner(predictor, PlainSearch(elites=ELITES, gripper_std=BOX[-1]), dtype)

        def plan(iterations: int) -> object:
            past = self.context.actions if self.size.frames > 1 else None
            noise = self._noise(iterations)
            return planner.plan(self.context.features, self.context.states, self.goal, noise, past)

        return plan

    def _noise(self, iterations: int) -> Tensor:
        """Return the noise that our search draws, `[I, S, K, A]`."""
        (generator,) = make_generators([self.seed])
        shape = (self.size.samples, self.size.horizon, len(BOX))
        drawn = [torch.randn(shape, generator=generator) for _ in range(iterations)]
        return torch.stack(drawn).to(self.model.device)


def _model(size: Size) -> LatentWorldModel:
    dim, depth, heads = size.predictor
    predictor = ActionPredictorConfig(
        embed_dim=dim,
        depth=depth,
        num_heads=heads,
        residual=False,
        context_frames=0,
        normalize=True,
        wrap_angles=True,
    )
    encoder_heads = max(1, size.width // 64)
    encoder = EncoderConfig(
        image_size=PATCH * size.side, embed_dim=size.width, depth=1, num_heads=encoder_heads
    )
    model = LatentWorldModel(
        WorldModelConfig(
            encoder=encoder,
            predictor=predictor,
            latents=LatentsConfig(kind="none"),
            inverse=InverseConfig(horizon=0),
            decoder=DecoderConfig(image_size=0),
        )
    )
    high = torch.tensor(BOX)
    model.action_low.copy_(-high)
    model.action_high.copy_(high)
    return model


class SideProcess:
    """One side of a comparison in a separate process, so that each has its own memory settings.

    It waits while the other side runs.

    Args:
        kind: ours, compiled or plain.
        number: Index of the size.
        config: Device and seed.
    """

    def __init__(self, kind: str, number: int, config: BenchConfig) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, remote = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(remote, kind, number, config.device, config.seed), daemon=True
        )
        self._process.start()
        remote.close()

    def seconds(self, iterations: int) -> float:
        """Return the duration of a plan [s]."""
        self._pipe.send(iterations)
        try:
            taken: float = self._pipe.recv()
        except EOFError as error:
            raise RuntimeError("a process of the benchmark died; its error message is above") from error
        return taken

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, kind: str, number: int, device_name: str, seed: int) -> None:
    """Plan for each number of iterations received from the pipe, and send the seconds."""
    set_threads(0)
    device = resolve_device(device_name)
    problem = Problem(SIZES[device.type][number], device, seed)
    search = problem.side(kind)
    while True:
        try:
            iterations = pipe.recv()
        except EOFError:
            return
        pipe.send(_seconds(search, iterations, device))


def _speed(number: int, config: BenchConfig, device: torch.device) -> Row:
    size = SIZES[device.type][number]
    ours, plain = _alternate("ours", "plain", number, config, device)
    predictor = _model(size).config.predictor
    flops = (
        size.run
        * size.samples
        * rollout_flops(predictor, size.width, size.side**2, size.horizon, size.frames)
    )
    limit = flops / matrix_rate(device, torch.bfloat16)
    note = "" if size.run == size.iterations else f" ({size.run} of {size.iterations} iterations)"
    return row(f"{size.name}{note}", median(ours), median(plain), "s/plan", limit=limit, lower_is_better=True)


def _compiled(config: BenchConfig, device: torch.device) -> list[Row]:
    """Return gain and cost of compiling, compared with the same search without it."""
    name = SIZES[device.type][0].name
    first: list[float] = []
    compiled, eager = _alternate("compiled", "ours", 0, config, device, first)
    label = f"{name}, compiled compared with eager"
    return [
        row(label, median(compiled), median(eager), "s/plan", lower_is_better=True),
        row(f"{label}, the first iteration", first[0], first[1], "s", lower_is_better=True),
    ]


def _alternate(
    one: str,
    other: str,
    number: int,
    config: BenchConfig,
    device: torch.device,
    first: list[float] | None = None,
) -> tuple[list[float], list[float]]:
    """Return the seconds of the plans of either side, which alternate.

    A plan takes up to minutes, so a side is warmed up by one iteration (whose seconds are appended to `first`) and runs
    one plan per repetition.
    """
    size = SIZES[device.type][number]
    sides = SideProcess(one, number, config), SideProcess(other, number, config)
    warm = [side.seconds(1) for side in sides]
    if first is not None:
        first += warm
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(min(config.repeats, size.repeats)):
        for side, times in zip(sides, taken, strict=True):
            times.append(side.seconds(size.run))
    for side in sides:
        side.close()
    return taken


def _seconds(search: Callable[[int], object], iterations: int, device: torch.device) -> float:
    started = time.perf_counter()
    search(iterations)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _measure_memory(kind: str, device_name: str, seed: int, number: int) -> float:
    """Return the rise of peak memory in one iteration [GB], after a warm-up with few samples that loads the code."""
    set_threads(0)
    device = resolve_device(device_name)
    size = SIZES[device.type][number]
    few = Problem(size._replace(samples=ELITES), device, seed).side(kind)
    few(1)
    many = Problem(size, device, seed).side(kind)
    return peak_rise_gb(lambda: many(1), 1, device)


if __name__ == "__main__":
    print_gb(_measure_memory(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

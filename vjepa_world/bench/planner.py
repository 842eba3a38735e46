"""Planning beside the published loop written plainly: the same weights, samples and iterations, in one run.

And one planned action of the shipped model: how long it takes, and how long at worst.
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

#: The published box: 7.5 cm an axis, no rotation, three quarters of the gripper's way.
BOX = (0.075, 0.075, 0.075, 0.0, 0.0, 0.0, 0.75)


class Size(NamedTuple):
    """What is planned.

    Attributes:
        name: Of the row.
        predictor: Width, depth and heads of V-JEPA 2-AC's kind of predictor.
        side: Tokens along a side of a frame.
        width: Of the features.
        samples: In an iteration.
        iterations: Of the search.
        run: Iterations that are run on both sides: each takes as long, and the plain loop takes minutes.
        horizon: Steps planned ahead.
        frames: Of the context.
        turns: Of each side.
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
    turns: int


SMALL, MIDDLE, LARGE = (192, 6, 6), (384, 12, 6), (1024, 24, 16)
SIZES = {
    "cpu": (
        Size("2.7M, 64 tokens, 64 x 3, H=1", SMALL, 8, 192, 64, 3, 3, 1, 1, 5),
        Size("2.7M, 64 tokens, 64 x 3, H=5", SMALL, 8, 192, 64, 3, 3, 5, 1, 2),
        Size("22M, 256 tokens, 64 x 2, H=2", MIDDLE, 16, 384, 64, 2, 2, 2, 1, 1),
        Size("2.7M, 64 tokens, 300 x 10, H=5, 4 frames seen", SMALL, 8, 192, 300, 10, 1, 5, 4, 1),
    ),
    "cuda": (
        Size("2.7M, 64 tokens, 300 x 10, H=5, 4 frames seen", SMALL, 8, 192, 300, 10, 10, 5, 4, 3),
        Size("305M, 256 tokens, 800 x 10, H=1", LARGE, 16, 1408, 800, 10, 10, 1, 1, 2),
    ),
}

#: Numbers of the sizes whose memory is measured.
MEMORY = {"cpu": (1, 2), "cuda": (0, 1)}


def run(config: BenchConfig) -> list[Row]:
    """Return seconds a plan and memory beside the plain loop's, by size; what compiling gives; the shipped model."""
    set_threads(0)
    device = resolve_device(config.device)
    sizes = SIZES[device.type]
    rows = [_speed(number, config, device) for number in range(len(sizes))]
    for number in MEMORY[device.type]:
        words = (config.device, str(config.seed), str(number))
        mine, theirs = (measured_in_process(__name__, side, *words) for side in ("ours", "plain"))
        rows.append(row(f"{sizes[number].name}, memory", mine, theirs, "GB", lower_is_better=True))
    rows += _compiled(config, device)
    return [*rows, *shipped_rows(config, device)]


class Problem:
    """One planning problem of a size: random weights, features and noise, which change no figure.

    Args:
        size: What is planned.
        device: Where.
        seed: Of everything drawn.
    """

    def __init__(self, size: Size, device: torch.device, seed: int) -> None:
        self.size, self.seed = size, seed
        with seeded(seed):
            self.model = _model(size).eval().requires_grad_(False).to(device)
        generator = torch.Generator().manual_seed(seed)
        tokens, frames = size.side**2, size.frames
        features = torch.randn(1, frames, tokens, size.width, generator=generator)
        states = torch.rand(1, frames, 7, generator=generator)
        done = 0.05 * torch.randn(1, frames - 1, 7, generator=generator)
        self.context = Context(features.to(device), states.to(device), None, done.to(device))
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
            seen = replace(self.context)  # a new one: what is prepared of it is paid for
            return cem.plan(seen, self.goal, generators=make_generators([self.seed]))

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
        """Return what our search draws, `[I, S, K, A]`."""
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
    heads_seen = max(1, size.width // 64)
    encoder = EncoderConfig(image_size=PATCH * size.side, embed_dim=size.width, depth=1, num_heads=heads_seen)
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


class Side:
    """One side of a pair in a process of its own, so that it has the memory settings that it comes with.

    It waits while the other one works.

    Args:
        kind: ours, compiled or plain.
        number: Of the size.
        config: Device and seed.
    """

    def __init__(self, kind: str, number: int, config: BenchConfig) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(
            target=_serve, args=(there, kind, number, config.device, config.seed), daemon=True
        )
        self._process.start()
        there.close()

    def seconds(self, iterations: int) -> float:
        """Return how long a plan takes."""
        self._here.send(iterations)
        try:
            taken: float = self._here.recv()
        except EOFError as error:
            raise RuntimeError("a side of the benchmark has died; what it said is above") from error
        return taken

    def close(self) -> None:
        """End the process."""
        self._here.close()
        self._process.join()


def _serve(pipe: Connection, kind: str, number: int, device_name: str, seed: int) -> None:
    """Plan as often as the pipe asks for, and answer with the seconds."""
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
    ours, plain = _in_turn("ours", "plain", number, config, device)
    predictor = _model(size).config.predictor
    flops = (
        size.run
        * size.samples
        * rollout_flops(predictor, size.width, size.side**2, size.horizon, size.frames)
    )
    limit = flops / matrix_rate(device, torch.bfloat16)
    note = "" if size.run == size.iterations else f" ({size.run} of the iterations run)"
    return row(
        f"{size.name}{note}", median(ours), median(plain), "s a plan", limit=limit, lower_is_better=True
    )


def _compiled(config: BenchConfig, device: torch.device) -> list[Row]:
    """Return what compiling gives and costs, beside the same search without it."""
    name = SIZES[device.type][0].name
    first: list[float] = []
    compiled, eager = _in_turn("compiled", "ours", 0, config, device, first)
    label = f"{name}, compiled beside not"
    return [
        row(label, median(compiled), median(eager), "s a plan", lower_is_better=True),
        row(f"{label}, the first iteration", first[0], first[1], "s", lower_is_better=True),
    ]


def _in_turn(
    one: str,
    other: str,
    number: int,
    config: BenchConfig,
    device: torch.device,
    first: list[float] | None = None,
) -> tuple[list[float], list[float]]:
    """Return the seconds of either side's plans, made in turn.

    A plan takes up to minutes, so a side is warmed up by one iteration (whose seconds go to `first`) and timed once a
    turn.
    """
    size = SIZES[device.type][number]
    sides = Side(one, number, config), Side(other, number, config)
    warm = [side.seconds(1) for side in sides]
    if first is not None:
        first += warm
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(min(config.repeats, size.turns)):
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
    """Return how far one iteration raises memory above what the first few samples took, the code itself among it."""
    set_threads(0)
    device = resolve_device(device_name)
    size = SIZES[device.type][number]
    few = Problem(size._replace(samples=ELITES), device, seed).side(kind)
    few(1)
    many = Problem(size, device, seed).side(kind)
    return peak_rise_gb(lambda: many(1), 1, device)


if __name__ == "__main__":
    print_gb(_measure_memory(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))

"""The checks of `make gpu-check`: functions of device and sizes that return metrics or raise.

Shapes: B clips or windows, S samples, K horizon, A action size, T frames.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.distributed as dist

from vjepa_world.bench import finetune as finetune_bench
from vjepa_world.bench import planner as planner_bench
from vjepa_world.bench import pretrain as pretrain_bench
from vjepa_world.data.video.reader import open_video
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import VJEPAWorldError
from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig, MaskedPredictorConfig
from vjepa_world.training.engine.distributed import all_mean, all_rows
from vjepa_world.training.engine.flops import rollout_flops
from vjepa_world.training.engine.matrix_rate import matrix_rate
from vjepa_world.training.engine.optimizer import build_optimizer
from vjepa_world.training.engine.parallel import Shards

Metrics = dict[str, float | int | str]

REPO = Path(__file__).resolve().parents[3]
SEED = 0
REPEATS = 3

#: Largest relative difference of a compiled rollout in bfloat16 from the same one without compilation.
TOLERANCE = 0.03
#: Largest mean difference of GPU-decoded from CPU-decoded pixels, of 255: the conversion to RGB rounds differently.
PIXEL_TOLERANCE = 3.0
#: Largest relative difference of the loss of a sharded step: sums have another order.
LOSS_TOLERANCE = 1e-2


class CheckError(VJEPAWorldError):
    """A check ran, and its result is wrong."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the checks.

    Attributes:
        plan: Size of the planning benchmark.
        graph: Size of the compiled rollout.
        pretrain: Size of the pretraining step.
        shards: Size of the sharded step.
        finetune: Size of the fine-tuning step.
        video: Frames, and height and width of the decoded video [pixels].
        tests: Arguments of pytest that select files.
    """

    plan: planner_bench.Size
    graph: planner_bench.Size
    pretrain: pretrain_bench.Size
    shards: pretrain_bench.Size
    finetune: finetune_bench.Size
    video: tuple[int, int]
    tests: tuple[str, ...]


FULL = Sizes(
    plan=planner_bench.Size("305M", planner_bench.LARGE, 16, 1408, 800, 10, 10, 1, 1, REPEATS),
    graph=planner_bench.Size("22M", planner_bench.MIDDLE, 16, 384, 128, 1, 1, 2, 1, REPEATS),
    pretrain=pretrain_bench.LARGE,
    shards=pretrain_bench.SMALL,
    finetune=finetune_bench.LARGE,
    video=(240, 720),
    tests=("tests",),
)
_ENCODER = EncoderConfig(image_size=32, num_frames=4, embed_dim=24, depth=1, num_heads=2)
_STEP = pretrain_bench.Size("tiny", _ENCODER, MaskedPredictorConfig(embed_dim=24, depth=1, num_heads=2), 2)
#: To test the program itself on a CPU.
TINY = Sizes(
    plan=planner_bench.Size("tiny", (24, 1, 2), 2, 24, 16, 2, 2, 1, 1, 1),
    graph=planner_bench.Size("tiny", (24, 1, 2), 2, 24, 16, 1, 1, 2, 1, 1),
    pretrain=_STEP,
    shards=_STEP,
    finetune=finetune_bench.Size(
        "tiny",
        _ENCODER,
        ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
        windows=2,
        frames=3,
        slices=1,
    ),
    video=(10, 64),
    tests=("tests/ops/test_pixels.py",),
)


def gpu_tests(device: torch.device, sizes: Sizes) -> Metrics:
    """Run the tests marked `gpu`; none may fail, and on a GPU none may be skipped."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", f"--junitxml={report}", *sizes.tests]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
        if not report.is_file():
            raise CheckError(f"pytest did not run: {(done.stdout + done.stderr)[-500:]}")
        suite = next(ET.parse(report).getroot().iter("testsuite"))
    counts = {name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")}
    is_complete = counts["tests"] > 0 and (device.type == "cpu" or counts["skipped"] == 0)
    if counts["failures"] or counts["errors"] or not is_complete:
        raise CheckError(f"{counts}: {done.stdout[-1500:]}")
    return dict(counts)


def plan(device: torch.device, sizes: Sizes) -> Metrics:
    """Time a plan with a predictor of V-JEPA 2-AC's size, in bfloat16."""
    size = sizes.plan
    problem = planner_bench.Problem(size, device, SEED)
    search = problem.side("ours")
    taken_s = _median_s(lambda: search(size.iterations), device)
    flops = (
        size.iterations
        * size.samples
        * rollout_flops(problem.model.config.predictor, size.width, size.side**2, size.horizon, size.frames)
    )
    share = flops / taken_s / matrix_rate(device, torch.bfloat16)
    return {"seconds_per_plan": taken_s, "share_of_matrix_rate": share, "peak_gb": _peak_gb(device)}


def pretrain(device: torch.device, sizes: Sizes) -> Metrics:
    """Time a pretraining step."""
    step = pretrain_bench.Ours(sizes.pretrain, device, SEED)
    taken_s = _median_s(step, device)
    share = step.task.flops / taken_s / matrix_rate(device, step.trainer.dtype)
    return {
        "clips_per_s": sizes.pretrain.clips / taken_s,
        "share_of_matrix_rate": share,
        "peak_gb": _peak_gb(device),
        "precision": str(step.trainer.dtype).removeprefix("torch."),
    }


def finetune(device: torch.device, sizes: Sizes) -> Metrics:
    """Time a fine-tuning step, encoding included."""
    taken_s = _median_s(finetune_bench.Ours(sizes.finetune, device, SEED), device)
    return {"windows_per_s": sizes.finetune.windows / taken_s, "peak_gb": _peak_gb(device)}


def decode(device: torch.device, sizes: Sizes) -> Metrics:
    """Decode a video on the device, and compare its frames with those decoded on the CPU."""
    count, size = sizes.video
    ramp = np.linspace(0, 255, size)
    frames = (np.stack([np.add.outer(ramp, np.roll(ramp, 4 * t)) / 2 for t in range(count)])).astype(np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = write_video(Path(folder) / "ramp.mp4", frames[..., None].repeat(3, axis=-1), 30.0)
        indices = range(count)
        with open_video(path) as video:
            expected = video.frames_by_index(indices)
        with open_video(path, device=str(device)) as video:
            decoded = video.frames_by_index(indices)
            if decoded.device.type != device.type:
                raise CheckError(f"frames were decoded on {decoded.device}, expected {device}")
            taken_s = _median_s(lambda: video.frames_by_index(indices), device)
    difference = (decoded.cpu().float() - expected.float()).abs().mean().item()
    if difference > PIXEL_TOLERANCE:
        raise CheckError(f"pixels differ by {difference:.2f} of 255 from those decoded on the CPU")
    return {"frames_per_s": count / taken_s, "pixel_difference": difference}


def distributed(device: torch.device, sizes: Sizes) -> Metrics:
    """Reduce and gather in a group of one process, and compare a sharded step (FSDP2) with an ordinary one."""
    expected = float(pretrain_bench.Ours(sizes.shards, device, SEED)()["loss"])
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    try:
        x = torch.arange(6.0, device=device).view(3, 2).requires_grad_()
        (all_mean(x).sum() + all_rows(x).sum()).backward()
        if not torch.equal(x.grad.cpu(), torch.full((3, 2), 2.0)):  # type: ignore[union-attr]
            raise CheckError(f"gradients through collectives are {x.grad}, expected 2")
        step = pretrain_bench.Ours(sizes.shards, device, SEED)
        trainer = step.trainer
        trainer.parallel = Shards(step.task.modules)
        trainer.optimizer = build_optimizer(step.task.modules, trainer.config)
        trainer.trained = [p for group in trainer.optimizer.param_groups for p in group["params"]]
        loss = float(step()["loss"])
        taken_s = _median_s(step, device)
    finally:
        dist.destroy_process_group()
    if abs(loss - expected) > LOSS_TOLERANCE * abs(expected):
        raise CheckError(f"the loss on shards is {loss}, in one process {expected}")
    return {"loss": loss, "loss_in_one_process": expected, "clips_per_s": sizes.shards.clips / taken_s}


def cuda_graphs(device: torch.device, sizes: Sizes) -> Metrics:
    """Compare a compiled rollout, which runs as CUDA graphs, with the same one without compilation."""
    size = sizes.graph
    problem = planner_bench.Problem(size, device, SEED)
    model, generator = problem.model, torch.Generator().manual_seed(SEED)
    shape = (1, size.samples, size.horizon, len(planner_bench.BOX))
    actions = 0.05 * torch.randn(shape, generator=generator).to(device)
    taken_s, predicted = {}, {}
    for compiled in (False, device.type == "cuda"):
        model.prepare(torch.bfloat16, compiled=compiled)
        taken_s[compiled] = _median_s(lambda: model.rollout(problem.context, actions), device)
        predicted[compiled] = model.rollout(problem.context, actions).float()
    eager, graph = predicted[False], predicted[max(predicted)]
    error = ((graph - eager).abs().mean() / eager.abs().mean()).item()
    if not error <= TOLERANCE:
        raise CheckError(f"the compiled rollout differs by {error:.3f} (relative), allowed is {TOLERANCE}")
    return {
        "seconds_per_rollout": taken_s[max(taken_s)],
        "seconds_not_compiled": taken_s[False],
        "relative_error": error,
    }


CHECKS: dict[str, Callable[[torch.device, Sizes], Metrics]] = {
    "tests": gpu_tests,
    "plan": plan,
    "pretrain": pretrain,
    "finetune": finetune,
    "decode": decode,
    "distributed": distributed,
    "cuda_graphs": cuda_graphs,
}


def _median_s(work: Callable[[], object], device: torch.device) -> float:
    """Return the median seconds of a call, after two untimed calls (compilation, caches)."""
    taken = []
    for _ in range(2 + REPEATS):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - started)
    return median(taken[2:])


def _peak_gb(device: torch.device) -> float:
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else 0.0

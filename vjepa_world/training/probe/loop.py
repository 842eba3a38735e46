"""The loop that trains a sweep of probes: batches, schedule, log, checkpoints, resume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from vjepa_world.models.probe import Probe
from vjepa_world.ops.schedules import warmup_constant_cooldown
from vjepa_world.system.progress import progress
from vjepa_world.training.engine.checkpoint import Checkpoints
from vjepa_world.training.engine.metrics_log import MetricsLog
from vjepa_world.training.engine.step_draw import step_generator
from vjepa_world.training.probe.config import ProbeTrainerConfig
from vjepa_world.training.probe.sweep import ProbeSweep, Trial

#: Makes the files of a probe's checkpoint.
ProbeFiles = Callable[[Probe], dict[str, Any]]


def train_sweep(
    sweep: ProbeSweep,
    config: ProbeTrainerConfig,
    run: Path,
    files: ProbeFiles,
    *,
    seed: int,
    resume: bool,
) -> list[Trial]:
    """Train the sweep, and write its metrics and checkpoints to a run folder.

    Args:
        sweep: The probes.
        config: The trainer's options.
        run: Run folder: `metrics.jsonl`, and checkpoints of the best probe so far on the validation videos.
        files: Makes the files of a probe's checkpoint.
        seed: Seed of the batches.
        resume: Whether to resume from the newest checkpoint.

    Returns:
        The final validation result of each setting.

    Raises:
        TrainingError: If every setting diverges.
        CheckpointError: If a checkpoint cannot be written or read.
    """
    start, checkpoints = sweep.restore(run) if resume else 0, Checkpoints(run)
    log, train = MetricsLog(run, start), sweep.data.clips["train"]
    trials = sweep.trials(config.batch_size) if start == config.steps else []
    bar = progress(run.parent.name, unit="step", total=config.steps, initial=start)
    try:
        for step in range(start, config.steps):
            drawn = torch.randint(len(train), (config.batch_size,), generator=step_generator(seed, step))
            rate = warmup_constant_cooldown(step, config.steps, 1.0, config.warmup, config.cooldown)
            losses = sweep.step(train[drawn], rate)
            bar.update()
            done = step + 1
            metrics = {f"loss_{name}": loss for name, loss in losses.items()} if _is_due(step, config) else {}
            if done % config.checkpoint_every == 0 or done == config.steps:
                trials = sweep.trials(config.batch_size)
                metrics |= _validation(sweep, trials)
                best = sweep.probe(sweep.best(trials))
                checkpoints.save(done, files(best), sweep.state())
            if metrics:
                log.write(step, {**metrics, "lr_share": rate})
        checkpoints.wait()
    finally:
        checkpoints.close()
        bar.close()
        log.close()
    return trials


def _is_due(step: int, config: ProbeTrainerConfig) -> bool:
    return step % config.log_every == 0 or step + 1 == config.steps


def _validation(sweep: ProbeSweep, trials: Sequence[Trial]) -> dict[str, float]:
    word = "accuracy" if sweep.data.is_classification else "error"
    named = zip(sweep.alive, trials, strict=True)
    return {f"val_{word}_{trial.setting.name}": trial.score for alive, trial in named if alive}

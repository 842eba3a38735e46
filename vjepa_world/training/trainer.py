"""The loop that every training shares: precision, schedule, log, checkpoints, exact resume."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from vjepa_world.errors import CheckpointError, TrainingError
from vjepa_world.ops.schedules import warmup_constant_cooldown
from vjepa_world.pretrained.native import checkpoint_steps
from vjepa_world.training.checkpoint import load_state, save_checkpoint
from vjepa_world.training.config import TrainerConfig
from vjepa_world.training.hardware import resolve_precision
from vjepa_world.training.metrics import MetricsLog


class Task(Protocol):
    """What is trained. A step's result depends on the weights, the seed and the step alone."""

    #: What one batch entry is called beside the throughput.
    unit: str

    @property
    def modules(self) -> nn.Module:
        """All weights that a resumed run needs; those that require a gradient are trained."""
        ...

    def batches(self, start_step: int) -> Iterator[Any]:
        """Yield the batches of the steps from `start_step` on."""
        ...

    def loss(self, batch: Any, step: int) -> dict[str, Tensor]:
        """Return the figures of a step; `loss` is the one to minimise."""
        ...

    def after_step(self, step: int) -> None:
        """Do what follows the optimizer's step (a moving average)."""
        ...

    def monitor(self, batch: Any, step: int) -> dict[str, float]:
        """Return figures that are worth their cost only at logged steps."""
        ...

    def files(self) -> dict[str, Any]:
        """Return what users load: the contents of the checkpoint folder."""
        ...


class Trainer:
    """Trains a :class:`Task` into a run folder."""

    def __init__(self, task: Task, config: TrainerConfig, run: Path, device: torch.device) -> None:
        self.task, self.config, self.run, self.device = task, config, run, device
        self.dtype = resolve_precision(config.precision, device)
        self.trained = [p for p in task.modules.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self.trained if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in self.trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95), fused=True)

    def fit(self, resume: bool = False) -> None:
        """Train to the last step, from the newest checkpoint if `resume`.

        Ctrl-C and SIGTERM finish the step at hand and save before the run ends.

        Raises:
            TrainingError: If the loss is not finite; the step is not taken.
            CheckpointError: If a checkpoint cannot be written or read.
            KeyboardInterrupt: If a signal asked for the end.
        """
        start = self._restore() if resume else 0
        log = MetricsLog(self.run, start)
        bar = tqdm(
            total=self.config.steps, initial=start, desc=self.run.parent.name, unit="step", mininterval=1.0
        )
        clock = _Clock()
        try:
            with _StopSignal() as stop:
                for step, batch in enumerate(self.task.batches(start), start=start):
                    figures = self._step(step, batch)
                    bar.update()
                    last = step + 1 == self.config.steps
                    if step % self.config.log_every == 0 or last:
                        values = {name: value.item() for name, value in figures.items()}
                        values |= self.task.monitor(batch, step)
                        rate = self.config.batch_size * clock.steps_per_second(step + 1 - start)
                        log.write(step, {**values, "lr": self._rate(step), f"{self.task.unit}_per_s": rate})
                        shown = {name: f"{value:.3f}" for name, value in list(values.items())[:3]}
                        bar.set_postfix({**shown, f"{self.task.unit}/s": f"{rate:.0f}"})
                    if (step + 1) % self.config.checkpoint_every == 0 or last or stop.asked:
                        self._save(step + 1)
                    if stop.asked:
                        bar.write(f"saved after step {step + 1}; go on with resume=true")
                        raise KeyboardInterrupt
        finally:
            bar.close()
            log.close()

    def _rate(self, step: int) -> float:
        config = self.config
        return warmup_constant_cooldown(step, config.steps, config.lr, config.warmup, config.cooldown)

    def _step(self, step: int, batch: Any) -> dict[str, Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self._rate(step)
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            figures = self.task.loss(batch, step)
        _check_finite("loss", figures["loss"], step)
        self.optimizer.zero_grad(set_to_none=True)
        figures["loss"].backward()
        gradients = [p.grad for p in self.trained if p.grad is not None]
        figures["gradient_norm"] = torch.nn.utils.get_total_norm(gradients)
        _check_finite("gradient norm", figures["gradient_norm"], step)
        self.optimizer.step()
        self.task.after_step(step)
        return {name: value.detach() for name, value in figures.items()}

    def _save(self, step: int) -> None:
        state = {
            "step": step,
            "modules": self.task.modules.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_checkpoint(self.run, step, self.task.files(), state)

    def _restore(self) -> int:
        state = load_state(self.run)
        if state is None:
            return 0
        try:
            self.task.modules.load_state_dict(state["modules"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{checkpoint_steps(self.run)[-1]} is of another architecture: {error}. Resume "
                "with the model that the run was started with, or give another name=."
            ) from error
        return int(state["step"])


def _check_finite(name: str, value: Tensor, step: int) -> None:
    if not bool(torch.isfinite(value)):
        raise TrainingError(
            f"the {name} of step {step} is {value.item()}; stopped before the update. Checkpoints up to then are "
            "in the run folder: resume from them with a smaller trainer.lr or trainer.precision=float32."
        )


class _Clock:
    """Steps a second since the last time it was asked."""

    def __init__(self) -> None:
        self._time, self._steps = time.perf_counter(), 0

    def steps_per_second(self, steps: int) -> float:
        now = time.perf_counter()
        rate = (steps - self._steps) / (now - self._time)
        self._time, self._steps = now, steps
        return rate


class _StopSignal:
    """Turns the first SIGINT or SIGTERM into a wish that the loop sees; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _StopSignal:
        self._before = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

"""The training loop: precision, learning rate, log, checkpoints, exact resume, one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vjepa_world.errors import TrainingError
from vjepa_world.runs import resume_words
from vjepa_world.system.device import in_precision, resolve_precision
from vjepa_world.system.memory import refuse_beyond_memory
from vjepa_world.system.progress import progress, say
from vjepa_world.training.engine.checkpoint import Checkpoints, restore_training, training_tensors
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import any_process, mean_metrics, ranks, refuse_ungrouped_process
from vjepa_world.training.engine.matrix_rate import matrix_rate
from vjepa_world.training.engine.metrics_log import MetricsLog
from vjepa_world.training.engine.nonfinite import dump_step
from vjepa_world.training.engine.optimizer import build_optimizer, learning_rate, set_rates
from vjepa_world.training.engine.parallel import ForwardPass, make_parallel
from vjepa_world.training.engine.shutdown import StopSignal
from vjepa_world.training.engine.step_clock import StepClock

#: How long a wait for data, or a step that can be dropped, may continue after a signal [s]; mostly it ends by itself.
_GRACE_S = 0.5
#: The same for several processes, which cannot save after they gave up a wait for data.
_SHARED_GRACE_S = 10.0


class Task(Protocol):
    """What is trained. A step's result depends on the weights, the seed and the step only."""

    #: Name of a batch entry, in the plural, for the throughput.
    unit: str

    @property
    def flops(self) -> float:
        """Floating-point operations of the last returned passes in this process; 0 if they are not counted."""
        ...

    @property
    def modules(self) -> nn.Module:
        """All weights that a resumed run needs; those that require a gradient are trained."""
        ...

    def batches(self, start_step: int) -> Iterator[Any]:
        """Yield this process's share of the batches of the steps from `start_step` on."""
        ...

    def names(self, batch: Any) -> Sequence[str]:
        """Return a name for each entry of the batch."""
        ...

    def forward_passes(self, batch: Any, step: int) -> Sequence[ForwardPass]:
        """Return the forward passes of a step, each returning scalar metrics with `loss`; metrics and gradients add up.

        A pass is backpropagated before the next one is run, so only one graph is in memory at a time.
        """
        ...

    def after_step(self, step: int) -> None:
        """Do what follows the optimizer's step (a moving average)."""
        ...

    def monitor(self, batch: Any, step: int) -> dict[str, float]:
        """Return metrics that are too expensive for every step; called at logged steps."""
        ...

    def warning(self, metrics: dict[str, float]) -> str | None:
        """Return a warning for the user, given the metrics of a logged step; None for none."""
        ...

    def files(self) -> dict[str, Any]:
        """Return the files that users load: the contents of the checkpoint folder."""
        ...


class Trainer:
    """Trains a :class:`Task` into a run folder."""

    def __init__(self, task: Task, config: TrainerConfig, run: Path, device: torch.device) -> None:
        refuse_ungrouped_process()
        self.task, self.config, self.run, self.device = task, config, run, device
        self.dtype = resolve_precision(config.precision, device)
        self.ranks = ranks()
        self.parallel = make_parallel(task.modules, config, self.ranks, device)
        if device.type == "cpu" and self.ranks.world_size == 1:
            _refuse_large_state(task.modules)
        self.optimizer = build_optimizer(task.modules, config)
        self.trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.checkpoints = Checkpoints(run, config.keep_last, config.keep_every)

    def fit(self, resume: bool = False) -> None:
        """Train to the last step, from the newest checkpoint if `resume`; a trainer does this once.

        Ctrl-C and SIGTERM save a checkpoint before the run ends: after the current step if it ends within half a
        second, else after the one before. Several processes always finish the current step, since none can drop a step
        that the others take; a wait for data of more than ten seconds is given up without saving.

        Raises:
            TrainingError: If the loss or a gradient is not finite; the step is not taken. If more steps than
                `config.steps` are done already.
            CheckpointError: If a checkpoint cannot be written or read.
            KeyboardInterrupt: If a signal stopped the run.
        """
        start = restore_training(self.run, self.task.modules, self.optimizer) if resume else 0
        if start > self.config.steps:
            raise TrainingError(
                f"trainer.steps={self.config.steps}, but {self.run} has {start} steps already; give at least {start}."
            )
        report = _Report(self, start)
        try:
            with StopSignal() as stop:
                done = self._steps(start, stop, report)
                if stop.asked:
                    self.checkpoints.wait()
                    report.say(f"saved after step {done}; continue with {resume_words(self.run)}")
                    raise KeyboardInterrupt
            self.checkpoints.wait()
        finally:
            self.checkpoints.close()
            self.parallel.close()
            report.close()

    def _steps(self, start: int, stop: StopSignal, report: _Report) -> int:
        """Take the steps up to the last one or a signal; return how many are done and saved."""
        batches = report.clock.watch(self.task.batches(start))
        done = saved = start
        alone = self.ranks.world_size == 1
        while True:
            try:
                with stop.droppable(_GRACE_S if alone else _SHARED_GRACE_S):
                    batch = next(batches, None)
                if batch is None:
                    return done
                with stop.droppable(_GRACE_S) if alone else nullcontext():
                    metrics = self._computed(done, batch)
            except KeyboardInterrupt:
                if not stop.asked:
                    raise
                if not alone:
                    report.say(
                        f"stopped while waiting for the data of step {done}; {saved} steps are saved; continue with "
                        f"{resume_words(self.run)}"
                    )
                    raise
                if done > saved:
                    self._save(done)
                return done
            self._update(done, batch, metrics)
            report.step(done, batch, metrics)
            done += 1
            stopping = any_process(stop.asked or self.checkpoints.failed)
            if done % self.config.checkpoint_every == 0 or done == self.config.steps or stopping:
                self._save(done)
                saved = done
            if stopping:
                stop.asked = True
                return done

    def step(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Take one optimizer step and return its metrics, scalars by name.

        Raises:
            TrainingError: If the loss or the gradients are not finite; nothing is updated, and the batch is dumped.
        """
        metrics = self._computed(step, batch)
        self._update(step, batch, metrics)
        return metrics

    def _computed(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Compute the gradients of a step, and return its metrics; no weight changes."""
        set_rates(self.optimizer, self.config, step)
        self.optimizer.zero_grad(set_to_none=True)
        metrics: dict[str, Tensor] = {}
        passes = self.task.forward_passes(batch, step)
        for index, forward_pass in enumerate(passes):
            found = self.parallel.run(self._in_precision(forward_pass), index + 1 == len(passes))
            for name, value in found.items():
                metrics[name] = metrics[name] + value.detach() if name in metrics else value.detach()
        metrics["gradient_norm"] = self._clipped_norm()
        return metrics

    def _update(self, step: int, batch: Any, metrics: dict[str, Tensor]) -> None:
        """Update the weights.

        Raises:
            TrainingError: If the loss or the gradients are not finite.
        """
        finite = all(bool(torch.isfinite(metrics[name])) for name in ("loss", "gradient_norm"))
        if any_process(not finite):  # all stop, else those with a finite loss would wait for the others
            raise TrainingError(self._dumped(step, batch, metrics))
        self.optimizer.step()
        self.task.after_step(step)

    def _in_precision(self, forward_pass: ForwardPass) -> ForwardPass:
        def run() -> dict[str, Tensor]:
            with in_precision(self.device, self.dtype):
                return forward_pass()

        return run

    def _clipped_norm(self) -> Tensor:
        """Clip the gradients to `clip_norm`, and return their norm before."""
        with_grad = [p for p in self.trained if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in with_grad if p.grad is not None])
        global_norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(with_grad, self.config.clip_norm, global_norm)
        return global_norm

    def _dumped(self, step: int, batch: Any, metrics: dict[str, Tensor]) -> str:
        """Write the batch of a failed step to disk, and return the error message."""
        values = {name: value.item() for name, value in metrics.items()}
        name = "gradient norm" if torch.isfinite(metrics["loss"]) else "loss"
        parent = self.run if self.ranks.world_size == 1 else self.run / f"rank_{self.ranks.rank}"
        folder = dump_step(parent, step, values, self.task.names(batch), batch)
        return (
            f"the {name} of step {step} is {values[name.replace(' ', '_')]}; stopped before the update. The batch and "
            f"its names are in {folder}, the checkpoints up to then in the run folder: resume from them with a smaller "
            "trainer.lr or trainer.precision=float32."
        )

    def _save(self, step: int) -> None:
        tensors = training_tensors(self.task.modules, self.optimizer)
        self.checkpoints.save(step, self.task.files(), tensors)


def _refuse_large_state(modules: nn.Module) -> None:
    """Refuse to train weights whose gradients and two optimizer averages do not fit into memory."""
    trained = sum(p.numel() * p.itemsize for p in modules.parameters() if p.requires_grad)
    refuse_beyond_memory(
        3 * trained,
        "the gradients of the trained weights and the optimizer's averages",
        "lower embed_dim or depth",
    )


class _Report:
    """The progress bar, the log and the clock of a training; only the main process shows and writes."""

    def __init__(self, trainer: Trainer, start: int) -> None:
        self.trainer, self.clock, self.flops, self.rate = trainer, StepClock(), 0.0, 0.0
        config, main = trainer.config, trainer.ranks.is_main
        self.log = MetricsLog(trainer.run, start) if main else None
        self.bar = progress(
            trainer.run.parent.name, unit="step", total=config.steps, initial=start, disable=not main
        )

    def step(self, step: int, batch: Any, metrics: dict[str, Tensor]) -> None:
        """Count a step, and log it every `log_every` steps."""
        task, config = self.trainer.task, self.trainer.config
        self.bar.update()
        self.flops += task.flops
        if step % config.log_every and step + 1 != config.steps:
            return
        values = mean_metrics({name: value.item() for name, value in metrics.items()})
        values |= task.monitor(batch, step)
        values["lr"] = learning_rate(config, step)
        if self.flops and not self.rate:
            self.rate = matrix_rate(self.trainer.device, self.trainer.dtype)
        values |= self.clock.metrics(config.batch_size, task.unit, flops=self.flops, rate=self.rate)
        self.flops = 0.0
        if self.log is None:
            return
        self.log.write(step, values)
        losses = [name for name in values if name.startswith("loss")]
        shown = {name: f"{values[name]:.3f}" for name in sorted(losses)[:3]}
        speed = f"{values[f'{task.unit}_per_s']:.1f}"
        self.bar.set_postfix({**shown, f"{task.unit}/s": speed})
        warning = task.warning(values)
        if warning is not None:
            self.say(f"warning: {warning}")

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        if self.log is not None:
            say(text)

    def close(self) -> None:
        """Remove the bar and flush the log."""
        self.bar.close()
        if self.log is not None:
            self.log.close()

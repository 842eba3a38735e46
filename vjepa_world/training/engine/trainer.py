"""The loop that every training shares: precision, rates, log, checkpoints, exact resume, one process or many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from vjepa_world.errors import TrainingError
from vjepa_world.system.device import in_precision, resolve_precision
from vjepa_world.system.memory import refuse_beyond_memory
from vjepa_world.system.progress import progress, say
from vjepa_world.training.engine.checkpoint import Checkpoints, restore_training, training_tensors
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import any_process, mean_figures, ranks, refuse_strangers
from vjepa_world.training.engine.machine_rate import matrix_rate
from vjepa_world.training.engine.metrics import MetricsLog
from vjepa_world.training.engine.monitors import StepClock
from vjepa_world.training.engine.nonfinite import dump_step
from vjepa_world.training.engine.optimizer import build_optimizer, learning_rate, set_rates
from vjepa_world.training.engine.parallel import make_parallel
from vjepa_world.training.engine.shutdown import StopSignal

#: How long a wait for data or a step that can be dropped may go on after a signal [s]: mostly it is done by then.
_GRACE_S = 0.5
#: The same where several processes take a step together, and a dropped one leaves nothing to save.
_SHARED_GRACE_S = 10.0


class Task(Protocol):
    """What is trained. A step's result depends on the weights, the seed and the step alone."""

    #: What one batch entry is called beside the throughput.
    unit: str

    @property
    def flops(self) -> float:
        """Floating-point operations of the parts that were last returned, for one process; 0 if nobody counts them."""
        ...

    @property
    def modules(self) -> nn.Module:
        """All weights that a resumed run needs; those that require a gradient are trained."""
        ...

    def batches(self, start_step: int) -> Iterator[Any]:
        """Yield this process's part of the batches of the steps from `start_step` on."""
        ...

    def names(self, batch: Any) -> Sequence[str]:
        """Return what the batch's entries are called."""
        ...

    def parts(self, batch: Any, step: int) -> Sequence[Callable[[], dict[str, Tensor]]]:
        """Return the forward passes of a step, each giving figures with `loss`; figures and gradients add up.

        A part is backpropagated before the next one is run, so one graph lives at a time.
        """
        ...

    def after_step(self, step: int) -> None:
        """Do what follows the optimizer's step (a moving average)."""
        ...

    def monitor(self, batch: Any, step: int) -> dict[str, float]:
        """Return figures that are worth their cost only at logged steps."""
        ...

    def warning(self, figures: dict[str, float]) -> str | None:
        """Return what the user should hear of, given a logged step's figures."""
        ...

    def files(self) -> dict[str, Any]:
        """Return what users load: the contents of the checkpoint folder."""
        ...


class Trainer:
    """Trains a :class:`Task` into a run folder."""

    def __init__(self, task: Task, config: TrainerConfig, run: Path, device: torch.device) -> None:
        refuse_strangers()
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
        """Train to the last step, from the newest checkpoint if `resume`.

        Ctrl-C and SIGTERM save before the run ends: after the step at hand if that is done in half a second, else what
        was reached before it. Of several processes none can drop a step that the others take: they finish it, and a
        wait for data of more than ten seconds is given up without saving.

        Raises:
            TrainingError: If the loss or a gradient is not finite; the step is not taken.
            CheckpointError: If a checkpoint cannot be written or read.
            KeyboardInterrupt: If a signal asked for the end.
        """
        start = restore_training(self.run, self.task.modules, self.optimizer) if resume else 0
        report = _Report(self, start)
        try:
            with StopSignal() as stop:
                done = self._steps(start, stop, report)
                if stop.asked:
                    self.checkpoints.wait()
                    report.say(f"saved after step {done}; go on with resume=true")
                    raise KeyboardInterrupt
            self.checkpoints.wait()
        finally:
            self.checkpoints.close()
            report.close()

    def _steps(self, start: int, stop: StopSignal, report: _Report) -> int:
        """Take the steps up to the last one or a signal; return how many are done, and saved."""
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
                    figures = self._computed(done, batch)
            except KeyboardInterrupt:
                if not stop.asked:
                    raise
                if not alone:
                    report.say(f"stopped while waiting for the data of step {done}; saved are {saved} steps")
                    raise
                if done > saved:
                    self._save(done)
                return done
            self._update(done, batch, figures)
            report.step(done, batch, figures)
            done += 1
            stopping = any_process(stop.asked or self.checkpoints.failed)
            if done % self.config.checkpoint_every == 0 or done == self.config.steps or stopping:
                self._save(done)
                saved = done
            if stopping:
                stop.asked = True
                return done

    def step(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Take one optimizer step and return its figures.

        Raises:
            TrainingError: If the loss or the gradients are not finite; nothing is updated, and the batch is dumped.
        """
        figures = self._computed(step, batch)
        self._update(step, batch, figures)
        return figures

    def _computed(self, step: int, batch: Any) -> dict[str, Tensor]:
        """Return a step's figures, its gradients computed; no weight has changed."""
        set_rates(self.optimizer, self.config, step)
        self.optimizer.zero_grad(set_to_none=True)
        figures: dict[str, Tensor] = {}
        parts = self.task.parts(batch, step)
        for index, part in enumerate(parts):
            found = self.parallel.run(self._in_precision(part), index + 1 == len(parts))
            for name, value in found.items():
                figures[name] = figures[name] + value.detach() if name in figures else value.detach()
        figures["gradient_norm"] = self._clipped_norm()
        return figures

    def _update(self, step: int, batch: Any, figures: dict[str, Tensor]) -> None:
        """Let the optimizer take the step.

        Raises:
            TrainingError: If the loss or the gradients are not finite.
        """
        finite = all(bool(torch.isfinite(figures[name])) for name in ("loss", "gradient_norm"))
        if any_process(not finite):  # all stop, else those whose part is finite would wait for the others
            raise TrainingError(self._dumped(step, batch, figures))
        self.optimizer.step()
        self.task.after_step(step)

    def _in_precision(self, part: Callable[[], dict[str, Tensor]]) -> Callable[[], dict[str, Tensor]]:
        def run() -> dict[str, Tensor]:
            with in_precision(self.device, self.dtype):
                return part()

        return run

    def _clipped_norm(self) -> Tensor:
        """Return the gradients' norm before they are clipped to `clip_norm`."""
        given = [p for p in self.trained if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in given if p.grad is not None])
        whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if self.config.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(given, self.config.clip_norm, whole)
        return whole

    def _dumped(self, step: int, batch: Any, figures: dict[str, Tensor]) -> str:
        values = {name: value.item() for name, value in figures.items()}
        name = "gradient norm" if torch.isfinite(figures["loss"]) else "loss"
        place = self.run if self.ranks.world_size == 1 else self.run / f"rank_{self.ranks.rank}"
        folder = dump_step(place, step, values, self.task.names(batch), batch)
        return (
            f"the {name} of step {step} is {values[name.replace(' ', '_')]}; stopped before the update. The batch and "
            f"its names are in {folder}, the checkpoints up to then in the run folder: resume from them with a smaller "
            "trainer.lr or trainer.precision=float32."
        )

    def _save(self, step: int) -> None:
        tensors = training_tensors(self.task.modules, self.optimizer)
        self.checkpoints.save(step, self.task.files(), tensors)


def _refuse_large_state(modules: nn.Module) -> None:
    """Refuse to train weights whose gradients and the optimizer's two averages do not fit into memory."""
    trained = sum(p.numel() * p.itemsize for p in modules.parameters() if p.requires_grad)
    refuse_beyond_memory(
        3 * trained,
        "the gradients of the trained weights and the optimizer's averages",
        "lower embed_dim or depth",
    )


class _Report:
    """The bar, the log and the clock of a training; the main process alone shows and writes."""

    def __init__(self, trainer: Trainer, start: int) -> None:
        self.trainer, self.clock, self.flops, self.rate = trainer, StepClock(), 0.0, 0.0
        config, main = trainer.config, trainer.ranks.is_main
        self.log = MetricsLog(trainer.run, start) if main else None
        self.bar = progress(
            trainer.run.parent.name, unit="step", total=config.steps, initial=start, disable=not main
        )

    def step(self, step: int, batch: Any, figures: dict[str, Tensor]) -> None:
        """Count a step, and log it when its turn has come."""
        task, config = self.trainer.task, self.trainer.config
        self.bar.update()
        self.flops += task.flops
        if step % config.log_every and step + 1 != config.steps:
            return
        values = mean_figures({name: value.item() for name, value in figures.items()})
        values |= task.monitor(batch, step)
        values["lr"] = learning_rate(config, step)
        if self.flops and not self.rate:
            self.rate = matrix_rate(self.trainer.device, self.trainer.dtype)
        values |= self.clock.figures(config.batch_size, task.unit, flops=self.flops, rate=self.rate)
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
        """Show a line above the bar."""
        if self.log is not None:
            say(text)

    def close(self) -> None:
        """Take the bar away and flush the log."""
        self.bar.close()
        if self.log is not None:
            self.log.close()

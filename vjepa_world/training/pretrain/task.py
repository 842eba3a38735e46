"""The training task of pretraining: an objective, the clips, and what is monitored.

Legend: B clips of this process, V views, T frames, C channels, H W pixels; N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.data.loading.batches import ClipBatch
from vjepa_world.errors import ConfigError
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.ops.feature_statistics import effective_rank, feature_std
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.pretrained.native import checkpoint_files
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import ranks
from vjepa_world.training.engine.ema import ema_distance
from vjepa_world.training.engine.step_draw import StepDraw, step_generator
from vjepa_world.training.pretrain.collapse import CollapseAlarm
from vjepa_world.training.pretrain.objectives.config import ObjectiveConfig
from vjepa_world.training.pretrain.objectives.protocol import ForwardPass, Objective
from vjepa_world.training.pretrain.online_probe import OnlineProbe
from vjepa_world.training.pretrain.views import colored, draw_pairs, stills

#: Clips whose features are monitored.
MONITORED_CLIPS = 4


class Loader(Protocol):
    """Yields the batches of clips."""

    def batches(self, start_step: int, steps: int) -> Iterator[ClipBatch]:
        """Yield this process's share of the batches of steps start_step, ..., steps - 1."""
        ...


class PretrainTask:
    """Trains an objective on clips, and monitors the features.

    Args:
        loader: Yields the batches.
        objective: What is minimised; its modules are moved to `device`.
        config: The objective's options.
        trainer: The trainer's options.
        seed: Seed of all randomness.
        device: The device to train on.
        provenance: What the checkpoint records of how it was made.
        probe: Measures the features on labelled clips; None for no probe.
        probe_every: Steps between two measurements.
        alarm: Watches the metrics for collapse; None for no alarm.
    """

    unit = "clips"

    def __init__(
        self,
        loader: Loader,
        objective: Objective,
        config: ObjectiveConfig,
        trainer: TrainerConfig,
        *,
        seed: int,
        device: torch.device,
        provenance: dict[str, Any],
        probe: OnlineProbe | None = None,
        probe_every: int = 0,
        alarm: CollapseAlarm | None = None,
    ) -> None:
        _check_slices(config, trainer)
        self.loader, self.objective, self.config, self.trainer = loader, objective, config, trainer
        self.seed, self.device, self.provenance = seed, device, provenance
        self.probe, self.probe_every, self.alarm = probe, probe_every, alarm
        self.modules: nn.Module = objective.modules.to(device)
        self.untrained = untrained_encoder(objective.encoder.config, seed + 1).to(device)

    def batches(self, start_step: int) -> Iterator[ClipBatch]:
        """Yield batches of clips from `start_step` on."""
        return self.loader.batches(start_step, self.trainer.steps)

    @property
    def flops(self) -> float:
        """Floating-point operations of the last returned passes."""
        return self.objective.flops

    def warning(self, metrics: dict[str, float]) -> str | None:
        """Return the collapse alarm if it goes off."""
        return None if self.alarm is None else self.alarm.update(metrics)

    def names(self, batch: ClipBatch) -> Sequence[str]:
        """Return the file and time of each clip."""
        return batch.names

    def forward_passes(self, batch: ClipBatch, step: int) -> Sequence[ForwardPass]:
        """Return the forward passes of a step on clips, on their frames as images, or on pairs of their frames."""
        process = ranks()
        draw = StepDraw(
            step_generator(self.seed, step),
            self._progress(step),
            process.rank,
            process.world_size,
            self.trainer.accumulate,
        )
        frames = batch.frames
        if self.objective.views == 1 and frames.shape[1] > 1:
            step_input = self.config.step_input(torch.rand((), generator=draw.generator).item())
            if step_input == "images":
                frames = stills(frames, self.objective.encoder.config.tubelet_size)
            elif step_input == "pairs":
                frames, draw = draw_pairs(frames, draw), replace(draw, pairs=True)
        video = colored(frames.to(self.device, non_blocking=True), self.config.color_jitter, draw)
        return self.objective.forward_passes(video, draw)

    def _progress(self, step: int) -> float:
        return step / max(self.trainer.steps - 1, 1)

    def after_step(self, step: int) -> None:
        """Let the objective do what follows the optimizer's step."""
        self.objective.after_step(self._progress(step))

    @torch.no_grad()
    def monitor(self, batch: ClipBatch, step: int) -> dict[str, float]:
        """Return spread and effective rank of the features and of an untrained encoder's, and the probe's metrics."""
        frames = batch.frames[:MONITORED_CLIPS]
        video = normalize_video((frames if self.objective.views == 1 else frames[:, 0]).to(self.device))
        frozen = self.objective.frozen
        metrics = {}
        for name, encoder in (("target", frozen), ("untrained", self.untrained)):
            features = self._normalised(encoder(video))
            metrics[f"{name}_std"] = feature_std(features)
            metrics[f"{name}_rank"] = effective_rank(features)
        if frozen is not self.objective.encoder:
            metrics["ema_distance"] = ema_distance(frozen, self.objective.encoder)
        if self.probe is not None and step % self.probe_every == 0:
            metrics |= self.probe.metrics(frozen)
        return metrics

    def _normalised(self, features: Tensor) -> Tensor:
        """Return features `[B, N, D]` LayerNormed, as rows `[B*N, D]`."""
        return F.layer_norm(features.float(), features.shape[-1:]).flatten(0, 1)

    def files(self) -> dict[str, Any]:
        """Return the files of a checkpoint of the encoder that users get."""
        return checkpoint_files(self.objective.frozen, provenance=self.provenance)


def _check_slices(config: ObjectiveConfig, trainer: TrainerConfig) -> None:
    """Refuse micro-batches where a statistic is of the whole batch."""
    if config.compares_clips and trainer.accumulate > 1:
        raise ConfigError(
            f"trainer.accumulate is {trainer.accumulate}, but the objective compares all clips of a batch with each "
            "other; use trainer.accumulate=1 and a smaller trainer.batch_size, or more processes."
        )

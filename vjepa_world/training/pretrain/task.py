"""Pretraining: an encoder learns from unlabeled clips by one of the methods.

Legend: B clips of this process, V views, T frames, C channels, H W pixels; N tokens, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from vjepa_world.training.engine.monitors import ema_distance
from vjepa_world.training.engine.sampling import step_generator
from vjepa_world.training.pretrain.collapse import CollapseAlarm
from vjepa_world.training.pretrain.config import PretrainObjective
from vjepa_world.training.pretrain.objectives import Jepa, Method, Part, StepDraw
from vjepa_world.training.pretrain.online_probe import OnlineProbe
from vjepa_world.training.pretrain.views import colored, draw_pairs, stills

#: Clips whose features the monitor looks at.
MONITORED_CLIPS = 4


class Loader(Protocol):
    """Where batches come from."""

    def batches(self, start_step: int, steps: int) -> Iterator[ClipBatch]:
        """Yield this process's part of the batches of steps start_step, ..., steps - 1."""
        ...


class PretrainTask:
    """Joins the clips, a method and what is looked at while it trains."""

    unit = "clips"

    def __init__(
        self,
        loader: Loader,
        method: Method,
        objective: PretrainObjective,
        trainer: TrainerConfig,
        *,
        seed: int,
        device: torch.device,
        provenance: dict[str, Any],
        probe: OnlineProbe | None = None,
        probe_every: int = 0,
        alarm: CollapseAlarm | None = None,
    ) -> None:
        _check_slices(objective, trainer)
        self.loader, self.method, self.objective, self.trainer = loader, method, objective, trainer
        self.seed, self.device, self.provenance = seed, device, provenance
        self.probe, self.probe_every, self.alarm = probe, probe_every, alarm
        self.modules: nn.Module = method.modules.to(device)
        self.untrained = untrained_encoder(method.encoder.config, seed + 1).to(device)

    def batches(self, start_step: int) -> Iterator[ClipBatch]:
        """Yield clips."""
        return self.loader.batches(start_step, self.trainer.steps)

    @property
    def flops(self) -> float:
        """Floating-point operations of the parts that were last returned."""
        return self.method.flops

    def warning(self, figures: dict[str, float]) -> str | None:
        """Return the collapse alarm, when it goes off."""
        return None if self.alarm is None else self.alarm.look(figures)

    def names(self, batch: ClipBatch) -> Sequence[str]:
        """Return the file and place of each clip."""
        return batch.names

    def parts(self, batch: ClipBatch, step: int) -> Sequence[Part]:
        """Return the passes of a step on clips, on their frames as images, or on pairs of their frames."""
        mine = ranks()
        generator = step_generator(self.seed, step)
        draw = StepDraw(generator, self._progress(step), mine.rank, mine.world_size, self.trainer.accumulate)
        frames, pairs = batch.frames, False
        if self.method.views == 1 and frames.shape[1] > 1:
            kind = torch.rand((), generator=generator).item()
            if kind < self.objective.image_fraction:
                frames = stills(frames, self.method.encoder.config.tubelet_size)
            elif kind < self.objective.image_fraction + self.objective.pair_fraction:
                frames, pairs = draw_pairs(frames, draw), True
        video = colored(frames.to(self.device, non_blocking=True), self.objective.color_jitter, draw)
        if pairs:
            assert isinstance(self.method, Jepa)
            return self.method.pair_parts(video, draw)
        return self.method.parts(video, draw)

    def _progress(self, step: int) -> float:
        return step / max(self.trainer.steps - 1, 1)

    def after_step(self, step: int) -> None:
        """Let the method follow the optimizer."""
        self.method.after_step(self._progress(step))

    @torch.no_grad()
    def monitor(self, batch: ClipBatch, step: int) -> dict[str, float]:
        """Return spread and effective rank of the features beside an untrained encoder's, and what the probe reads."""
        frames = batch.frames[:MONITORED_CLIPS]
        video = normalize_video((frames if self.method.views == 1 else frames[:, 0]).to(self.device))
        figures = {}
        for name, encoder in (("target", self.method.frozen), ("untrained", self.untrained)):
            features = self._normalised(encoder(video))
            figures[f"{name}_std"] = feature_std(features)
            figures[f"{name}_rank"] = effective_rank(features)
        if self.method.frozen is not self.method.encoder:
            figures["ema_distance"] = ema_distance(self.method.frozen, self.method.encoder)
        if self.probe is not None and step % self.probe_every == 0:
            figures |= self.probe.figures(self.method.frozen)
        return figures

    def _normalised(self, features: Tensor) -> Tensor:
        return F.layer_norm(features.float(), features.shape[-1:]).flatten(0, 1)

    def files(self) -> dict[str, Any]:
        """Return the checkpoint of the encoder that is frozen and used."""
        return checkpoint_files(self.method.frozen, provenance=self.provenance)


def _check_slices(objective: PretrainObjective, trainer: TrainerConfig) -> None:
    """Refuse slices where a statistic is of the whole batch."""
    if objective.compares_clips and trainer.accumulate > 1:
        raise ConfigError(
            f"trainer.accumulate is {trainer.accumulate}, but the objective compares all clips of a batch with each "
            "other; use trainer.accumulate=1 and a smaller trainer.batch_size, or more processes."
        )

"""A sweep of probes, one for each learning rate and weight decay, trained together on the same frozen features.

Legend: M clips, m clips of a batch, N tokens per clip, D width, K outputs, G videos or episodes.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, TrainingError
from vjepa_world.models.config import ProbeConfig
from vjepa_world.models.probe import LinearProbe, Probe, build_probe
from vjepa_world.pretrained.native import checkpoint_steps
from vjepa_world.system.device import in_precision, resolve_precision
from vjepa_world.system.seeding import seeded
from vjepa_world.training.engine.checkpoint import load_tensors, restore_training, training_tensors
from vjepa_world.training.probe.config import Setting
from vjepa_world.training.probe.data import ProbeData

logger = logging.getLogger(__name__)

_MEANS_AT_ONCE = 256
_ALL_DIVERGED = "the probes of all settings diverged; give smaller lrs, or trainer.precision=float32."


@dataclass(frozen=True)
class Trial:
    """The validation result of a setting.

    Attributes:
        setting: The setting.
        score: Share of correct videos, or mean Euclidean error.
        loss: Cross-entropy [nats], or mean squared error of the standardised numbers.
    """

    setting: Setting
    score: float
    loss: float

    @property
    def is_finite(self) -> bool:
        """Whether both numbers are finite."""
        return math.isfinite(self.score) and math.isfinite(self.loss)


class ProbeSweep:
    """Probes with the same initial weights and the same batches; only learning rate and weight decay differ.

    Numbers are regressed in standard deviations of the training clips. A probe that diverges is no longer trained.
    """

    def __init__(
        self,
        config: ProbeConfig,
        settings: Sequence[Setting],
        data: ProbeData,
        *,
        seed: int,
        device: torch.device,
        precision: str,
    ) -> None:
        self.settings, self.data, self.device = tuple(settings), data, device
        self.dtype = resolve_precision(precision, device)
        with seeded(seed):
            first = build_probe(config)
        if isinstance(first, LinearProbe):
            first.set_statistics(self._mean_tokens())
        self.probes = nn.ModuleList([copy.deepcopy(first) for _ in settings]).to(device)
        self.optimizer = torch.optim.AdamW(self._groups(), betas=(0.9, 0.95))
        self.alive = [True] * len(self.settings)
        self.mean, self.std = self._target_scale()

    def _mean_tokens(self) -> Tensor:
        parts = self.data.clips["train"].split(_MEANS_AT_ONCE)
        return torch.cat([self.data.features[part].float().mean(dim=1) for part in parts])

    def _groups(self) -> list[dict[str, Any]]:
        groups = []
        for probe, setting in zip(self.probes, self.settings, strict=True):
            for decay, matrices in ((setting.weight_decay, True), (0.0, False)):
                weights = [p for p in probe.parameters() if (p.ndim > 1) == matrices]
                groups.append(
                    {"params": weights, "weight_decay": decay, "lr": setting.lr, "peak": setting.lr}
                )
        return groups

    def _target_scale(self) -> tuple[Tensor, Tensor]:
        if self.data.is_classification:
            return torch.zeros(self.data.outputs), torch.ones(self.data.outputs)
        values = self.data.targets[self.data.clips["train"]]
        std = values.std(dim=0, correction=0)
        return values.mean(dim=0), torch.where(std > 0, std, 1.0)

    def step(self, clips: Tensor, rate: float) -> dict[str, float]:
        """Train every probe on the clips `[m]`, at a share `rate` of its peak learning rate.

        Returns:
            The loss of each setting that is still finite, by its name.

        Raises:
            TrainingError: If none is.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["peak"]
        features, targets = self._batch(clips)
        losses = {}
        for number, (setting, probe) in enumerate(zip(self.settings, self.probes, strict=True)):
            if self.alive[number]:
                loss = self._loss(self._forward(probe, features), targets)
                self.alive[number] = bool(torch.isfinite(loss))
                if self.alive[number]:
                    losses[setting.name] = loss
                else:
                    logger.warning("the probe of %s diverged and is no longer trained", setting.name)
        if not losses:
            raise TrainingError(_ALL_DIVERGED)
        self.optimizer.zero_grad(set_to_none=True)
        torch.stack(list(losses.values())).sum().backward()
        self.optimizer.step()
        return {name: loss.item() for name, loss in losses.items()}

    def _batch(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        features = self.data.features[clips].to(self.device).float()
        targets = self.data.targets[clips]
        if not self.data.is_classification:
            targets = (targets - self.mean) / self.std
        return features, targets.to(self.device)

    def _forward(self, probe: nn.Module, features: Tensor) -> Tensor:
        with in_precision(self.device, self.dtype):
            out: Tensor = probe(features)
        return out.float()

    def _loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (F.cross_entropy if self.data.is_classification else F.mse_loss)(outputs, targets)

    @torch.no_grad()
    def outputs(self, number: int, clips: Tensor, batch_size: int) -> Tensor:
        """Return the outputs of probe `number` on clips `[m]`: logits, or numbers in the data's units, `[m, K]`."""
        parts = [
            self._forward(self.probes[number], self._batch(part)[0]).cpu() for part in clips.split(batch_size)
        ]
        return torch.cat(parts) * self.std + self.mean

    def trials(self, batch_size: int) -> list[Trial]:
        """Return the validation result of each setting; that of a diverged one is not finite."""
        clips = self.data.clips["val"]
        targets, groups = self.data.targets[clips], self.data.groups[clips]
        found = []
        for number, setting in enumerate(self.settings):
            outputs = self.outputs(number, clips, batch_size)
            if self.data.is_classification:
                right = video_classes(outputs, groups) == video_values(targets, groups)
                score, loss = right.float().mean(), F.cross_entropy(outputs, targets)
            else:
                score = (outputs - targets).norm(dim=1).mean()
                loss = F.mse_loss(outputs / self.std, targets / self.std)
            found.append(Trial(setting, score.item(), loss.item()))
        return found

    def best(self, trials: Sequence[Trial]) -> int:
        """Return the index of the setting with the best score; the lower loss decides between equal ones.

        Raises:
            TrainingError: If no result is finite.
        """
        sign = -1 if self.data.is_classification else 1
        finite = [number for number, trial in enumerate(trials) if self.alive[number] and trial.is_finite]
        if not finite:
            raise TrainingError(_ALL_DIVERGED)
        return min(finite, key=lambda number: (sign * trials[number].score, trials[number].loss))

    def probe(self, number: int) -> Probe:
        """Return a copy of probe `number` on the CPU, whose numbers are in the data's units."""
        probe: Probe = copy.deepcopy(self.probes[number]).cpu().eval().requires_grad_(False)  # type: ignore[assignment]
        probe.linear.weight.mul_(self.std.unsqueeze(1))
        probe.linear.bias.mul_(self.std).add_(self.mean)
        return probe

    def state(self) -> dict[str, Tensor]:
        """Return the tensors that a resumed run needs, of any shape, by name."""
        settings = torch.tensor([(s.lr, s.weight_decay) for s in self.settings], dtype=torch.float64)
        own = {"settings": settings, "alive": torch.tensor(self.alive)}
        return own | training_tensors(self.probes, self.optimizer)

    def restore(self, run: Path) -> int:
        """Go on from a run's newest checkpoint, if it has one; return the steps done.

        Raises:
            CheckpointError: If it is broken, or of another sweep.
        """
        folders = checkpoint_steps(run)
        if not folders:
            return 0
        own = {
            "settings": torch.zeros(len(self.settings), 2, dtype=torch.float64),
            "alive": torch.tensor(self.alive),
        }
        load_tensors(folders[-1], own)
        if not torch.equal(own["settings"], self.state()["settings"]):
            recorded = [Setting(lr, decay).name for lr, decay in own["settings"].tolist()]
            raise CheckpointError(
                f"{folders[-1]} is of another sweep: its settings are {', '.join(recorded)}, now they are "
                f"{', '.join(s.name for s in self.settings)}. Resume with those, or give another name=."
            )
        self.alive = own["alive"].tolist()
        return restore_training(run, self.probes, self.optimizer)


def video_values(values: Tensor, groups: Tensor) -> Tensor:
    """Return each video's value `[G]`, which its clips `[m]` share; videos are in the order of `groups`."""
    _, video = groups.unique(return_inverse=True)
    shared = torch.zeros(int(video.max()) + 1, dtype=values.dtype)
    shared[video] = values
    return shared


def video_classes(logits: Tensor, groups: Tensor) -> Tensor:
    """Return each video's class `[G]`: the most probable one on average over its clips, `logits [m, K]`."""
    _, video = groups.unique(return_inverse=True)
    sums = torch.zeros(int(video.max()) + 1, logits.shape[1])
    return sums.index_add_(0, video, logits.softmax(dim=1)).argmax(dim=1)

"""Action-conditioned prediction in the features of a frozen encoder: V-JEPA 2-AC's objective.

Legend: B windows, T frames, N tokens a frame, D width, A action size, S state size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.errors import DataError
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained.native import checkpoint_files
from vjepa_world.training.config import FinetuneObjective, TrainerConfig
from vjepa_world.training.frozen_features import FrozenFeatures
from vjepa_world.training.objectives import motion_weights, rollout_predictions, weighted_l1
from vjepa_world.training.sampling import step_generator

Window = tuple[Tensor, Tensor, Tensor]

#: Held-out windows that the monitor looks at.
MONITORED_WINDOWS = 128


class FinetuneTask:
    """Trains the predictor of a world model with teacher forcing and a rollout.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3).
    """

    unit = "windows"
    flops = 0.0  # not counted

    def __init__(
        self,
        model: LatentWorldModel,
        data: FrozenFeatures,
        *,
        frames: int,
        val_fraction: float,
        objective: FinetuneObjective,
        trainer: TrainerConfig,
        seed: int,
        device: torch.device,
        provenance: dict[str, Any],
    ) -> None:
        self.model, self.data, self.frames = model.to(device), data, frames
        self.objective, self.trainer, self.seed, self.device = objective, trainer, seed, device
        self.provenance = provenance
        episodes = len(data.starts) - 1
        held_out = max(round(val_fraction * episodes), 1)
        self.train = data.windows(frames, slice(0, episodes - held_out))
        self.held_out = data.windows(frames, slice(episodes - held_out, episodes))
        if not len(self.train) or not len(self.held_out):
            raise DataError(
                f"{episodes} episodes leave {len(self.train)} windows of {frames} frames to train on and "
                f"{len(self.held_out)} to hold out; both are needed: give more or longer episodes, or a smaller "
                "data.frames."
            )
        self._learn_statistics(slice(0, episodes - held_out))
        self.modules: nn.Module = model.predictor

    def _learn_statistics(self, episodes: slice) -> None:
        """Standardise with, and bound plans by, the actions that were taken (not the rows that end an episode)."""
        firsts = self.data.windows(2, episodes)
        actions = self.data.actions[firsts]
        self.model.predictor.set_statistics(actions, self.data.states[firsts])
        self.model.action_low.copy_(actions.amin(dim=0))
        self.model.action_high.copy_(actions.amax(dim=0))

    def batches(self, start_step: int) -> Iterator[Window]:
        """Yield windows: features `[B, T, N, D]`, actions `[B, T, A]`, states `[B, T, S]`."""
        for step in range(start_step, self.trainer.steps):
            generator = step_generator(self.seed, step)
            drawn = torch.randint(len(self.train), (self.trainer.batch_size,), generator=generator)
            yield self._window(self.train[drawn])

    def _window(self, firsts: Tensor) -> Window:
        features, actions, states = self.data.gather(firsts, self.frames)
        return features.to(self.device), actions.to(self.device), states.to(self.device)

    def names(self, batch: Window) -> Sequence[str]:
        """Return the windows' places in the batch."""
        return [f"window {place}" for place in range(len(batch[0]))]

    def parts(self, batch: Window, step: int) -> Sequence[Callable[[], dict[str, Tensor]]]:
        """Return the one pass of a step."""
        return [lambda: self._loss(batch)]

    def _loss(self, batch: Window) -> dict[str, Tensor]:
        """Return teacher forcing's and the rollout's weighted L1, and their sum."""
        features, actions, states = batch
        forced, fed = rollout_predictions(
            self.model.predictor, features, actions, states, self.objective.rollout
        )
        weights = motion_weights(features[:, :-1], features[:, 1:], self.objective.motion_share)
        teacher = weighted_l1(forced, features[:, 1:], weights)
        if not fed.shape[1]:
            return {"loss": teacher, "loss_teacher": teacher}
        last = fed.shape[1] + 1
        weights = motion_weights(features[:, :1], features[:, 2 : last + 1], self.objective.motion_share)
        rollout = weighted_l1(fed, features[:, 2 : last + 1], weights)
        return {"loss": teacher + rollout, "loss_teacher": teacher, "loss_rollout": rollout}

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    @torch.no_grad()
    def monitor(self, batch: Window, step: int) -> dict[str, float]:
        """Return the error on held-out episodes beside copy-last-frame's and its own with shuffled actions.

        All three are weighted as the loss is.
        """
        generator = step_generator(self.seed + 1, 0)
        drawn = torch.randint(len(self.held_out), (MONITORED_WINDOWS,), generator=generator)
        features, actions, states = self._window(self.held_out[drawn])
        shuffled = actions[torch.randperm(len(actions), generator=generator)]
        weights = motion_weights(features[:, :-1], features[:, 1:], self.objective.motion_share)
        copied = weighted_l1(features[:, :-1], features[:, 1:], weights)
        return {
            "val_error": self._error(features, actions, states, weights),
            "val_shuffled_actions": self._error(features, shuffled, states, weights),
            "val_copy_last_frame": copied.item(),
        }

    def _error(self, features: Tensor, actions: Tensor, states: Tensor, weights: Tensor) -> float:
        forced, _ = rollout_predictions(self.model.predictor, features, actions, states, horizon=1)
        return weighted_l1(forced, features[:, 1:], weights).item()

    def warning(self, figures: dict[str, float]) -> str | None:
        """Nothing is watched."""
        return None

    def files(self) -> dict[str, Any]:
        """Return the world model's checkpoint."""
        return checkpoint_files(self.model, provenance=self.provenance)

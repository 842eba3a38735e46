"""The training task of fine-tuning: action-conditioned prediction in the features of a frozen encoder.

Legend: B windows, T frames, N tokens per frame, D width, A action size, S state size, K steps of a rollout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.data.training_record import training_record
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained.native import checkpoint_files
from vjepa_world.system.device import in_precision, resolve_precision
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import ranks
from vjepa_world.training.engine.parallel import ForwardPass
from vjepa_world.training.engine.step_draw import StepDraw, even_slices, step_generator
from vjepa_world.training.finetune.config import FinetuneObjective
from vjepa_world.training.finetune.losses import (
    decoder_loss,
    goal_reader_loss,
    inverse_loss,
    prediction_losses,
    reconstruction_loss,
    state_loss,
)
from vjepa_world.training.finetune.micro_batch import MicroBatch, on_device, token_weights
from vjepa_world.training.finetune.predictions import Predictions, predict_windows
from vjepa_world.training.finetune.trajectory_sources import (
    TrajectorySource,
    WindowDraw,
    draw_held_out,
    draw_step,
    held_out_by_path,
    used_episodes,
)
from vjepa_world.training.finetune.window_batches import WindowBatch, WindowReader

#: Held-out windows that are monitored, of all sources together, and at least so many of each.
MONITORED_WINDOWS, LEAST_MONITORED = 128, 16

#: Frames that are encoded at once: more are no faster, and take memory.
ENCODED_AT_ONCE = 32


class FinetuneTask:
    """Trains the predictor, the learned tokens, the inverse model, the goal reader and the decoder of a world model.

    Args:
        model: The world model; it is moved to `device`.
        sources: The datasets.
        reader: Reads their windows.
        objective: What is minimised.
        trainer: The trainer's options.
        views: one or all, see `data.views`.
        seed: Seed of all randomness.
        device: The device to train on.
        provenance: What the checkpoint records of how it was made.
        bad_episodes: The CSV file that names unusable episodes; None writes none.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3).
    """

    unit = "windows"
    flops = 0.0  # not counted

    def __init__(
        self,
        model: LatentWorldModel,
        sources: Sequence[TrajectorySource],
        reader: WindowReader,
        *,
        objective: FinetuneObjective,
        trainer: TrainerConfig,
        views: str = "one",
        seed: int,
        device: torch.device,
        provenance: dict[str, Any],
        bad_episodes: Path | None = None,
    ) -> None:
        self.model, self.sources, self.reader, self.views = model.to(device), sources, reader, views
        self.objective, self.trainer, self.seed, self.device = objective, trainer, seed, device
        self.provenance = provenance | {
            "held_out": held_out_by_path(sources),
            "cameras": {source.name: list(source.cameras) for source in sources},
            **training_record([used_episodes(source) for source in sources]),
        }
        self.bad_episodes, self.ranks = bad_episodes, ranks()
        self.dtype = resolve_precision(trainer.precision, device)
        for embodiment in {source.embodiment for source in sources}:
            self._set_statistics(embodiment)
        self.modules: nn.Module = model.trained()
        self._in_pairs = model.goal_reader is not None
        self._held_out: list[WindowBatch] = []
        self._write_bad()

    def _set_statistics(self, embodiment: str) -> None:
        """Set the statistics and the action bounds of one robot from its training windows."""
        numbers = [s.table.states_and_actions(s.train) for s in self.sources if s.embodiment == embodiment]
        states, actions = (
            torch.cat([part.flatten(0, 1) for part in column]) for column in zip(*numbers, strict=True)
        )
        robot = self.model.predictor.robot(embodiment)
        robot.set_statistics(actions, states)
        low, high = actions.amin(dim=0), actions.amax(dim=0)
        if robot.config.action_meaning == "delta" and robot.config.action_step:  # speeds were declared
            most = low.new_tensor(robot.config.action_step)
            low, high = torch.clamp(low, -most, most), torch.clamp(high, -most, most)
        robot.action_low.copy_(low)
        robot.action_high.copy_(high)

    def batches(self, start_step: int) -> Iterator[WindowBatch]:
        """Yield this process's share of each step's windows."""
        steps = range(start_step, self.trainer.steps)
        return self.reader.stream(self._draw(step) for step in steps)

    def _draw(self, step: int) -> WindowDraw:
        count = self.trainer.batch_size
        draw = draw_step(
            self.sources, seed=self.seed, step=step, count=count, views=self.views, in_pairs=self._in_pairs
        )
        return draw.rows(torch.arange(count).chunk(self.ranks.world_size)[self.ranks.rank].tolist())

    def names(self, batch: WindowBatch) -> Sequence[str]:
        """Return a name for each window."""
        return batch.names

    def forward_passes(self, batch: WindowBatch, step: int) -> Sequence[ForwardPass]:
        """Return the forward passes of a step, one for each of `trainer.accumulate` micro-batches."""
        draw = StepDraw(
            generator=step_generator(self.seed + 1, step),
            progress=step / self.trainer.steps,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
        )
        windows = self._encoded(batch, self.objective.rollout_at(draw.progress), draw)
        parts = [windows.rows(rows) for rows in even_slices(len(windows), self.trainer.accumulate)]
        return [partial(self._losses, part, len(part) / len(windows)) for part in parts]

    @torch.no_grad()
    def _encoded(self, batch: WindowBatch, rollout: int, draw: StepDraw) -> MicroBatch:
        """Return windows on the device with their features and the weights of their tokens."""
        frozen = self._frozen(batch)
        features = self.model.compact(frozen.flatten(0, 1)).unflatten(0, frozen.shape[:2])
        count, frames = features.shape[:2]
        later, decoded = self._draw_frames(count, frames, draw)
        names = ("actions", "states", "extrinsics", "images", "episodes")
        given = {name: getattr(batch, name) for name in names}
        return MicroBatch(
            embodiment=batch.embodiment,
            frozen=frozen,
            features=features,
            later_frame=later,
            decoded_frame=decoded,
            **on_device(given, self.device),
            **token_weights(frozen, features, min(rollout, frames - 1), self.objective.motion_share),
        )

    def _draw_frames(self, rows: int, frames: int, draw: StepDraw) -> tuple[Tensor, Tensor]:
        """Draw each window's second frame of the inverse model, and the frame that is decoded: int64 `[B]` each."""
        inverse = self.model.inverse
        last = min(inverse.config.horizon, frames - 1) if inverse is not None else 1
        later = torch.randint(1, last + 1, (draw.total(rows),), generator=draw.generator)
        decoded = torch.randint(frames, (draw.total(rows),), generator=draw.generator)
        return draw.own(later).to(self.device), draw.own(decoded).to(self.device)

    def _frozen(self, batch: WindowBatch) -> Tensor:
        """Return the frozen features `[B, T, N0, D]` in float32: those of the batch, or of its frames."""
        if batch.features is not None:
            return batch.features.to(self.device)
        assert batch.frames is not None
        flat = batch.frames.flatten(0, 1)
        with in_precision(self.device, self.dtype):
            features = [self.model.frozen_features(part) for part in flat.split(ENCODED_AT_ONCE)]
        return torch.cat(features).float().unflatten(0, batch.frames.shape[:2])

    def _losses(self, batch: MicroBatch, share: float) -> dict[str, Tensor]:
        """Return the losses of a share of a batch, each times the share, and their sum."""
        model, objective = self.model, self.objective
        predicted = self._predict(batch, batch.actions)
        losses = prediction_losses(predicted, batch, objective.loss)
        if predicted.states is not None:
            losses["loss_state"] = objective.state * state_loss(model, predicted.states, batch)
        if model.latents is not None:
            losses["loss_reconstruct"] = objective.reconstruct * reconstruction_loss(model, batch)
        if model.inverse is not None:
            losses["loss_inverse"] = inverse_loss(model, batch)
        if model.goal_reader is not None:
            losses["loss_goal_reader"] = goal_reader_loss(model, batch)[0]
        if model.decoder is not None and batch.images is not None:
            losses["loss_decoder"] = decoder_loss(model, batch)
        losses = {name: value * share for name, value in losses.items()}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _predict(self, batch: MicroBatch, actions: Tensor) -> Predictions:
        return predict_windows(
            self.model.predictor,
            batch.features,
            actions,
            batch.states,
            batch.rollout,
            batch.extrinsics,
            embodiment=batch.embodiment,
        )

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    @torch.no_grad()
    def monitor(self, batch: WindowBatch, step: int) -> dict[str, float]:
        """Return errors on held-out episodes: of the predictor, with shuffled actions, and of copying the last frame.

        All are weighted as the loss is; `_rollout` is the rollout to the window's last frame, the others one step.
        """
        self._write_bad()
        if not self._held_out:
            count = max(MONITORED_WINDOWS // len(self.sources), LEAST_MONITORED)
            draws = (
                draw_held_out(
                    source,
                    number,
                    seed=self.seed,
                    count=count,
                    views=self.views,
                    in_pairs=self._in_pairs,
                )
                for number, source in enumerate(self.sources)
            )
            self._held_out = [self.reader.read(draw) for draw in draws]
        metrics: dict[str, float] = {}
        for source, windows in zip(self.sources, self._held_out, strict=True):
            suffix = f"_{source.name}" if len(self.sources) > 1 else ""
            metrics |= {f"{name}{suffix}": value for name, value in self._errors(windows).items()}
        return metrics

    def _errors(self, windows: WindowBatch) -> dict[str, float]:
        batch = self._encoded(windows, windows.actions.shape[1], StepDraw(step_generator(self.seed, 0)))
        order = torch.randperm(len(batch), generator=step_generator(self.seed, 0))
        last = batch.features[:, :1].expand(-1, batch.rollout_weights.shape[1], -1, -1)
        found = {
            "error": self._predict(batch, batch.actions),
            "shuffled_actions": self._predict(batch, batch.actions[order]),
            "copy_last_frame": Predictions(batch.features[:, :-1], last),
        }
        metrics = {}
        for name, predicted in found.items():
            losses = prediction_losses(predicted, batch, self.objective.loss)
            metrics[f"val_{name}"] = losses["loss_teacher"].item()
            if "loss_rollout" in losses:
                metrics[f"val_{name}_rollout"] = losses["loss_rollout"].item()
        if self.model.goal_reader is not None:
            _, read, stays = goal_reader_loss(self.model, batch)
            metrics |= {"val_goal_reader": read.item(), "val_goal_reader_no_motion": stays.item()}
        return metrics

    def warning(self, metrics: dict[str, float]) -> str | None:
        """Return None: nothing is watched."""
        return None

    def files(self) -> dict[str, Any]:
        """Return the files of the world model's checkpoint."""
        return checkpoint_files(self.model, provenance=self.provenance)

    def _write_bad(self) -> None:
        for source in self.sources:
            if self.bad_episodes is not None and len(source.bad):
                source.bad.write(self.bad_episodes)

"""Action-conditioned prediction in the features of a frozen encoder: V-JEPA 2-AC's objective.

Legend: B windows, T frames, N tokens a frame, D width, A action size, S state size, K steps of a rollout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained.native import checkpoint_files
from vjepa_world.system.device import in_precision, resolve_precision
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import ranks
from vjepa_world.training.engine.sampling import step_generator
from vjepa_world.training.finetune.auxiliary_losses import (
    decoder_loss,
    inverse_loss,
    reconstruction_loss,
    state_loss,
)
from vjepa_world.training.finetune.config import FinetuneObjective
from vjepa_world.training.finetune.losses import Predictions, prediction_losses, predictions
from vjepa_world.training.finetune.micro_batches import Piece, on_device, token_weights
from vjepa_world.training.finetune.trajectory_sources import (
    TrajectorySource,
    WindowDraw,
    draw_held_out,
    draw_step,
    episodes_by_use,
    held_out_by_path,
)
from vjepa_world.training.finetune.window_batches import WindowBatch, WindowReader
from vjepa_world.training.pretrain.objectives.draw import StepDraw, even_slices

#: Held-out windows of each source that the monitor looks at.
MONITORED_WINDOWS = 128

#: Frames that the frozen encoder is given at once: more are no faster, and take memory.
ENCODED_AT_ONCE = 32


class FinetuneTask:
    """Trains what stands behind the frozen encoder: predictor, learned tokens, inverse model and decoder.

    Args:
        model: The world model.
        sources: The datasets.
        reader: Where their windows come from.
        objective: What is minimised.
        trainer: How long and how fast.
        views: one or all: see `data.views`.
        seed: Where all randomness comes from.
        device: What is trained on.
        provenance: What the checkpoint remembers of how it was made.
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
            "episodes": episodes_by_use(sources),
        }
        self.bad_episodes, self.ranks = bad_episodes, ranks()
        self.dtype = resolve_precision(trainer.precision, device)
        for embodiment in {source.embodiment for source in sources}:
            self._learn_statistics(embodiment)
        self.modules: nn.Module = model.trained()
        self._held_out: list[WindowBatch] = []
        self._write_bad()

    def _learn_statistics(self, embodiment: str) -> None:
        """Standardise with, and bound plans by, the actions of the training windows of one robot."""
        numbers = [s.table.numbers(s.train) for s in self.sources if s.embodiment == embodiment]
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
        """Yield this process's part of each step's windows."""
        steps = range(start_step, self.trainer.steps)
        return self.reader.stream(self._draw(step) for step in steps)

    def _draw(self, step: int) -> WindowDraw:
        count = self.trainer.batch_size
        draw = draw_step(self.sources, seed=self.seed, step=step, count=count, views=self.views)
        return draw.part(torch.arange(count).chunk(self.ranks.world_size)[self.ranks.rank].tolist())

    def names(self, batch: WindowBatch) -> Sequence[str]:
        """Return what the windows are called."""
        return batch.names

    def parts(self, batch: WindowBatch, step: int) -> Sequence[Callable[[], dict[str, Tensor]]]:
        """Return the forward passes of a step: one, or as many as the batch is cut into."""
        draw = StepDraw(
            generator=step_generator(self.seed + 1, step),
            progress=step / self.trainer.steps,
            rank=self.ranks.rank,
            world_size=self.ranks.world_size,
        )
        piece = self._piece(batch, self.objective.rollout_at(draw.progress), draw)
        slices = [piece.rows(rows) for rows in even_slices(len(piece), self.trainer.accumulate)]
        return [partial(self._loss, part, len(part) / len(piece)) for part in slices]

    @torch.no_grad()
    def _piece(self, batch: WindowBatch, rollout: int, draw: StepDraw) -> Piece:
        """Encode what was decoded, and weigh its tokens."""
        frozen = self._frozen(batch)
        features = self.model.compact(frozen.flatten(0, 1)).unflatten(0, frozen.shape[:2])
        count, frames = features.shape[:2]
        later, shown = self._draw_frames(count, frames, draw)
        given = {name: getattr(batch, name) for name in ("actions", "states", "extrinsics", "pictures")}
        return Piece(
            embodiment=batch.embodiment,
            frozen=frozen,
            features=features,
            later=later,
            shown=shown,
            **on_device(given, self.device),
            **token_weights(frozen, features, min(rollout, frames - 1), self.objective.motion_share),
        )

    def _draw_frames(self, rows: int, frames: int, draw: StepDraw) -> tuple[Tensor, Tensor]:
        """Draw, for each window, to which later frame the inverse model looks, and which one is decoded."""
        inverse = self.model.inverse
        furthest = min(inverse.config.horizon, frames - 1) if inverse is not None else 1
        later = torch.randint(1, furthest + 1, (draw.total(rows),), generator=draw.generator)
        shown = torch.randint(frames, (draw.total(rows),), generator=draw.generator)
        return draw.own(later).to(self.device), draw.own(shown).to(self.device)

    def _frozen(self, batch: WindowBatch) -> Tensor:
        """Return the frozen features `[B, T, N, D]` in float32, encoding what was decoded."""
        if batch.features is not None:
            return batch.features.to(self.device)
        assert batch.frames is not None
        flat = batch.frames.flatten(0, 1)
        with in_precision(self.device, self.dtype):
            pieces = [self.model.frozen_features(piece) for piece in flat.split(ENCODED_AT_ONCE)]
        return torch.cat(pieces).float().unflatten(0, batch.frames.shape[:2])

    def _loss(self, piece: Piece, share: float) -> dict[str, Tensor]:
        """Return the losses of a share of a batch, each times the share, and their sum."""
        model, objective = self.model, self.objective
        found = self._predict(piece, piece.actions)
        losses = prediction_losses(found, piece, objective.loss)
        if found.states is not None:
            losses["loss_state"] = objective.state * state_loss(model, found.states, piece)
        if model.latents is not None:
            losses["loss_reconstruct"] = objective.reconstruct * reconstruction_loss(model, piece)
        if model.inverse is not None:
            losses["loss_inverse"] = inverse_loss(model, piece)
        if model.decoder is not None and piece.pictures is not None:
            losses["loss_decoder"] = decoder_loss(model, piece)
        losses = {name: value * share for name, value in losses.items()}
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}

    def _predict(self, piece: Piece, actions: Tensor) -> Predictions:
        return predictions(
            self.model.predictor,
            piece.features,
            actions,
            piece.states,
            piece.rollout,
            piece.extrinsics,
            embodiment=piece.embodiment,
        )

    def after_step(self, step: int) -> None:
        """Nothing follows a step."""

    @torch.no_grad()
    def monitor(self, batch: WindowBatch, step: int) -> dict[str, float]:
        """Return errors on held-out episodes, each beside copy-last-frame's and the shuffled actions'.

        All three are weighted as the loss is; `_end` is the rollout to the window's last frame, the others one step.
        """
        self._write_bad()
        if not self._held_out:
            draws = (
                draw_held_out(source, number, seed=self.seed, count=MONITORED_WINDOWS, views=self.views)
                for number, source in enumerate(self.sources)
            )
            self._held_out = [self.reader.read(draw) for draw in draws]
        figures: dict[str, float] = {}
        for source, windows in zip(self.sources, self._held_out, strict=True):
            suffix = f"_{source.name}" if len(self.sources) > 1 else ""
            figures |= {f"{name}{suffix}": value for name, value in self._errors(windows).items()}
        return figures

    def _errors(self, windows: WindowBatch) -> dict[str, float]:
        piece = self._piece(windows, windows.actions.shape[1], StepDraw(step_generator(self.seed, 0)))
        order = torch.randperm(len(piece), generator=step_generator(self.seed, 0))
        last = piece.features[:, :1].expand(-1, piece.rollout_weights.shape[1], -1, -1)
        found = {
            "error": self._predict(piece, piece.actions),
            "shuffled_actions": self._predict(piece, piece.actions[order]),
            "copy_last_frame": Predictions(piece.features[:, :-1], last),
        }
        figures = {}
        for name, predicted in found.items():
            losses = prediction_losses(predicted, piece, self.objective.loss)
            figures[f"val_{name}"] = losses["loss_teacher"].item()
            if "loss_rollout" in losses:
                figures[f"val_{name}_rollout"] = losses["loss_rollout"].item()
        return figures

    def warning(self, figures: dict[str, float]) -> str | None:
        """Nothing is watched."""
        return None

    def files(self) -> dict[str, Any]:
        """Return the world model's checkpoint."""
        return checkpoint_files(self.model, provenance=self.provenance)

    def _write_bad(self) -> None:
        for source in self.sources:
            if self.bad_episodes is not None and len(source.bad):
                source.bad.write(self.bad_episodes)

"""Masked latent prediction on clips: V-JEPA 2's objective.

Legend: B clips, T frames, C channels, H W pixels; N tokens, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.ops.feature_statistics import effective_rank, feature_std
from vjepa_world.ops.masking import MaskSpec, gather_tokens, sample_masks, sample_pair_masks
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.ops.schedules import ema_momentum
from vjepa_world.pretrained.native import checkpoint_files
from vjepa_world.training.config import PretrainObjective, TrainerConfig
from vjepa_world.training.objectives import masked_latent_l1
from vjepa_world.training.sampling import StepBatches, draw_pairs, step_generator

#: Clips whose features the monitor looks at.
MONITORED_CLIPS = 4


class PretrainTask:
    """Learns an encoder by predicting hidden tokens' features from the visible ones.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2).
    """

    unit = "clips"

    def __init__(
        self,
        clips: Dataset[Tensor],
        encoder: EncoderConfig,
        predictor: MaskedPredictorConfig,
        objective: PretrainObjective,
        trainer: TrainerConfig,
        *,
        seed: int,
        device: torch.device,
        provenance: dict[str, Any],
    ) -> None:
        self.clips, self.objective, self.trainer = clips, objective, trainer
        self.seed, self.device, self.provenance = seed, device, provenance
        self.masks = (
            MaskSpec(num_blocks=objective.short_blocks, scale=objective.short_scale),
            MaskSpec(num_blocks=objective.long_blocks, scale=objective.long_scale),
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = VideoEncoder(encoder).to(device)
            self.predictor = MaskedPredictor(predictor, encoder.embed_dim).to(device)
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.modules: nn.Module = nn.ModuleDict(
            {"encoder": self.encoder, "predictor": self.predictor, "target": self.target}
        )
        self.untrained = untrained_encoder(encoder, seed + 1).to(device)

    def batches(self, start_step: int) -> Iterator[Tensor]:
        """Yield clips, `[B, T, C, H, W]` uint8."""
        sampler = StepBatches(start_step, self.trainer.steps, self.trainer.batch_size)
        workers = self.trainer.workers
        loader = DataLoader(
            self.clips,
            batch_sampler=sampler,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            generator=step_generator(self.seed, 0),  # else the global generator would depend on the start
            pin_memory=self.device.type == "cuda",
        )
        yield from loader

    def loss(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        """Return the loss of a step on clips, on their frames as images, or on pairs of their frames."""
        generator = step_generator(self.seed, step)
        kind = torch.rand((), generator=generator).item()
        images, pairs = self.objective.image_fraction, self.objective.pair_fraction
        if kind < images:  # an image fills one tubelet, so one frame is taken of each
            stills = batch[:, :: self.encoder.config.tubelet_size].flatten(0, 1).unsqueeze(1)
            return self._masked_loss(self._pixels(stills, generator), generator)
        if kind < images + pairs:
            return self._pair_loss(self._pixels(draw_pairs(batch, generator), generator), generator)
        return self._masked_loss(self._pixels(batch, generator), generator)

    def _pixels(self, video: Tensor, generator: torch.Generator) -> Tensor:
        """Return the normalised video, with the colours of each clip changed at random."""
        pixels = normalize_video(video.to(self.device, non_blocking=True))
        if not self.objective.color_jitter:
            return pixels
        gain, offset = (2 * torch.rand(2, len(pixels), 1, 3, 1, 1, generator=generator) - 1).to(pixels)
        return pixels * (1 + self.objective.color_jitter * gain) + self.objective.color_jitter * offset

    def _masked_loss(self, video: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        grid = self.encoder.token_grid(video)
        with torch.no_grad():
            targets = self.target(video)
        losses = []
        for index, (context, hidden) in enumerate(sample_masks(grid, len(video), self.masks, generator)):
            context, hidden = context.to(self.device), hidden.to(self.device)
            features = self.encoder(video, context)
            predicted = self.predictor(features, context, hidden, grid, index, image=video.shape[1] == 1)
            losses.append(masked_latent_l1(predicted, gather_tokens(targets, hidden)))
        return {"loss": torch.stack(losses).mean(), "loss_short": losses[0], "loss_long": losses[1]}

    def _pair_loss(self, pairs: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        """Predict the second frame of each pair `[M, 2, C, H, W]` from the first and a few of its own tokens.

        What stands still can be copied; what moved must be understood. The target is the second frame encoded alone,
        as an image, which is how a frozen encoder is used for planning.
        """
        second = pairs[:, 1:]
        _, rows, columns = self.encoder.token_grid(second)
        tokens = rows * columns
        context, hidden = sample_pair_masks(tokens, len(pairs), self.objective.pair_visible, generator)
        context, hidden = context.to(self.device), hidden.to(self.device)
        with torch.no_grad():
            targets = self.target(second)
        video = pairs.repeat_interleave(self.encoder.config.tubelet_size, dim=1)
        features = self.encoder(video, context)
        predicted = self.predictor(features, context, hidden + tokens, (2, rows, columns), len(self.masks))
        loss = masked_latent_l1(predicted, gather_tokens(targets, hidden))
        return {"loss": loss, "loss_pair": loss}

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Move the target towards the encoder."""
        start, end = self.objective.ema
        weight = 1 - ema_momentum(step, self.trainer.steps, start, end)
        torch._foreach_lerp_(list(self.target.parameters()), list(self.encoder.parameters()), weight)

    @torch.no_grad()
    def monitor(self, batch: Tensor, step: int) -> dict[str, float]:
        """Return spread and effective rank of the target's LayerNormed features, and an untrained encoder's."""
        video = normalize_video(batch[:MONITORED_CLIPS].to(self.device))
        figures = {}
        for name, encoder in (("target", self.target), ("untrained", self.untrained)):
            features = F.layer_norm(encoder(video).float(), (self.encoder.config.embed_dim,)).flatten(0, 1)
            figures[f"{name}_std"] = feature_std(features)
            figures[f"{name}_rank"] = effective_rank(features)
        return figures

    def files(self) -> dict[str, Any]:
        """Return the EMA encoder's checkpoint: the one that is frozen and used."""
        return checkpoint_files(self.target, provenance=self.provenance)

"""Predict the features of hidden tokens from the visible ones: V-JEPA 2, 2.1 and 1, I-JEPA, and distillation.

Legend: B clips of this process, T frames, C channels, H W pixels; N tokens, L levels, D width.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.ops.masking.blocks import gather_tokens
from vjepa_world.ops.masking.token_distance import distance_to_hidden
from vjepa_world.ops.schedules import ramp
from vjepa_world.pretrained import load_encoder
from vjepa_world.training.engine.ema import ema_momentum, update_ema
from vjepa_world.training.engine.step_draw import StepDraw
from vjepa_world.training.pretrain.losses.jepa import context_weights, latent_distance, normalize_levels
from vjepa_world.training.pretrain.objectives.config import JEPAConfig
from vjepa_world.training.pretrain.objectives.flops import mask_groups_flops
from vjepa_world.training.pretrain.objectives.protocol import ForwardPass
from vjepa_world.training.pretrain.objectives.regularization import CollapseRegularizers
from vjepa_world.training.pretrain.objectives.step_masks import (
    MaskFamily,
    MaskGroup,
    draw_groups,
    draw_pair_groups,
)


@dataclass(frozen=True)
class _MicroBatch:
    """Some of a step's clips.

    Attributes:
        video: What the encoder sees, `[b, T, C, H, W]`.
        target_video: The video whose features are predicted.
        share: b / B.
    """

    video: Tensor
    target_video: Tensor
    share: float

    @property
    def image(self) -> bool:
        return self.video.shape[1] == 1


class JEPA:
    """Masked latent prediction.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2); the loss on visible tokens, levels and distillation are V-JEPA
    2.1's (arXiv:2603.14482); pairs of frames are SiamMAE's (arXiv:2305.14344).
    """

    views = 1

    def __init__(self, encoder: EncoderConfig, predictor: MaskedPredictorConfig, config: JEPAConfig) -> None:
        self.config, self.flops = config, 0.0
        self.encoder = VideoEncoder(encoder)
        self.teacher = _load_teacher(config.teacher, encoder) if config.teacher else None
        self.predictor = MaskedPredictor(self._fit(predictor, encoder), encoder.embed_dim)
        self.modules = nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})
        self.target = self.encoder
        if config.target != "online":
            self.target = copy.deepcopy(self.encoder).requires_grad_(False)
            self.modules["target"] = self.target
        if self.teacher is not None:
            self.modules["teacher"] = self.teacher
        self.regularizers = CollapseRegularizers(config)

    def _fit(self, config: MaskedPredictorConfig, encoder: EncoderConfig) -> MaskedPredictorConfig:
        """Return the predictor's architecture with the outputs that the objective asks for."""
        if config.input_levels not in (1, max(len(encoder.levels), 1)):
            raise ConfigError(
                f"predictor.input_levels is {config.input_levels} and model.levels is {list(encoder.levels)}; the "
                "predictor takes 1 level, or all that the encoder has."
            )
        dense = bool(self.config.context_weight or self.config.context_weight_image)
        width = self.teacher.config.embed_dim if self.teacher is not None else config.output_dim
        return replace(config, context_output=dense or config.context_output, output_dim=width)

    @property
    def frozen(self) -> VideoEncoder:
        """The moving average where there is one, else the encoder."""
        return self.target

    def forward_passes(self, video: Tensor, draw: StepDraw) -> Sequence[ForwardPass]:
        """Return one pass for each micro-batch of clips that are masked together and each family of masks.

        Of pairs of frames (`draw.pairs`) the second is predicted from the first and a few of its own tokens. What
        stands still can be copied; what moved must be understood. The target is the second frame encoded alone, as an
        image, which is how a frozen encoder is used for planning.

        Args:
            video: Normalised, `[B, T, C, H, W]`; pairs `[B, 2, C, H, W]`.
            draw: The step's random numbers.
        """
        count = len(video)
        if draw.pairs:
            target_video = video[:, 1:]
            grid = self.encoder.token_grid(target_video)
            groups = draw_pair_groups(self.config, grid, count, draw)
            video = video.repeat_interleave(self.encoder.config.tubelet_size, dim=1)
        else:
            target_video, grid = video, self.encoder.token_grid(video)
            groups = draw_groups(self.config, grid, count, video.shape[1] == 1, draw)
        return self._passes(video, target_video, groups, draw)

    def _passes(
        self, video: Tensor, target_video: Tensor, groups: list[MaskGroup], draw: StepDraw
    ) -> list[ForwardPass]:
        passes: list[ForwardPass] = []
        source = self.target if self.teacher is None else self.teacher
        grid = self.encoder.token_grid(target_video)
        self.flops = mask_groups_flops(groups, self.encoder, self.predictor, source, grid)
        weight = self._context_weight(video.shape[1] == 1, draw.progress)
        directions = self.regularizers.directions(self.encoder.config.embed_dim, draw.generator)
        for part in (part for group in groups for part in group.split(draw.slices, video.device)):
            rows, families = part.rows, part.families
            clips = _MicroBatch(video[rows], target_video[rows], len(video[rows]) / len(video))
            targets = _computed_once(partial(self._targets, clips.target_video), uses=len(families))
            each = [
                partial(self._metrics, clips, family, len(families), targets, weight, directions)
                for family in families
            ]
            # Where targets have gradients, the families share their graph and cannot be backpropagated one by one.
            passes += [partial(_summed, each)] if self.config.target == "online" else each
        return passes

    def _metrics(
        self,
        clips: _MicroBatch,
        family: MaskFamily,
        families: int,
        targets: Callable[[], Tensor],
        context_weight: float,
        directions: Tensor | None,
    ) -> dict[str, Tensor]:
        """Return a family's losses; those of all families and micro-batches add up to the step's."""
        target = family.repeat(targets())
        features = self._encode(self.encoder, clips.video, family.context)
        context, hidden = family.repeat(family.context), family.flat_hidden()
        inputs = (family.repeat(features), context, hidden, family.grid, family.index)
        if context_weight:
            predicted, predicted_context = self.predictor.dense(*inputs, image=clips.image)
        else:
            predicted, predicted_context = self.predictor(*inputs, image=clips.image), None
        distance = self.config.distance
        loss = latent_distance(predicted, gather_tokens(target, hidden - family.offset), distance)
        metrics = {f"loss_{family.name}": loss}
        if predicted_context is not None:
            weights = context_weights(distance_to_hidden(context, hidden, family.grid), context_weight)
            dense = latent_distance(predicted_context, gather_tokens(target, context), distance, weights)
            metrics[f"loss_{family.name}_context"] = dense
            loss = loss + dense
        for name, (term, weight) in self.regularizers(features, directions).items():
            metrics[name] = term / families
            loss = loss + weight * term
        metrics["loss"] = loss / families
        return {name: value * clips.share for name, value in metrics.items()}

    def _context_weight(self, image: bool, progress: float) -> float:
        """Return the weight of the loss on visible tokens, which rises along `context_ramp`."""
        full = self.config.context_weight_image if image else self.config.context_weight
        return full * ramp(progress, *self.config.context_ramp)

    def _targets(self, video: Tensor) -> Tensor:
        """Return the features of all tokens that are predicted, each level LayerNormed separately, `[b, N, L*D]`."""
        with torch.set_grad_enabled(self.config.target == "online" and torch.is_grad_enabled()):
            encoder = self.target if self.teacher is None else self.teacher
            features = encoder(video) if encoder is self.teacher else self._encode(encoder, video)
            return normalize_levels(features, features.shape[-1] // encoder.config.embed_dim)

    def _encode(self, encoder: VideoEncoder, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the features `[b, n, L*D]` that the predictor takes: of all levels, or of the last."""
        levels = self.predictor.config.input_levels > 1
        return encoder.levels(video, visible) if levels else encoder(video, visible)

    def after_step(self, progress: float) -> None:
        """Update the moving average, if there is one."""
        if self.target is not self.encoder:
            update_ema(self.target, self.encoder, ema_momentum(progress, *self.config.ema))


def _computed_once(compute: Callable[[], Tensor], uses: int) -> Callable[[], Tensor]:
    """Return a function that computes at the first of its `uses` calls, and frees the result after the last."""
    cached: list[Tensor] = []
    left = uses

    def value() -> Tensor:
        nonlocal left
        result = cached[0] if cached else compute()
        left -= 1
        cached[:] = [result] if left else []
        return result

    return value


def _summed(passes: Sequence[ForwardPass]) -> dict[str, Tensor]:
    metrics: dict[str, Tensor] = {}
    for forward_pass in passes:
        for name, value in forward_pass().items():
            metrics[name] = metrics[name] + value if name in metrics else value
    return metrics


def _load_teacher(source: str, student: EncoderConfig) -> VideoEncoder:
    """Return a frozen encoder that cuts clips into the same tokens.

    Raises:
        ConfigError: If its patches or tubelets are of another size.
    """
    teacher = load_encoder(source)
    found = teacher.config
    if (found.patch_size, found.tubelet_size) != (student.patch_size, student.tubelet_size):
        raise ConfigError(
            f"the teacher {source} has patches of {found.patch_size} pixels and tubelets of {found.tubelet_size}, "
            f"the model {student.patch_size} and {student.tubelet_size}; they must be equal, token by token."
        )
    return teacher.requires_grad_(False).eval()

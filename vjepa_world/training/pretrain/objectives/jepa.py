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
from vjepa_world.training.pretrain.config import PretrainObjective
from vjepa_world.training.pretrain.losses.latent import context_weights, latent_distance, normalize_levels
from vjepa_world.training.pretrain.objectives.count import groups_flops
from vjepa_world.training.pretrain.objectives.draw import Part, StepDraw
from vjepa_world.training.pretrain.objectives.feature_terms import FeatureTerms
from vjepa_world.training.pretrain.objectives.masks import Family, Group, draw_groups, draw_pair_groups


@dataclass(frozen=True)
class _Clips:
    """Some of a step's clips: what is seen, what is predicted, and their share of the process's rows."""

    video: Tensor
    wanted: Tensor
    share: float

    @property
    def image(self) -> bool:
        return self.video.shape[1] == 1


class Jepa:
    """Masked latent prediction.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2); the loss on visible tokens, levels and distillation are V-JEPA
    2.1's (arXiv:2603.14482); pairs of frames are SiamMAE's (arXiv:2305.14344).
    """

    views = 1

    def __init__(
        self, encoder: EncoderConfig, predictor: MaskedPredictorConfig, objective: PretrainObjective
    ) -> None:
        self.objective, self.flops = objective, 0.0
        self.encoder = VideoEncoder(encoder)
        self.teacher = _load_teacher(objective.teacher, encoder) if objective.teacher else None
        self.predictor = MaskedPredictor(self._fit(predictor, encoder), encoder.embed_dim)
        self.modules = nn.ModuleDict({"encoder": self.encoder, "predictor": self.predictor})
        self.target = self.encoder
        if objective.target != "online":
            self.target = copy.deepcopy(self.encoder).requires_grad_(False)
            self.modules["target"] = self.target
        if self.teacher is not None:
            self.modules["teacher"] = self.teacher
        self.terms = FeatureTerms(objective)

    def _fit(self, config: MaskedPredictorConfig, encoder: EncoderConfig) -> MaskedPredictorConfig:
        """Return the predictor's architecture with the outputs that the objective asks for."""
        if config.input_levels not in (1, max(len(encoder.levels), 1)):
            raise ConfigError(
                f"predictor.input_levels is {config.input_levels} and model.levels is {list(encoder.levels)}; the "
                "predictor takes 1 level, or all that the encoder has."
            )
        dense = bool(self.objective.context_weight or self.objective.context_weight_image)
        width = self.teacher.config.embed_dim if self.teacher is not None else config.output_dim
        return replace(config, context_output=dense or config.context_output, output_dim=width)

    @property
    def frozen(self) -> VideoEncoder:
        """The moving average where there is one, else the encoder."""
        return self.target

    def parts(self, video: Tensor, draw: StepDraw) -> Sequence[Part]:
        """Return one part for each group of clips that are masked together and each family of masks."""
        grid = self.encoder.token_grid(video)
        groups = draw_groups(self.objective, grid, len(video), video.shape[1] == 1, draw)
        return self._parts(video, video, groups, draw)

    def pair_parts(self, pairs: Tensor, draw: StepDraw) -> Sequence[Part]:
        """Return the parts that predict the second of two frames `[B, 2, C, H, W]` from the first and a little of it.

        What stands still can be copied; what moved must be understood. The target is the second frame encoded alone,
        as an image, which is how a frozen encoder is used for planning.
        """
        second = pairs[:, 1:]
        groups = draw_pair_groups(self.objective, self.encoder.token_grid(second), len(pairs), draw)
        video = pairs.repeat_interleave(self.encoder.config.tubelet_size, dim=1)
        return self._parts(video, second, groups, draw)

    def _parts(self, video: Tensor, wanted: Tensor, groups: list[Group], draw: StepDraw) -> list[Part]:
        parts: list[Part] = []
        source = self.target if self.teacher is None else self.teacher
        self.flops = groups_flops(
            groups, self.encoder, self.predictor, source, self.encoder.token_grid(wanted)
        )
        weight = self._context_weight(video.shape[1] == 1, draw.progress)
        directions = self.terms.directions(self.encoder.config.embed_dim, draw.generator)
        for piece in (piece for group in groups for piece in group.split(draw.slices, video.device)):
            rows, some = piece.rows, piece.families
            clips = _Clips(video[rows], wanted[rows], len(video[rows]) / len(video))
            targets = _once(partial(self._targets, clips.wanted), uses=len(some))
            each = [
                partial(self._figures, clips, family, len(some), targets, weight, directions)
                for family in some
            ]
            # Where targets have gradients, the families share their graph and cannot be backpropagated one by one.
            parts += [partial(_summed, each)] if self.objective.target == "online" else each
        return parts

    def _figures(
        self,
        clips: _Clips,
        family: Family,
        families: int,
        targets: Callable[[], Tensor],
        context_weight: float,
        directions: Tensor | None,
    ) -> dict[str, Tensor]:
        """Return a family's figures; those of all families and slices add up to the step's."""
        wanted = family.repeat(targets())
        features = self._encode(self.encoder, clips.video, family.context)
        context, hidden = family.repeat(family.context), family.flat_hidden()
        inputs = (family.repeat(features), context, hidden, family.grid, family.index)
        if context_weight:
            predicted, seen = self.predictor.dense(*inputs, image=clips.image)
        else:
            predicted, seen = self.predictor(*inputs, image=clips.image), None
        loss = latent_distance(
            predicted, gather_tokens(wanted, hidden - family.offset), self.objective.distance
        )
        figures = {f"loss_{family.name}": loss}
        if seen is not None:
            weights = context_weights(distance_to_hidden(context, hidden, family.grid), context_weight)
            dense = latent_distance(seen, gather_tokens(wanted, context), self.objective.distance, weights)
            figures[f"loss_{family.name}_context"] = dense
            loss = loss + dense
        for name, (term, weight) in self.terms(features, directions).items():
            figures[name] = term / families
            loss = loss + weight * term
        figures["loss"] = loss / families
        return {name: value * clips.share for name, value in figures.items()}

    def _context_weight(self, image: bool, progress: float) -> float:
        """Return the weight of the loss on visible tokens, which rises along `context_ramp`."""
        full = self.objective.context_weight_image if image else self.objective.context_weight
        return full * ramp(progress, *self.objective.context_ramp)

    def _targets(self, wanted: Tensor) -> Tensor:
        """Return what is predicted for every token: each level LayerNormed by itself, `[B, N, L*D]`."""
        with torch.set_grad_enabled(self.objective.target == "online" and torch.is_grad_enabled()):
            encoder = self.target if self.teacher is None else self.teacher
            features = encoder(wanted) if encoder is self.teacher else self._encode(encoder, wanted)
            return normalize_levels(features, features.shape[-1] // encoder.config.embed_dim)

    def _encode(self, encoder: VideoEncoder, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the features `[B, n, L*D]` that the predictor takes: of all levels, or of the last."""
        levels = self.predictor.config.input_levels > 1
        return encoder.levels(video, visible) if levels else encoder(video, visible)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the target towards the encoder: a momentum that goes linearly from the first to the last."""
        if self.target is self.encoder:
            return
        first, last = self.objective.ema
        weight = 1 - (first + (last - first) * progress)
        torch._foreach_lerp_(list(self.target.parameters()), list(self.encoder.parameters()), weight)


def _once(compute: Callable[[], Tensor], uses: int) -> Callable[[], Tensor]:
    """Return a function that computes at its first call and forgets at its last, so that no memory outlives its use."""
    kept: list[Tensor] = []
    left = uses

    def value() -> Tensor:
        nonlocal left
        result = kept[0] if kept else compute()
        left -= 1
        kept[:] = [result] if left else []
        return result

    return value


def _summed(parts: Sequence[Part]) -> dict[str, Tensor]:
    figures: dict[str, Tensor] = {}
    for part in parts:
        for name, value in part().items():
            figures[name] = figures[name] + value if name in figures else value
    return figures


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

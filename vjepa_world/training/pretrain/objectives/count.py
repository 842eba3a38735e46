"""The floating-point operations of a step, from the masks that were drawn for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.training.engine.flops import MaskTokens, pretrain_flops
from vjepa_world.training.pretrain.objectives.masks import Grid, Group


def groups_flops(
    groups: Sequence[Group],
    encoder: VideoEncoder,
    predictor: MaskedPredictor,
    target: VideoEncoder | None,
    wanted: Grid,
) -> float:
    """Count this process's part of a step, forward and backward.

    Args:
        groups: The masks of its clips.
        encoder: What is trained.
        predictor: What is trained with it.
        target: What gives the features to predict; None where pixels are predicted.
        wanted: Token grid of what is predicted, which the target sees whole.
    """
    return sum(
        pretrain_flops(
            encoder.config,
            predictor.config,
            clips=group.rows.stop - group.rows.start,
            tokens=math.prod(wanted),
            masks=[
                MaskTokens(f.context.shape[1], f.hidden.shape[2], f.hidden.shape[1]) for f in group.families
            ],
            target=None if target is None else target.config,
            image=wanted[0] == 1,
            dense=predictor.config.context_output,
            recompute=encoder.recompute,
        )
        for group in groups
    )

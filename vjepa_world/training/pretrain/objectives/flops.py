"""The floating-point operations of a step, from the masks that were drawn for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.training.engine.flops import MaskTokens, pretrain_flops
from vjepa_world.training.pretrain.objectives.step_masks import Grid, MaskGroup


def mask_groups_flops(
    groups: Sequence[MaskGroup],
    encoder: VideoEncoder,
    predictor: MaskedPredictor,
    target: VideoEncoder | None,
    target_grid: Grid,
) -> float:
    """Return the operations of this process in a step, forward and backward.

    Args:
        groups: The masks of its clips.
        encoder: The trained encoder.
        predictor: The predictor that is trained with it.
        target: The encoder whose features are predicted; None where pixels are.
        target_grid: Token grid (t, h, w) of the predicted video, all of which the target encodes.
    """
    return sum(
        pretrain_flops(
            encoder.config,
            predictor.config,
            clips=group.rows.stop - group.rows.start,
            tokens=math.prod(target_grid),
            masks=[
                MaskTokens(f.context.shape[1], f.hidden.shape[2], f.hidden.shape[1]) for f in group.families
            ],
            target=None if target is None else target.config,
            image=target_grid[0] == 1,
            dense=predictor.config.context_output,
            recompute=encoder.recompute,
        )
        for group in groups
    )

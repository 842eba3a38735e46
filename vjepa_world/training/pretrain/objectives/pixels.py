"""A control: predict the pixels of hidden tokens, as masked autoencoders do, with the same encoder and data.

Legend: B clips of this process, T frames, C channels, H W pixels; N tokens, P numbers of a tubelet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.training.engine.step_draw import StepDraw
from vjepa_world.training.pretrain.losses.pixels import masked_pixel_l2, pixel_targets
from vjepa_world.training.pretrain.objectives.config import PixelsConfig
from vjepa_world.training.pretrain.objectives.flops import mask_groups_flops
from vjepa_world.training.pretrain.objectives.protocol import ForwardPass
from vjepa_world.training.pretrain.objectives.step_masks import MaskFamily, draw_groups


class MaskedPixels:
    """Masked pixel reconstruction; the masked predictor is the decoder.

    Source: MAE (arXiv:2111.06377) with the tube masks of VideoMAE (arXiv:2203.12602).
    """

    views = 1

    def __init__(
        self, encoder: EncoderConfig, predictor: MaskedPredictorConfig, config: PixelsConfig
    ) -> None:
        self.config, self.flops = config, 0.0
        numbers = 3 * encoder.tubelet_size * encoder.patch_size**2
        self.encoder = VideoEncoder(encoder)
        self.decoder = MaskedPredictor(
            replace(predictor, input_levels=1, output_dim=numbers), encoder.embed_dim
        )
        self.modules = nn.ModuleDict({"encoder": self.encoder, "predictor": self.decoder})

    @property
    def frozen(self) -> VideoEncoder:
        """The encoder itself."""
        return self.encoder

    def forward_passes(self, video: Tensor, draw: StepDraw) -> Sequence[ForwardPass]:
        """Return one pass for each micro-batch of clips that are masked together and each family of masks.

        Args:
            video: Normalised, `[B, T, C, H, W]`.
            draw: The step's random numbers.
        """
        grid = self.encoder.token_grid(video)
        groups = draw_groups(self.config, grid, len(video), video.shape[1] == 1, draw)
        self.flops = mask_groups_flops(groups, self.encoder, self.decoder, None, grid)
        return [
            partial(self._metrics, video[part.rows], family, 1 / len(part.families), len(video))
            for group in groups
            for part in group.split(draw.slices, video.device)
            for family in part.families
        ]

    def _metrics(self, video: Tensor, family: MaskFamily, weight: float, clips: int) -> dict[str, Tensor]:
        """Return a family's losses on some of the clips; those of all passes add up to the step's."""
        share = len(video) / clips
        features = self.encoder(video, family.context)
        hidden = family.flat_hidden()
        predicted = self.decoder(
            family.repeat(features), family.repeat(family.context), hidden, family.grid, family.index
        )
        config = self.encoder.config
        targets = pixel_targets(family.repeat(video), hidden, config.patch_size, config.tubelet_size)
        loss = masked_pixel_l2(predicted, targets)
        return {"loss": share * weight * loss, f"loss_{family.name}": share * loss}

    def after_step(self, progress: float) -> None:
        """Nothing follows a step."""

"""Operations counted from the architecture equal those that torch counts on the modules."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.ops.masking.blocks import VJEPA2_MASKS, sample_masks
from vjepa_world.training.engine.flops import (
    MaskTokens,
    block_flops,
    encoder_forward,
    predictor_forward,
    pretrain_flops,
)
from vjepa_world.training.engine.matrix_rate import matmul_gflops, matrix_rate

ENCODER = EncoderConfig(image_size=64, patch_size=8, num_frames=4, embed_dim=48, depth=3, num_heads=2)
PREDICTOR = MaskedPredictorConfig(embed_dim=24, depth=2, num_heads=2, mlp_ratio=3.0)
LEVELS = replace(ENCODER, levels=(1, 2), image_embed=True)
DENSE = replace(PREDICTOR, input_levels=2, context_output=True, image_embed=True)


def masked_step(
    encoder: VideoEncoder,
    predictor: MaskedPredictor,
    video: torch.Tensor,
    masks: list[tuple[torch.Tensor, torch.Tensor]],
) -> None:
    """Run a step as pretraining does; a predictor with a context output is trained on all tokens."""
    grid, dense = encoder.token_grid(video), predictor.config.context_output
    with torch.no_grad():
        encoder(video)
    for index, (context, hidden) in enumerate(masks):
        features = encoder.levels(video, context) if dense else encoder(video, context)
        if dense:
            torch.cat(predictor.dense(features, context, hidden, grid, index), dim=1).sum().backward()
        else:
            predictor(features, context, hidden, grid, index).sum().backward()


@pytest.mark.parametrize(
    ("frames", "dense", "recompute"),
    [(4, False, False), (4, False, True), (4, True, False), (1, False, False), (1, True, True)],
)
def test_a_step_has_the_operations_that_torch_counts(frames: int, dense: bool, recompute: bool) -> None:
    config, predictor_config = (LEVELS, DENSE) if dense else (ENCODER, PREDICTOR)
    encoder, predictor = VideoEncoder(config), MaskedPredictor(predictor_config, config.embed_dim)
    encoder.recompute = predictor.recompute = recompute
    video = torch.randn(3, frames, 3, 64, 64)
    masks = sample_masks(encoder.token_grid(video), 3, VJEPA2_MASKS, torch.Generator().manual_seed(0))
    # Torch counts attention only where it consists of products, and these kernels compute nothing twice.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        masked_step(encoder, predictor, video, masks)
    ours = pretrain_flops(
        config,
        predictor_config,
        clips=3,
        tokens=max(frames // 2, 1) * 64,
        masks=[MaskTokens(context.shape[1], hidden.shape[1]) for context, hidden in masks],
        target=config,
        image=frames == 1,
        dense=dense,
        recompute=recompute,
    )
    assert ours == counter.get_total_flops()


def test_a_forward_pass_of_the_released_vit_l_is_what_its_width_gives() -> None:
    """By hand: 24 blocks of 2048 tokens, 12 D^2 per token and 4 N^2 D, and 1536 pixels per tubelet."""
    large = EncoderConfig(image_size=256, embed_dim=1024, depth=24, num_heads=16)
    products = 24 * 2 * 2048 * 12 * 1024**2
    attention = 24 * 4 * 2048**2 * 1024
    assert encoder_forward(large, 2048).total == products + attention + 2 * 2048 * 1536 * 1024


def test_pixels_as_target_need_no_second_encoder() -> None:
    common = {"clips": 2, "tokens": 128, "masks": [MaskTokens(30, 98)]}
    with_target = pretrain_flops(ENCODER, PREDICTOR, target=ENCODER, **common)  # type: ignore[arg-type]
    without = pretrain_flops(ENCODER, PREDICTOR, target=None, **common)  # type: ignore[arg-type]
    assert with_target - without == 2 * encoder_forward(ENCODER, 128).total


def test_several_targets_of_one_context_repeat_only_the_predictor() -> None:
    common = {"clips": 1, "tokens": 64, "target": ENCODER, "image": True}
    one = pretrain_flops(ENCODER, PREDICTOR, masks=[MaskTokens(40, 10)], **common)  # type: ignore[arg-type]
    four = pretrain_flops(ENCODER, PREDICTOR, masks=[MaskTokens(40, 10, 4)], **common)  # type: ignore[arg-type]
    assert four - one == 3 * predictor_forward(PREDICTOR, 48, 40, 10).trained()


def test_a_predictor_of_several_levels_has_wide_input_and_output() -> None:
    one = predictor_forward(PREDICTOR, 48, 10, 20)
    two = predictor_forward(DENSE, 48, 10, 20, dense=True)
    assert one.blocks == two.blocks == 2 * block_flops(30, 24, 3.0)
    assert one.others == 2 * (10 * 48 * 24 + 20 * 24 * 48)
    assert two.others == 2 * (10 * (96 * 48 + 48 * 24) + 30 * 24 * 96)


def test_recompute_adds_a_forward_pass_of_the_blocks_up_to_their_last_product() -> None:
    forward = encoder_forward(ENCODER, 64)
    assert forward.trained(recompute=True) - forward.trained() == 3 * (
        block_flops(64, 48, 4.0) - 2 * 64 * 48 * 192
    )


def test_the_matrix_rate_equals_a_timed_product() -> None:
    """A product timed here takes about as long as the rate says; machines that are shared are noisy."""
    rate = matrix_rate(torch.device("cpu"), torch.float32)
    assert rate == 1e9 * matmul_gflops()
    layer, x = nn.Linear(1024, 1024, bias=False), torch.randn(1024, 1024)
    times = []
    with torch.no_grad():
        for _ in range(10):
            start = time.perf_counter()
            layer(x)
            times.append(time.perf_counter() - start)
    assert 0.1 < 2 * 1024**3 / min(times) / rate < 10

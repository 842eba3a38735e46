"""V-JEPA 2.1, V-JEPA 1 and I-JEPA against the slow reference, and limits of memory and compilation."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.models import reference
from vjepa_world.errors import ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import (
    ActionPredictorConfig,
    EmbodimentConfig,
    EncoderConfig,
    MaskedPredictorConfig,
)
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.ops.attention import step_causal_attention
from vjepa_world.ops.sincos import resize_positions, sincos_positions

TINY = EncoderConfig(
    image_size=24, patch_size=8, num_frames=4, embed_dim=32, depth=2, num_heads=2, mlp_ratio=2.0
)
V21 = dataclasses.replace(TINY, positions="interleaved", rope_span=16, image_embed=True, levels=(0, 1))


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def encoder_of(config: EncoderConfig) -> VideoEncoder:
    encoder = VideoEncoder(config).eval().requires_grad_(False)
    reference.randomise(encoder, seed=0)
    return encoder


def slow_tokens(weights: reference.Weights, video: Tensor, embed: str, tubelet: int) -> list[Tensor]:
    kernel = weights[f"{embed}.proj.weight"]
    tokens = []
    for t, h, w in reference.grid(video.shape[0] // tubelet, video.shape[2] // 8, video.shape[3] // 8):
        patch = video[t * tubelet : (t + 1) * tubelet, :, h * 8 : h * 8 + 8, w * 8 : w * 8 + 8]
        embedded = (kernel * patch.double().transpose(0, 1)).sum(dim=(1, 2, 3, 4))
        tokens.append(embedded + weights[f"{embed}.proj.bias"])
    return tokens


def slow_blocks(
    weights: reference.Weights, tokens: list[Tensor], positions: list[reference.Position], convention: str
) -> list[list[Tensor]]:
    """Return the tokens after each of the two blocks."""
    states = []
    for layer in range(2):
        one = {name.replace(f"blocks.{layer}.", "blocks.0."): weight for name, weight in weights.items()}
        if layer:
            one = {name: w for name, w in weights.items() if not name.startswith("blocks.0.")}
            one = {name.replace("blocks.1.", "blocks.0."): weight for name, weight in one.items()}
        tokens = reference.transformer(tokens, one, "blocks", 1, 2, positions, convention=convention)
        states.append(tokens)
    return states


@pytest.mark.parametrize(("frames", "size"), [(4, (24, 24)), (4, (16, 40)), (1, (24, 32))])
def test_vjepa21_has_stretched_positions_modality_embeddings_and_level_norms(
    frames: int, size: tuple[int, int]
) -> None:
    encoder, video = encoder_of(V21), randn(1, frames, 3, *size)
    weights = reference.float64_weights(encoder)
    embed, tubelet, mode = (
        ("patch_embed_img", 1, "img_mod_embed") if frames == 1 else ("patch_embed", 2, "video_mod_embed")
    )
    tokens = [x + weights[mode][0, 0] for x in slow_tokens(weights, video[0], embed, tubelet)]
    rows, columns = size[0] // 8, size[1] // 8
    positions: list[reference.Position] = [
        (t, h * 15 / (rows - 1), w * 15 / (columns - 1))
        for t, h, w in reference.grid(frames // tubelet, rows, columns)
    ]
    states = slow_blocks(weights, tokens, positions, "interleaved")
    expected = [
        torch.stack([reference.layer_norm(x, weights, f"norms_block.{level}") for x in states[level]])
        for level in range(2)
    ]
    first, last = encoder.features(video, (0, 1))
    reference.assert_close(first[0].double(), expected[0])
    reference.assert_close(last[0].double(), expected[1])
    assert torch.equal(encoder(video), last)
    assert torch.equal(encoder.levels(video), torch.cat([first, last], dim=-1))


def test_the_conventions_differ_but_not_for_a_single_frequency() -> None:
    video = randn(1, 4, 3, 24, 24)
    tiled = encoder_of(TINY)
    interleaved = encoder_of(dataclasses.replace(TINY, positions="interleaved"))
    assert (tiled(video) - interleaved(video)).abs().max() > 1e-3
    narrow = dataclasses.replace(TINY, embed_dim=12)  # 6 channels per head, 2 per axis: one angle for both
    alike = encoder_of(narrow), encoder_of(dataclasses.replace(narrow, positions="interleaved"))
    torch.testing.assert_close(alike[0](video), alike[1](video))


def test_layer_features_have_the_requested_order_and_mask() -> None:
    encoder, video = encoder_of(TINY), randn(2, 4, 3, 24, 24)
    first, last = encoder.features(video, (0, 1))
    again = encoder.features(video, (1, 0))
    assert torch.equal(again[0], last)
    assert torch.equal(again[1], first)
    visible = torch.tensor([[0, 4, 9], [1, 2, 17]])
    assert torch.equal(encoder.features(video, (1,), visible)[0], encoder(video, visible))
    with pytest.raises(ConfigError, match="layer 2 has no features here; allowed: 0, 1"):
        encoder.features(video, (2,))
    only_last = encoder_of(dataclasses.replace(V21, levels=(1,)))
    with pytest.raises(ConfigError, match="layer 0 has no features here; allowed: 1"):
        only_last.features(video, (0,))


@pytest.mark.parametrize("levels", [(1, 0), (0,), (0, 0, 1), (0, 2)])
def test_levels_must_rise_and_end_with_the_last_block(levels: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="must rise and end with the last block, 1"):
        dataclasses.replace(TINY, levels=levels)


def test_sincos_tables_equal_the_formula() -> None:
    """V-JEPA 1: time, rows, columns, a third of the channels each; I-JEPA: columns and rows, a half each."""
    table = sincos_positions(2, 3, 4, 12).double()
    for token, position in enumerate(reference.grid(2, 3, 4)):
        expected = [
            wave(p / 10000 ** (i / 2)) for p in position for wave in (math.sin, math.cos) for i in range(2)
        ]
        torch.testing.assert_close(
            table[token], torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
        )
    image = sincos_positions(1, 3, 4, 8, image=True).double()
    for token, (_, h, w) in enumerate(reference.grid(1, 3, 4)):
        expected = [
            wave(p / 10000 ** (i / 2)) for p in (w, h) for wave in (math.sin, math.cos) for i in range(2)
        ]
        torch.testing.assert_close(
            image[token], torch.tensor(expected, dtype=torch.float64), atol=1e-6, rtol=0
        )
    assert sincos_positions(2, 2, 2, 16).shape == (8, 16)  # 3 x 6 channels, cut to 16


def test_sincos_positions_are_added_before_the_blocks_without_rope() -> None:
    config = dataclasses.replace(TINY, positions="sincos")
    encoder, video = encoder_of(config), randn(1, 4, 3, 24, 24)
    weights = reference.float64_weights(encoder)
    tokens = slow_tokens(weights, video[0], "patch_embed", 2)
    placed = [x + p for x, p in zip(tokens, weights["pos_embed"][0], strict=True)]
    still: list[reference.Position] = [(0, 0, 0)] * 18
    expected = torch.stack(
        [reference.layer_norm(x, weights, "norm") for x in slow_blocks(weights, placed, still, "tiled")[1]]
    )
    reference.assert_close(encoder(video)[0].double(), expected)
    order = torch.randperm(18, generator=torch.Generator().manual_seed(0)).unsqueeze(0)
    reference.assert_close(encoder(video, order), encoder(video)[:, order[0]])


def test_sincos_tables_are_interpolated_to_other_grids() -> None:
    table = sincos_positions(2, 3, 3, 12).unsqueeze(0)
    assert resize_positions(table, (2, 3, 3), (2, 3, 3)) is table
    larger = resize_positions(table, (2, 3, 3), (2, 6, 3))
    maps = table.view(1, 2, 3, 3, 12).permute(0, 4, 1, 2, 3)
    expected = F.interpolate(maps, scale_factor=(1.0, 2.0, 1.0), mode="trilinear").flatten(2).transpose(1, 2)
    torch.testing.assert_close(larger, expected)
    image = sincos_positions(1, 3, 3, 12, image=True).unsqueeze(0)
    assert resize_positions(image, (1, 3, 3), (2, 4, 5)).shape == (1, 40, 12)
    encoder = encoder_of(dataclasses.replace(TINY, positions="sincos"))
    for frames, height, width, count in ((4, 32, 16, 16), (2, 24, 24, 9), (1, 24, 24, 9)):
        assert encoder(randn(1, frames, 3, height, width)).shape == (1, count, 32)


def masked_21() -> MaskedPredictor:
    config = MaskedPredictorConfig(
        embed_dim=24,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        positions="interleaved",
        input_levels=2,
        output_dim=14,
        context_output=True,
        image_embed=True,
        rope_span=16,
    )
    predictor = MaskedPredictor(config, encoder_dim=10).requires_grad_(False)
    reference.randomise(predictor, seed=0, std=0.5)
    return predictor


@pytest.mark.parametrize(("frames", "image"), [(1, None), (2, None), (1, False)])
def test_the_21_predictor_fuses_levels_and_predicts_context_tokens_too(
    frames: int, image: bool | None
) -> None:
    """A video of one tubelet has a grid of one step too, and is not an image."""
    predictor, grid = masked_21(), (frames, 3, 3)
    still = frames == 1 if image is None else image
    context, target = torch.tensor([[0, 2, 5]]), torch.tensor([[1, 4, 8, 7]])
    features = randn(1, 3, 20)
    weights = reference.float64_weights(predictor)
    mode = weights["img_mod_embed" if still else "video_mod_embed"][0, 0]
    tokens = []
    for x in features[0]:
        hidden = reference.gelu(reference.linear(x.double(), weights, "predictor_embed.0"))
        tokens.append(reference.linear(hidden, weights, "predictor_embed.2") + mode)
    tokens += [weights["mask_tokens.1"][0, 0] + mode] * 4
    grid_positions = [(t, h * 15 / 2, w * 15 / 2) for t, h, w in reference.grid(*grid)]
    positions = [grid_positions[i] for i in (0, 2, 5, 1, 4, 8, 7)]
    tokens = reference.transformer(
        tokens, weights, "predictor_blocks", 2, 2, positions, convention="interleaved"
    )
    normal = [reference.layer_norm(x, weights, "predictor_norm") for x in tokens]
    seen = torch.stack([reference.linear(x, weights, "predictor_proj_context") for x in normal[:3]])
    hidden_tokens = torch.stack([reference.linear(x, weights, "predictor_proj") for x in normal[3:]])
    predicted, kept = predictor.dense(features, context, target, grid, 1, image=image)
    assert predicted.shape == (1, 4, 14)
    reference.assert_close(predicted[0].double(), hidden_tokens)
    reference.assert_close(kept[0].double(), seen)
    assert torch.equal(predictor(features, context, target, grid, 1, image=image), predicted)
    assert torch.equal(
        predictor(features, context, target, grid, 1 + 3, image=image), predicted
    )  # counted round


STEPS, SIDE, WIDTH = 5, 2, 10


def action_predictor(**changes: object) -> ActionPredictor:
    config = ActionPredictorConfig(
        **{"embed_dim": 24, "depth": 2, "num_heads": 2, "residual": False, "context_frames": 0, **changes}  # type: ignore[arg-type]
    )
    predictor = ActionPredictor(config, WIDTH, (SIDE, SIDE), [EmbodimentConfig()])
    reference.randomise(predictor, 0)
    return predictor.requires_grad_(False)


@pytest.mark.parametrize("context_frames", [0, 1])
@pytest.mark.parametrize("positions", ["tiled", "interleaved"])
@pytest.mark.parametrize("condition", ["tokens", "adaln"])
def test_steps_with_a_cache_are_the_full_pass(condition: str, positions: str, context_frames: int) -> None:
    predictor = action_predictor(
        condition=condition,
        positions=positions,
        context_frames=context_frames,
        extrinsics_dim=6,
        use_extrinsics=True,
    )
    features, actions, states, camera = (
        randn(2, STEPS * SIDE**2, WIDTH),
        randn(2, STEPS, 7, seed=2),
        randn(2, STEPS, 7, seed=3),
        randn(2, STEPS, 6, seed=4),
    )
    whole = predictor(features, actions, states, camera).unflatten(1, (STEPS, -1))
    cache, frames = None, features.unflatten(1, (STEPS, -1))
    for t in range(STEPS):
        predicted, cache = predictor.step(frames[:, t], actions[:, t], states[:, t], camera[:, t], cache)
        assert (predicted - whole[:, t]).abs().max() <= 1e-5


def test_a_cache_stays_valid_after_it_was_continued() -> None:
    """Planning continues one past with many actions."""
    predictor = action_predictor()
    frames, action, state = randn(3, 2, SIDE**2, WIDTH), randn(2, 7, seed=2), randn(2, 7, seed=3)
    _, past = predictor.step(frames[0], action, state)
    first, _ = predictor.step(frames[1], action, state, cache=past)
    predictor.step(frames[2], 5 * action, state, cache=past)
    assert torch.equal(predictor.step(frames[1], action, state, cache=past)[0], first)


def test_extrinsics_are_a_third_condition_token() -> None:
    predictor = action_predictor(extrinsics_dim=6, use_extrinsics=True)
    given = randn(1, SIDE**2, WIDTH), randn(1, 1, 7, seed=2), randn(1, 1, 7, seed=3)
    camera = randn(1, 1, 6, seed=4)
    weights = reference.float64_weights(predictor)
    tokens = [
        reference.linear(value[0, 0].double(), weights, f"{name}_encoder")
        for name, value in (
            ("embodiments.default.action", given[1]),
            ("embodiments.default.state", given[2]),
            ("extrinsics", camera),
        )
    ]
    tokens += [reference.linear(x.double(), weights, "predictor_embed") for x in given[0][0]]
    positions: list[reference.Position] = [(0, 0, 0)] * 3
    positions += reference.grid(1, SIDE, SIDE)
    tokens = reference.transformer(tokens, weights, "predictor_blocks", 2, 2, positions)[3:]
    normal = [reference.layer_norm(x, weights, "predictor_norm") for x in tokens]
    expected = torch.stack([reference.linear(x, weights, "predictor_proj") for x in normal])
    reference.assert_close(predictor(*given, camera)[0].double(), expected)
    with pytest.raises(ConfigError, match="needs the camera's extrinsics"):
        predictor(*given)
    with pytest.raises(ConfigError, match="takes no extrinsics"):
        action_predictor(extrinsics_dim=6)(*given, camera)
    with pytest.raises(ConfigError, match="extrinsics_dim is 0"):
        ActionPredictorConfig(use_extrinsics=True)


def test_step_causal_attention_is_attention_with_the_block_mask() -> None:
    q, k, v = randn(3, 2, 2, 12, 8)
    step = torch.arange(12) // 3
    mask = step.unsqueeze(1) >= step.unsqueeze(0)
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(step_causal_attention(q, k, v, 4), expected)


def test_64_frames_of_256_tokens_need_no_matrix_of_all_pairs() -> None:
    """16,512 tokens: a mask of bytes would take 273 MB, scores of one head 1.1 GB. Allocations are counted."""
    q, k, v = torch.zeros(3, 1, 1, 64 * 258, 4)
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN204
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            for tensor in out if isinstance(out, tuple | list) else (out,):
                if isinstance(tensor, Tensor):
                    largest = max(largest, tensor.numel())
            return out

    with Watch():
        step_causal_attention(q, k, v, 64)
    assert 0 < largest <= q.numel()


def modules() -> list[tuple[nn.Module, tuple[Tensor, ...]]]:
    action = action_predictor().requires_grad_(True)
    return [
        (encoder_of(TINY).requires_grad_(True), (randn(1, 4, 3, 24, 24), torch.tensor([[0, 3, 5]]))),
        (action, (randn(1, STEPS * SIDE**2, WIDTH), randn(1, STEPS, 7), randn(1, STEPS, 7))),
    ]


@pytest.mark.parametrize("which", [0, 1], ids=["encoder", "action predictor"])
def test_activation_checkpointing_changes_no_gradient(which: int) -> None:
    module, given = modules()[which]
    module(*given).square().mean().backward()
    plain = [p.grad.clone() for p in module.parameters() if p.grad is not None]
    module.zero_grad()
    module.recompute = True  # type: ignore[assignment]
    module(*given).square().mean().backward()
    again = [p.grad for p in module.parameters() if p.grad is not None]
    assert len(plain) == len(again) > 10
    for before, after in zip(plain, again, strict=True):
        torch.testing.assert_close(before, after)


@pytest.mark.parametrize("which", ["encoder", "2.1 encoder", "action predictor", "masked predictor"])
def test_compiling_has_no_graph_breaks(which: str) -> None:
    video = randn(1, 4, 3, 24, 24)
    cases: dict[str, tuple[nn.Module, tuple[object, ...]]] = {
        "encoder": (encoder_of(TINY), (video, torch.tensor([[0, 3, 5]]))),
        "2.1 encoder": (encoder_of(V21), (video,)),
        "action predictor": modules()[1],
        "masked predictor": (
            masked_21(),
            (randn(1, 3, 20), torch.tensor([[0, 2, 5]]), torch.tensor([[1, 4]]), (2, 3, 3), 1),
        ),
    }
    module, given = cases[which]
    torch._dynamo.reset()
    explained = torch._dynamo.explain(module)(*given)
    assert explained.graph_break_count == 0, explained.break_reasons
    assert explained.graph_count == 1

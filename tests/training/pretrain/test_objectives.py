"""The pretraining objectives: their losses, independent of micro-batches and processes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training.tiny import CPU, ENCODER, MASKS, PREDICTOR, jepa_config, moving_dot
from vjepa_world.config import compose
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.ops.masking.blocks import gather_tokens, sample_masks
from vjepa_world.ops.masking.spec import MaskSpec
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.pretrained import save_pretrained
from vjepa_world.training.engine.step_draw import StepDraw, step_generator
from vjepa_world.training.pretrain.config import PretrainConfig
from vjepa_world.training.pretrain.objectives.config import (
    ContrastiveConfig,
    JEPAConfig,
    ObjectiveConfig,
    PixelsConfig,
)
from vjepa_world.training.pretrain.objectives.jepa import JEPA
from vjepa_world.training.pretrain.objectives.pixels import MaskedPixels
from vjepa_world.training.pretrain.objectives.protocol import Objective
from vjepa_world.training.pretrain.objectives.registry import build_objective
from vjepa_world.training.pretrain.objectives.step_masks import draw_groups
from vjepa_world.training.pretrain.views import colored, draw_pairs, stills

LEVELS = replace(ENCODER, depth=3, levels=(1, 2), positions="interleaved")
DEEP = replace(PREDICTOR, input_levels=2)
IMAGES = replace(ENCODER, image_size=64)  # 8 x 8 tokens: a context of ten must be left


def clips(count: int = 4, views: int = 1) -> Tensor:
    video = normalize_video(torch.stack([moving_dot(index) for index in range(count)]))
    return video if views == 1 else torch.stack([video, video.flip(-1)], dim=1)


def total(objective: Objective, video: Tensor, **draw: Any) -> tuple[dict[str, float], list[Tensor]]:
    """Return a step's metrics and gradients, pass by pass as the trainer runs them."""
    objective.modules.zero_grad()
    metrics: dict[str, float] = {}
    for forward_pass in objective.forward_passes(video, StepDraw(step_generator(0, 0), 0.5, **draw)):
        found = forward_pass()
        found["loss"].backward()
        for name, value in found.items():
            metrics[name] = metrics.get(name, 0.0) + value.item()
    trained = [p for p in objective.modules.parameters() if p.requires_grad]
    return metrics, [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in trained]


def build(config: ObjectiveConfig, encoder: EncoderConfig = ENCODER, levels: bool = False) -> Objective:
    return build_objective(encoder, DEEP if levels else PREDICTOR, config, seed=0)


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "vjepa2": lambda: build(jepa_config()),
    "levels": lambda: build(jepa_config(context_weight=0.5), LEVELS, levels=True),
    "smooth": lambda: build(jepa_config(distance="smooth_l1")),
    "online": lambda: build(jepa_config(target="online", variance=1.0, covariance=0.1, sigreg=0.1)),
    "ijepa": lambda: build(jepa_config(masking="image", image_fraction=0.0), IMAGES),
    "mae": lambda: build(PixelsConfig(masks=MASKS, masking="tube", mask_ratio=0.75)),
    "simclr": lambda: build(ContrastiveConfig(gray_fraction=0.5)),
}
WHOLE_BATCH = ("online", "simclr")


def video_for(name: str) -> Tensor:
    if name == "ijepa":
        return F.interpolate(clips().flatten(0, 1), scale_factor=2).unflatten(0, (4, -1))
    return clips(views=2 if name == "simclr" else 1)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_every_weight_that_it_should(name: str) -> None:
    objective = OBJECTIVES[name]()
    metrics, gradients = total(objective, video_for(name))
    assert metrics["loss"] > 0
    trained = [key for key, p in objective.modules.named_parameters() if p.requires_grad]
    still = [key for key, grad in zip(trained, gradients, strict=True) if not grad.abs().sum() > 0]
    # The third mask token stands for pairs; one family uses the first alone. A key's bias shifts all scores alike.
    assert all("mask_tokens" in key for key in still), still
    assert not any(p.requires_grad for key, p in objective.modules.named_parameters() if "target" in key)


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in WHOLE_BATCH])
def test_micro_batches_and_processes_do_not_change_the_result(name: str) -> None:
    video = video_for(name)
    metrics, gradients = total(OBJECTIVES[name](), video)
    for slices in (2, 3):
        sliced, found = total(OBJECTIVES[name](), video, slices=slices)
        assert sliced == pytest.approx(metrics, rel=1e-5)
        for ours, theirs in zip(found, gradients, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)
    halves = [
        total(OBJECTIVES[name](), half, rank=rank, world_size=2) for rank, half in enumerate(video.chunk(2))
    ]
    assert {key: sum(h[0][key] for h in halves) / 2 for key in metrics} == pytest.approx(metrics, rel=1e-5)
    for one, two, theirs in zip(halves[0][1], halves[1][1], gradients, strict=True):
        torch.testing.assert_close((one + two) / 2, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["vjepa2", "ijepa"])
def test_masks_are_drawn_per_group_and_do_not_depend_on_the_processes(name: str) -> None:
    video = torch.cat([video_for(name), video_for(name).flip(-1)])
    objective = OBJECTIVES[name]()
    grid, config = objective.encoder.token_grid(video), objective.config  # type: ignore[attr-defined]
    small = replace(config, mask_group=3)
    whole = draw_groups(small, grid, 8, False, StepDraw(step_generator(0, 0)))
    assert [group.rows for group in whole] == [slice(0, 3), slice(3, 5), slice(5, 8)]
    shares = [
        draw_groups(small, grid, 2, False, StepDraw(step_generator(0, 0), rank=rank, world_size=4))
        for rank in range(4)
    ]
    rows = [
        row
        for rank, own in enumerate(shares)
        for group in own
        for row in range(group.rows.start + 2 * rank, group.rows.stop + 2 * rank)
    ]
    assert rows == list(range(8))
    for index in range(len(whole[0].families)):
        ours = [c.tolist() for own in shares for group in own for c in group.families[index].context]
        assert ours == [c.tolist() for group in whole for c in group.families[index].context]


def test_vjepa2_is_the_mean_l1_to_the_layer_normed_target_at_hidden_tokens() -> None:
    objective = build(jepa_config())
    assert isinstance(objective, JEPA)
    video = clips()
    metrics, gradients = total(objective, video)
    grid = (2, 4, 4)
    losses = []
    with torch.no_grad():
        target = objective.target(video)
        target = (target - target.mean(-1, keepdim=True)) / (
            target.var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
    for index, (context, hidden) in enumerate(sample_masks(grid, 4, MASKS, step_generator(0, 0))):
        predicted = objective.predictor(objective.encoder(video, context), context, hidden, grid, index)
        rows = [(predicted[b] - target[b][hidden[b]]).abs().mean() for b in range(4)]
        losses.append(torch.stack(rows).mean())
    assert metrics["loss_mask_0"] == pytest.approx(losses[0].item(), rel=1e-5)
    assert metrics["loss_mask_1"] == pytest.approx(losses[1].item(), rel=1e-5)
    assert metrics["loss"] == pytest.approx(sum(x.item() for x in losses) / 2, rel=1e-5)
    objective.modules.zero_grad()
    (sum(losses) / 2).backward()  # type: ignore[union-attr]
    trained = [p for p in objective.modules.parameters() if p.requires_grad and p.grad is not None]
    kept = [
        g
        for g, p in zip(
            gradients, (q for q in objective.modules.parameters() if q.requires_grad), strict=True
        )
        if p.grad is not None
    ]
    for ours, p in zip(kept, trained, strict=True):
        torch.testing.assert_close(ours, p.grad, rtol=1e-4, atol=1e-7)


def test_dense_loss_weights_visible_tokens_by_distance_and_follows_its_ramp() -> None:
    goal = jepa_config(context_weight=0.5, context_ramp=(0.4, 0.6), masks=MASKS[:1])
    objective = build(goal, LEVELS, levels=True)
    assert isinstance(objective, JEPA)
    video = clips()
    halfway, _ = total(objective, video)  # progress is 0.5, so the weight is half of 0.5
    context, hidden = sample_masks((2, 4, 4), 4, MASKS[:1], step_generator(0, 0))[0]
    with torch.no_grad():
        _, seen = objective.predictor.dense(
            objective.encoder.levels(video, context), context, hidden, (2, 4, 4), 0
        )
        levels = objective.target.levels(video).chunk(2, dim=-1)
        wanted = gather_tokens(torch.cat([F.layer_norm(level, (24,)) for level in levels], dim=-1), context)
    where = (
        torch.stack(torch.meshgrid(torch.arange(2), torch.arange(4), torch.arange(4), indexing="ij"), -1)
        .view(-1, 3)
        .double()
    )
    error = torch.tensor(0.0)
    for b in range(4):
        for i, token in enumerate(context[b]):
            nearest = min((where[token] - where[other]).norm().item() for other in hidden[b])
            error += (seen[b, i] - wanted[b, i]).abs().mean() * 0.25 / nearest**0.5
    error /= context.numel()
    assert halfway["loss_mask_0_context"] == pytest.approx(error.item(), rel=1e-5)
    assert halfway["loss"] == pytest.approx(halfway["loss_mask_0"] + error.item(), rel=1e-5)
    early = [part() for part in objective.forward_passes(video, StepDraw(step_generator(0, 0), 0.3))]
    assert early[0]["loss"].item() == pytest.approx(halfway["loss_mask_0"], rel=1e-5)


def test_online_targets_have_gradients_and_moving_averages_have_none() -> None:
    objective = build(jepa_config(target="online"))
    assert isinstance(objective, JEPA)
    assert objective.frozen is objective.encoder
    before = [p.clone() for p in objective.encoder.parameters()]
    objective.after_step(1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, objective.encoder.parameters(), strict=True))
    _, online = total(objective, clips())
    _, stopped = total(build(jepa_config()), clips())
    assert any(not torch.allclose(a, b) for a, b in zip(online, stopped, strict=True))


def test_the_target_is_updated_with_a_rising_momentum() -> None:
    objective = build(jepa_config(ema=(0.9, 1.0)))
    assert isinstance(objective, JEPA)
    with torch.no_grad():
        for p in objective.encoder.parameters():
            p.add_(1.0)
    start = objective.target.norm.weight.clone()
    objective.after_step(0.5)
    torch.testing.assert_close(objective.target.norm.weight, start + 0.05)
    objective.after_step(1.0)
    torch.testing.assert_close(objective.target.norm.weight, start + 0.05)


def test_a_teacher_has_targets_of_its_own_width_and_is_frozen(tmp_path: Path) -> None:
    teacher = replace(ENCODER, embed_dim=36, depth=2)
    save_pretrained(untrained_encoder(teacher, 5), tmp_path / "teacher")
    objective = build(jepa_config(target="teacher", teacher=str(tmp_path / "teacher")))
    assert isinstance(objective, JEPA)
    assert objective.predictor.predictor_proj.out_features == 36
    metrics, _ = total(objective, clips())
    assert metrics["loss"] > 0
    before = objective.modules["teacher"].state_dict()
    objective.after_step(0.5)
    assert all(torch.equal(v, objective.modules["teacher"].state_dict()[k]) for k, v in before.items())
    assert objective.frozen.config == ENCODER
    save_pretrained(untrained_encoder(replace(teacher, patch_size=16), 5), tmp_path / "coarse")
    with pytest.raises(ConfigError, match="patches of 16 pixels .* the model 8"):
        build(jepa_config(target="teacher", teacher=str(tmp_path / "coarse")))


def test_ijepa_predicts_four_blocks_from_one_context() -> None:
    video = F.interpolate(clips().flatten(0, 1), scale_factor=2).unflatten(0, (4, -1))[:, :1]
    goal = jepa_config(masking="image")
    family = draw_groups(goal, (1, 8, 8), 4, True, StepDraw(step_generator(0, 0)))[0].families[0]
    assert family.hidden.shape[:2] == (4, 4)
    for context, targets in zip(family.context, family.hidden, strict=True):
        assert not set(context.tolist()) & set(targets.flatten().tolist())
    metrics, _ = total(build(goal, IMAGES), video)
    assert set(metrics) == {"loss", "loss_image"}


def test_pixels_are_those_of_the_hidden_tokens() -> None:
    objective = build(PixelsConfig(masks=MASKS))
    assert isinstance(objective, MaskedPixels)
    video = clips()
    metrics, _ = total(objective, video)
    context, hidden = sample_masks((2, 4, 4), 4, MASKS, step_generator(0, 0))[0]
    with torch.no_grad():
        predicted = objective.decoder(objective.encoder(video, context), context, hidden, (2, 4, 4), 0)
    error = torch.tensor(0.0)
    for b in range(4):
        for i, token in enumerate(hidden[b].tolist()):
            t, row, column = token // 16, token % 16 // 4, token % 4
            cube = video[b, 2 * t : 2 * t + 2, :, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
            cube = cube.transpose(0, 1).flatten()
            error += (predicted[b, i] - (cube - cube.mean()) / (cube.var() + 1e-6).sqrt()).square().mean()
    assert metrics["loss_mask_0"] == pytest.approx((error / hidden.numel()).item(), rel=1e-4)


def test_the_contrastive_objective_matches_views_of_a_clip() -> None:
    objective = build(ContrastiveConfig(temperature=0.5))
    assert objective.views == 2
    video = clips(views=2)
    metrics, _ = total(objective, video)
    with torch.no_grad():
        pooled = objective.encoder(video.flatten(0, 1)).mean(dim=1)
        z = F.normalize(
            objective.modules["projector"](pooled), dim=-1
        )  # rows 2i and 2i + 1 are a clip's views
    losses = []
    for i in range(8):
        scores = {j: float(z[i] @ z[j]) / 0.5 for j in range(8) if j != i}
        losses.append(-scores[i ^ 1] + torch.tensor(list(scores.values())).logsumexp(0).item())
    assert metrics["loss"] == pytest.approx(sum(losses) / 8, rel=1e-4)


def test_image_steps_pair_steps_and_colour_augmentation() -> None:
    frames = torch.stack([moving_dot(index) for index in range(6)])
    assert stills(frames, 2).shape == (12, 1, 3, 32, 32)
    assert torch.equal(stills(frames, 2)[1, 0], frames[0, 2])
    pairs = draw_pairs(frames, StepDraw(step_generator(0, 0)))
    for clip, pair in zip(frames, pairs, strict=True):
        found = [next(t for t in range(4) if torch.equal(clip[t], frame)) for frame in pair]
        assert found[0] != found[1] or torch.equal(clip[found[0]], clip[found[0] - 1])
    halves = [
        draw_pairs(half, StepDraw(step_generator(0, 0), rank=rank, world_size=2))
        for rank, half in enumerate(frames.chunk(2))
    ]
    assert torch.equal(torch.cat(halves), pairs)
    plain, changed = normalize_video(frames), colored(frames, 0.3, StepDraw(step_generator(0, 0)))
    for clip, other in zip(plain, changed, strict=True):
        for channel in range(3):
            x, y = clip[:, channel].flatten(), other[:, channel].flatten()
            slope = torch.cov(torch.stack([x, y]))[0, 1] / x.var()
            assert 0.7 <= slope <= 1.3
            assert abs((y.mean() - slope * x.mean()).item()) <= 0.3 + 1e-4
    assert changed.device == CPU


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["objective.temperature=0.2"],
            "'objective.temperature' is given, and objective.kind=jepa does not use it",
        ),
        (
            ["objective=mae", "objective.ema=[0.9,0.9]"],
            "'objective.ema' is given, and objective.kind=pixels does not use it",
        ),
        (
            ["objective=simclr", "objective.masking=tube"],
            "'objective.masking' is given, and objective.kind=contrastive does not use it",
        ),
    ],
)
def test_options_of_another_objective_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("pretrain", PretrainConfig, ["data.path=clips", *words])


def test_options_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ConfigError, match="a teacher needs both"):
        JEPAConfig(target="teacher")
    with pytest.raises(ConfigError, match="input_levels is 2 and model.levels is"):
        build_objective(ENCODER, DEEP, JEPAConfig(), seed=0)
    with pytest.raises(ConfigError, match=r"scale 1\.5"):
        MaskSpec(num_blocks=1, scale=1.5)

"""The collapse alarm is raised where features collapse, names the cause, and is silent elsewhere."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.ops.feature_statistics import effective_rank, feature_std
from vjepa_world.ops.masking.blocks import VJEPA2_MASKS, gather_tokens, sample_masks
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.training.engine.ema import ema_distance
from vjepa_world.training.pretrain.collapse import CollapseAlarm, Recipe, collapse_at_end, find_collapse
from vjepa_world.training.pretrain.objectives.config import JEPAConfig, PixelsConfig

ENCODER = EncoderConfig(
    image_size=32, patch_size=8, num_frames=4, embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.0
)
PREDICTOR = MaskedPredictorConfig(embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0)


def history(**ends: tuple[float, float]) -> list[dict[str, float]]:
    """Return thirty logged lines whose metrics go evenly from one value to another."""
    usual = {
        "loss": (0.8, 0.3),
        "gradient_norm": (1.0, 1.0),
        "target_std": (0.9, 0.8),
        "target_rank": (60.0, 30.0),
        "untrained_std": (0.9, 0.9),
        "untrained_rank": (60.0, 60.0),
        "ema_distance": (0.05, 0.05),
    } | ends
    return [
        {"step": 10 * line} | {name: a + (b - a) * line / 29 for name, (a, b) in usual.items()}
        for line in range(30)
    ]


CONSTANT = {"target_std": (0.9, 0.001)}
NARROW = {"target_rank": (60.0, 1.5)}


@pytest.mark.parametrize(
    ("metrics", "recipe", "sign", "cause", "remedy"),
    [
        (
            CONSTANT,
            Recipe(online=True),
            "a spread of",
            "predicts itself with gradients",
            "objective.target=ema",
        ),
        (
            CONSTANT | {"ema_distance": (0.9, 0.1)},
            Recipe(momentum=0.99),
            "a spread of",
            "learning rate is too high, the encoder's weights ran 0.9",
            "Lower trainer.lr",
        ),
        (NARROW, Recipe(momentum=0.0), "directions only", r"at once \(momentum 0\)", "Raise objective.ema"),
        (
            NARROW | {"ema_distance": (0.0, 0.0)},
            Recipe(),
            "directions only",
            r"\(distance 0\)",
            "objective.ema",
        ),
        (
            NARROW,
            Recipe(momentum=0.999, hidden=0.2),
            "directions",
            "hide too little.*20 %",
            "objective.masks",
        ),
        (
            NARROW,
            Recipe(momentum=0.999, hidden=0.8),
            "directions",
            "loss falls with them",
            "objective.sigreg",
        ),
        (
            CONSTANT | {"loss": (0.2, 0.9), "gradient_norm": (0.5, 9.0)},
            Recipe(momentum=0.999),
            "a spread of",
            "learning rate is too high, the loss rose from 0.2",
            "smaller trainer.lr",
        ),
        (
            NARROW,
            Recipe(momentum=0.999, regularized=True),
            "directions",
            "too weak",
            "Raise objective.variance",
        ),
    ],
)
def test_a_collapse_is_reported_with_its_likely_cause(
    metrics: dict[str, tuple[float, float]], recipe: Recipe, sign: str, cause: str, remedy: str
) -> None:
    found = find_collapse(history(**metrics), recipe)
    assert found is not None
    assert re.search(sign, found.sign)
    assert re.search(cause, found.cause)
    assert re.search(remedy, found.remedy)
    assert str(found).startswith(f"features collapse at step {found.step}: ")


def test_the_advice_follows_the_objective() -> None:
    assert Recipe.of(JEPAConfig(), 0.7) == Recipe(momentum=0.99925, hidden=0.7)
    assert Recipe.of(JEPAConfig(target="online", sigreg=0.1)) == Recipe(online=True, regularized=True)
    pixels = Recipe.of(PixelsConfig())
    assert pixels == Recipe(latent=False)
    found = find_collapse(history(**CONSTANT), pixels)
    assert found is not None and found.remedy == "Lower trainer.lr"


def test_the_alarm_needs_three_consecutive_log_lines() -> None:
    lines = history()[:10]
    for line in lines[4:]:
        line["target_std"] = 0.01
    found = find_collapse(lines)
    # The median of the last three is low from the second bad line on.
    assert found is not None and found.step == 50
    assert collapse_at_end(lines[:5]) is None


def test_one_low_variance_batch_is_not_a_collapse() -> None:
    lines = history()[:10]
    lines[5] |= {"target_std": 0.01, "target_rank": 1.0}
    assert find_collapse(lines) is None


def test_low_variance_in_both_encoders_is_not_a_collapse() -> None:
    assert find_collapse(history(target_std=(0.9, 0.01), untrained_std=(0.9, 0.012))) is None


def test_without_an_untrained_encoder_the_first_log_line_is_the_reference() -> None:
    lines = [{k: v for k, v in line.items() if "untrained" not in k} for line in history(**CONSTANT)]
    assert find_collapse(lines) is not None
    assert (
        find_collapse([{k: v for k, v in line.items() if "untrained" not in k} for line in history()]) is None
    )


def test_metrics_of_another_kind_give_no_alarm() -> None:
    assert find_collapse([{"step": step, "loss": 0.1, "val_error": 0.0} for step in range(9)]) is None
    assert find_collapse([]) is None


def test_the_alarm_is_raised_once_also_after_a_resume() -> None:
    lines = history(**CONSTANT)
    alarm = CollapseAlarm()
    alarms = [alarm.update(line) for line in lines]
    positions = [place for place, text in enumerate(alarms) if text is not None]
    assert len(positions) == 1
    assert alarms[positions[0]] == str(find_collapse(lines))
    before = CollapseAlarm(history=lines[: positions[0]])
    assert before.update(lines[positions[0]]) == alarms[positions[0]]
    after = CollapseAlarm(history=lines[: positions[0] + 1])
    assert [after.update(line) for line in lines[positions[0] + 1 :]] == [None] * (
        len(lines) - positions[0] - 1
    )


def moving_square(number: int) -> Tensor:
    """Return a clip of a bright square that moves over a grey field, uint8 `[4, 3, 32, 32]`."""
    generator = torch.Generator().manual_seed(number)
    clip = torch.full((4, 3, 32, 32), int(torch.randint(30, 120, (), generator=generator)), dtype=torch.uint8)
    place, speed = 4 + 18 * torch.rand(2, generator=generator), 6 * torch.rand(2, generator=generator) - 3
    colour = torch.randint(150, 256, (3, 1, 1), generator=generator, dtype=torch.uint8)
    for frame in range(4):
        y, x = (place + frame * speed).clamp(0, 25).int().tolist()
        clip[frame, :, y : y + 7, x : x + 7] = colour
    return clip


def train(momentum: float, lr: float, *, stop_gradient: bool, steps: int = 160) -> Iterator[dict[str, float]]:
    """Pretrain a tiny encoder on moving squares and yield what is logged every tenth step."""
    torch.manual_seed(0)
    encoder, predictor = VideoEncoder(ENCODER), MaskedPredictor(PREDICTOR, ENCODER.embed_dim)
    target, untrained = copy.deepcopy(encoder).requires_grad_(False), untrained_encoder(ENCODER, 1)
    weights = [*encoder.parameters(), *predictor.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=lr, betas=(0.9, 0.95))
    for step in range(steps):
        video = normalize_video(torch.stack([moving_square(8 * step + place) for place in range(8)]))
        grid, losses = encoder.token_grid(video), []
        everything = target(video) if stop_gradient else encoder(video)
        masks = sample_masks(grid, 8, VJEPA2_MASKS, torch.Generator().manual_seed(step))
        for index, (context, hidden) in enumerate(masks):
            predicted = predictor(encoder(video, context), context, hidden, grid, index)
            wanted = F.layer_norm(gather_tokens(everything, hidden), (ENCODER.embed_dim,))
            losses.append(F.l1_loss(predicted, wanted))
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
        optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(target.parameters()), list(encoder.parameters()), 1 - momentum)
            if step % 10 == 0:
                yield {"step": step, "loss": loss.item(), "gradient_norm": norm.item()} | health(
                    video, encoder, target, untrained
                )


def health(
    video: torch.Tensor, encoder: nn.Module, target: nn.Module, untrained: nn.Module
) -> dict[str, float]:
    metrics = {"ema_distance": ema_distance(target, encoder)}
    for name, model in (("target", target), ("untrained", untrained)):
        features = F.layer_norm(model(video[:4]), (ENCODER.embed_dim,)).flatten(0, 1)
        metrics |= {f"{name}_std": feature_std(features), f"{name}_rank": effective_rank(features)}
    return metrics


def test_a_real_collapse_is_reported() -> None:
    recipe = Recipe(momentum=0.0, online=True)
    found = find_collapse(list(train(0.0, 3e-3, stop_gradient=False)), recipe)
    assert found is not None
    assert "nearly the same" in found.sign
    assert "predicts itself with gradients" in found.cause


def test_a_real_collapse_by_a_high_learning_rate_is_reported() -> None:
    found = find_collapse(list(train(0.9, 0.3, stop_gradient=True)), Recipe(momentum=0.9, hidden=0.6))
    assert found is not None
    assert "learning rate is too high" in found.cause


def test_a_real_run_with_an_ema_target_raises_no_alarm() -> None:
    lines = list(train(0.99, 1e-3, stop_gradient=True))
    assert find_collapse(lines, Recipe(momentum=0.99)) is None
    assert lines[-1]["loss"] < 0.6 * lines[0]["loss"]

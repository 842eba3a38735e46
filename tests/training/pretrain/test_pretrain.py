"""Masked latent prediction on small moving squares."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.training.tiny import (
    CPU,
    ENCODER,
    assert_same_state,
    fit,
    jepa_config,
    metrics,
    moving_dot,
    pretrain_task,
    run_folder,
    trainer_config,
)
from vjepa_world.data.loading.batches import ClipBatch
from vjepa_world.errors import ConfigError
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.ops.feature_statistics import effective_rank, feature_std
from vjepa_world.ops.masking.blocks import sample_pair_masks
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.pretrained import load_encoder
from vjepa_world.training.engine.step_draw import StepDraw, step_generator
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.pretrain.objectives.config import ObjectiveConfig
from vjepa_world.training.pretrain.objectives.jepa import JEPA
from vjepa_world.training.pretrain.task import PretrainTask
from vjepa_world.training.pretrain.views import draw_pairs

VIDEO, IMAGES = jepa_config(image_fraction=0.0), jepa_config(image_fraction=1.0)
PAIRS = jepa_config(image_fraction=0.0, pair_fraction=1.0)


def clips(count: int = 4) -> Tensor:
    return torch.stack([moving_dot(index) for index in range(count)])


def batch_of(frames: Tensor) -> ClipBatch:
    return ClipBatch(frames, ("",) * len(frames), ("",) * len(frames))


def jepa(task: PretrainTask) -> JEPA:
    assert isinstance(task.objective, JEPA)
    return task.objective


def loss(task: PretrainTask, frames: Tensor, step: int) -> Tensor:
    """Return the loss of a step, its passes backpropagated."""
    losses = [forward_pass()["loss"] for forward_pass in task.forward_passes(batch_of(frames), step)]
    torch.stack(losses).sum().backward()
    return torch.stack(losses).sum().detach()


def test_the_loss_falls_and_the_checkpoint_is_the_target_encoder(tmp_path: Path) -> None:
    config = trainer_config(steps=80, batch_size=8, lr=3e-3, log_every=5, warmup=0.1, cooldown=0.2)
    task = pretrain_task(config)
    fit(task, config, run_folder(tmp_path))
    lines = metrics(tmp_path / "run")
    losses = [line["loss"] for line in lines]
    assert sum(losses[-3:]) / 3 < 0.75 * losses[0]
    for line in lines:
        assert line["loss"] == pytest.approx((line["loss_mask_0"] + line["loss_mask_1"]) / 2, abs=2e-6)
    assert {line["untrained_rank"] for line in lines} != {line["target_rank"] for line in lines}
    loaded = load_encoder(tmp_path / "run")
    assert_same_state(loaded, jepa(task).target)
    assert not torch.equal(loaded.patch_embed.proj.weight, jepa(task).encoder.patch_embed.proj.weight)


@pytest.mark.parametrize("objective", [VIDEO, IMAGES])
def test_the_context_encoder_sees_the_visible_tokens_and_the_target_all(objective: ObjectiveConfig) -> None:
    task = pretrain_task(trainer_config(), objective=objective)
    seen: dict[str, list[int]] = {"encoder": [], "target": []}
    jepa(task).encoder.norm.register_forward_hook(lambda _, __, out: seen["encoder"].append(out.shape[1]))
    jepa(task).target.norm.register_forward_hook(lambda _, __, out: seen["target"].append(out.shape[1]))
    loss(task, clips(), step=0)
    tokens = 16 if objective is IMAGES else 2 * 16
    assert seen["target"] == [tokens]
    assert len(seen["encoder"]) == 2
    assert all(0 < count < tokens for count in seen["encoder"])


def test_images_are_single_frames_of_the_clips() -> None:
    task = pretrain_task(trainer_config(), objective=IMAGES)
    inputs: list[Tensor] = []
    jepa(task).target.register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    loss(task, clips(3), step=0)
    [images] = inputs
    assert images.shape == (3 * 2, 1, 3, 32, 32)
    torch.testing.assert_close(images, normalize_video(clips(3)[:, [0, 2]].flatten(0, 1)).unsqueeze(1))


def test_the_loss_is_a_function_of_weights_seed_and_step() -> None:
    task, same, other = (pretrain_task(trainer_config(), seed=seed) for seed in (0, 0, 1))
    torch.manual_seed(5)
    first = loss(task, clips(), step=3)
    torch.manual_seed(6)
    assert torch.equal(first, loss(same, clips(), step=3))
    assert not torch.equal(first, loss(task, clips(), step=4))
    assert not torch.equal(first, loss(other, clips(), step=3))


def test_the_target_follows_the_encoder_as_a_moving_average() -> None:
    config = trainer_config(steps=10)
    task = pretrain_task(config, objective=jepa_config(ema=(0.9, 0.98)))
    trainer = Trainer(task, config, Path("unused"), CPU)
    expected = {name: value.clone() for name, value in jepa(task).target.named_parameters()}
    for step, batch in zip(range(4), task.batches(0), strict=False):
        trainer.step(step, batch)
        momentum = 0.9 + (0.98 - 0.9) * step / 9
        online = dict(jepa(task).encoder.named_parameters())
        expected = {name: momentum * old + (1 - momentum) * online[name] for name, old in expected.items()}
    for name, value in jepa(task).target.named_parameters():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-5)
    assert (jepa(task).target.norm.weight - jepa(task).encoder.norm.weight).abs().max() > 1e-5


def test_std_and_rank_of_the_target_and_an_untrained_encoder_are_logged() -> None:
    task = pretrain_task(trainer_config(), seed=3)
    with torch.no_grad():
        for parameter in jepa(task).target.parameters():
            parameter.mul_(1.5)
    found = task.monitor(batch_of(clips(6)), step=0)
    for name, encoder in (("target", jepa(task).target), ("untrained", untrained_encoder(ENCODER, 4))):
        features = F.layer_norm(encoder(normalize_video(clips(4))), (24,)).reshape(-1, 24)
        assert found[f"{name}_std"] == pytest.approx(feature_std(features), rel=1e-4)
        assert found[f"{name}_rank"] == pytest.approx(effective_rank(features), rel=1e-4)
    with torch.no_grad():
        jepa(task).target.norm.weight.zero_()
    assert task.monitor(batch_of(clips(6)), step=0)["target_rank"] == 0


def test_bfloat16_runs_on_the_processor_and_keeps_float32_weights(tmp_path: Path) -> None:
    config = trainer_config(steps=3, precision="bfloat16")
    task = pretrain_task(config, objective=VIDEO)
    fit(task, config, run_folder(tmp_path))
    exact_config = trainer_config(steps=3)
    exact = pretrain_task(exact_config, objective=VIDEO)
    fit(exact, exact_config, run_folder(tmp_path, "exact"))
    half, full = metrics(tmp_path / "run"), metrics(tmp_path / "exact")
    assert [line["loss"] for line in half] == pytest.approx([line["loss"] for line in full], rel=0.02)
    assert half != full
    assert {p.dtype for p in task.modules.parameters()} == {torch.float32}


def test_pairs_are_two_frames_of_each_clip_in_either_order() -> None:
    marked = torch.arange(4 * 6).view(4, 6, 1, 1, 1)  # a clip and a frame to each number
    seen = set()
    for seed in range(100):
        pairs = draw_pairs(marked, StepDraw(step_generator(seed, 0))).flatten(1)
        assert torch.equal(pairs // 6, torch.arange(4).unsqueeze(1).expand(4, 2))
        seen |= {tuple(pair) for pair in (pairs % 6).tolist()}
    assert seen == {(first, second) for first in range(6) for second in range(6) if first != second}


def test_a_clip_of_one_frame_has_no_pairs() -> None:
    with pytest.raises(ConfigError, match="pairs need clips of at least 2 frames"):
        draw_pairs(torch.zeros(2, 1, 3, 8, 8), StepDraw(torch.Generator()))


def test_the_second_frame_is_predicted_from_the_first_and_the_tokens_seen() -> None:
    objective = jepa(pretrain_task(trainer_config(), objective=PAIRS))
    pairs = normalize_video(torch.stack([clips(2)[:, 0], clips(2)[:, 3]], dim=1))
    context, hidden = sample_pair_masks(16, 2, PAIRS.pair_visible, torch.Generator().manual_seed(0))
    targets = F.layer_norm(objective.target(pairs[:, 1:]), (24,))
    repeated = pairs.repeat_interleave(2, dim=1)
    features = objective.encoder(repeated, context)
    predicted = objective.predictor(features, context, hidden + 16, (2, 4, 4), 2)
    expected = (predicted - targets.gather(1, hidden.unsqueeze(-1).expand(-1, -1, 24))).abs().mean()
    [forward_pass] = objective.forward_passes(pairs, StepDraw(torch.Generator().manual_seed(0), pairs=True))
    torch.testing.assert_close(forward_pass()["loss"], expected)


def test_the_loss_on_pairs_falls(tmp_path: Path) -> None:
    config = trainer_config(steps=80, batch_size=8, lr=3e-3, log_every=5, warmup=0.1, cooldown=0.2)
    fit(pretrain_task(config, objective=PAIRS), config, run_folder(tmp_path))
    losses = [line["loss_pair"] for line in metrics(tmp_path / "run")]
    assert sum(losses[-3:]) / 3 < 0.75 * losses[0]

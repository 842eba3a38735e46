"""Both sides of the fine-tuning benchmark compute the same loss and gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from vjepa_world.bench import finetune
from vjepa_world.bench.finetune_cache import CacheAndDecoder, Size
from vjepa_world.bench.references.finetune import PlainFinetuneStep
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.system.device import resolve_precision
from vjepa_world.training.finetune.predictions import predict_windows

FRAMES = 4
ENCODER = EncoderConfig(image_size=32, patch_size=8, embed_dim=24, depth=2, num_heads=2)
PREDICTOR = ActionPredictorConfig(
    embed_dim=24, depth=2, num_heads=2, residual=False, context_frames=0, normalize=True
)
CONFIG = WorldModelConfig(
    encoder=ENCODER,
    predictor=PREDICTOR,
    latents=LatentsConfig(kind="none"),
    inverse=InverseConfig(horizon=0),
    decoder=DecoderConfig(image_size=0),
)


def both_sides() -> tuple[LatentWorldModel, PlainFinetuneStep]:
    torch.manual_seed(0)
    model = LatentWorldModel(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plain = PlainFinetuneStep(ENCODER, PREDICTOR, frames=FRAMES, action_dim=7, state_dim=7, lr=1e-3)
    plain.copy_weights(model)
    return model, plain


def windows() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (2, FRAMES, 3, 32, 32), generator=generator).to(torch.uint8)
    return (
        frames,
        torch.randn(2, FRAMES - 1, 7, generator=generator),
        torch.randn(2, FRAMES, 7, generator=generator),
    )


def published_loss(model: LatentWorldModel, frames: Tensor, actions: Tensor, states: Tensor) -> Tensor:
    """L1 of teacher forcing, and of the rollout's first two frames, the first of which is teacher forcing's."""
    features = model.encode_frames(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])
    found = predict_windows(model.predictor, features, actions, states, horizon=2)
    return (found.teacher_forced - features[:, 1:]).abs().mean() + (
        found.rollout - features[:, 1:3]
    ).abs().mean()


def test_the_plain_step_has_our_loss_and_our_gradients() -> None:
    model, plain = both_sides()
    frames, actions, states = windows()
    loss = published_loss(model, frames, actions, states)
    assert plain(frames, actions, states, torch.float32) == pytest.approx(loss.item(), rel=1e-5)
    loss.backward()
    ours, theirs = (gradients(side) for side in (model.predictor, plain.predictor))
    pairs = {f"predictor_blocks.{n}.attn.qkv.weight": f"blocks.{n}.qkv.weight" for n in range(2)}
    pairs |= {f"predictor_blocks.{n}.mlp.fc2.weight": f"blocks.{n}.mlp.2.weight" for n in range(2)}
    pairs |= {
        "embodiments.default.action_encoder.weight": "action.weight",
        "predictor_proj.bias": "proj.bias",
    }
    for name, other in pairs.items():
        torch.testing.assert_close(ours[name], theirs[other], atol=1e-6, rtol=1e-4)
        assert ours[name].abs().max() > 1e-4


def gradients(module: nn.Module) -> dict[str, Tensor]:
    return {
        name: parameter.grad for name, parameter in module.named_parameters() if parameter.grad is not None
    }


def test_the_plain_step_trains_only_its_predictor() -> None:
    _, plain = both_sides()
    before = [p.clone() for p in plain.encoder.parameters()]
    losses = [plain(*windows(), torch.float32) for _ in range(10)]
    assert losses[-1] < 0.95 * losses[0]
    assert all(torch.equal(now, then) for now, then in zip(plain.encoder.parameters(), before, strict=True))


def test_both_sides_start_with_the_same_weights_and_windows() -> None:
    size = finetune.Size("tiny", ENCODER, PREDICTOR, windows=2, frames=FRAMES, slices=2)
    ours = finetune.Ours(size, torch.device("cpu"), seed=0)
    model, batch = ours.task.model, ours.batch
    plain = finetune.Plain(size, model, batch, torch.device("cpu"), torch.float32)
    assert batch.frames is not None
    with torch.no_grad():
        features = model.encode_frames(batch.frames.flatten(0, 1)).unflatten(0, (2, FRAMES))
        found = predict_windows(model.predictor, features, batch.actions, batch.states, horizon=2)
        teacher = (found.teacher_forced - features[:, 1:]).abs().mean().item()
        published = published_loss(model, batch.frames, batch.actions, batch.states).item()
    assert plain() == pytest.approx(published, rel=1e-4)
    assert ours()["loss_teacher"].item() == pytest.approx(
        teacher, rel=0.02
    )  # in the machine's default precision
    assert ours.step == 1


def test_the_cache_contains_the_encoded_features(tmp_path: Path) -> None:
    """To the last bit of bfloat16, in which features are stored; actions and small images are identical."""
    model = WorldModelConfig(encoder=ENCODER, predictor=PREDICTOR, latents=LatentsConfig(side=2))
    size = Size("tiny", model, windows=3, frames=FRAMES, episodes=2, steps=6)
    both = CacheAndDecoder(size, tmp_path, torch.device("cpu"), seed=0)
    draw = both.draw(1)
    cached, decoded = both.cached.read(draw), both.decoded.read(draw)
    assert cached.features is not None and decoded.frames is not None
    assert cached.images is not None and decoded.images is not None
    own = resolve_precision("auto", torch.device("cpu"))  # the machine's default, in which the cache was made
    with torch.autocast("cpu", own, enabled=own != torch.float32):
        fresh = both.model.frozen_features(decoded.frames.flatten(0, 1)).unflatten(0, (3, FRAMES))
    torch.testing.assert_close(cached.features, fresh.float(), rtol=2**-8, atol=1e-6)
    assert torch.equal(cached.images, decoded.images)
    assert torch.equal(cached.actions, decoded.actions)
    assert cached.names == decoded.names
    losses = [both.take(reader)["loss"].item() for reader in (both.cached, both.decoded)]
    assert all(loss > 0 for loss in losses)

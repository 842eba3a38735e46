"""The models on a fake CUDA device: tensors on two devices meet in an error without a GPU.

Fake tensors have a shape, a type and a device, and no values. Their operations refuse operands of two devices.
"""

from __future__ import annotations

import ctypes
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode

from tests.models.test_world_model import CONFIG
from vjepa_world.models.config import LatentKind, LatentsConfig, MaskedPredictorConfig, ProbeConfig
from vjepa_world.models.context import Context
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.inference import cached_rollout
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.probe import build_probe
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops import pose
from vjepa_world.ops.masking.blocks import gather_tokens
from vjepa_world.ops.masking.token_distance import distance_to_hidden
from vjepa_world.ops.regularizers import covariance_penalty, random_directions, sigreg, variance_hinge
from vjepa_world.training.finetune.losses import (
    decoder_loss,
    inverse_loss,
    prediction_losses,
    reconstruction_loss,
    state_loss,
)
from vjepa_world.training.finetune.micro_batch import MicroBatch
from vjepa_world.training.finetune.predictions import predict_windows

#: Numbers of torch's device types (c10/core/DeviceType.h).
CUDA, META = 1, 14

KINDS: dict[str, dict[str, Any]] = {
    "V-JEPA 2-AC": {"residual": False, "context_frames": 0, "normalize": True, "wrap_angles": True},
    "one frame": {},
    "AdaLN": {"condition": "adaln", "context_frames": 0},
    "cameras": {"context_frames": 0, "extrinsics_dim": 6, "use_extrinsics": True},
}


#: All fake tensors are of one mode.
MODE = FakeTensorMode()


@pytest.fixture(scope="module", autouse=True)
def fake_cuda() -> Iterator[None]:
    """Let a torch without CUDA index fake CUDA tensors: the meta device's guard, which does nothing, guards CUDA.

    What fake tensors do not have (addresses, values, a conversion in place, a copy of their mode) is left out.
    """
    library = ctypes.CDLL(str(Path(torch.__file__).parent / "lib/libc10.so"))
    guards = (ctypes.c_void_p * (META + 1)).in_dll(library, "_ZN3c104impl26device_guard_impl_registryE")
    before = guards[CUDA]
    guards[CUDA] = before or guards[META]
    with (
        mock.patch.object(torch.cuda, "mem_get_info", return_value=(8 * 2**30, 16 * 2**30)),
        mock.patch.object(torch.cuda, "memory_reserved", return_value=0),
        mock.patch.object(torch.cuda, "memory_allocated", return_value=0),
        mock.patch.object(cached_rollout, "version", return_value=0),
        mock.patch.object(cached_rollout, "checksums", return_value=b""),
        mock.patch.object(pose, "_check"),
        mock.patch.object(nn.Module, "float", lambda module: module),
        mock.patch.object(FakeTensorMode, "__deepcopy__", lambda mode, memo: mode, create=True),
    ):
        yield
    guards[CUDA] = before


def fake(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="cuda")


def on_cuda(make: Callable[[], nn.Module], on_cpu: str = "") -> Any:
    """Return a module whose weights are fake and on CUDA, but for one."""
    with torch.device("meta"):
        module = make()
    formats = {name: (tensor.shape, tensor.dtype) for name, tensor in module.state_dict().items()}
    assert not on_cpu or on_cpu in formats
    with MODE:
        state = {
            name: torch.empty(shape, dtype=dtype, device="cpu" if name == on_cpu else "cuda")
            for name, (shape, dtype) in formats.items()
        }
        module.load_state_dict(state, assign=True)
    return module.eval()


def world_model(kind: str = "one frame", on_cpu: str = "", **changes: Any) -> LatentWorldModel:
    predictor = dataclasses.replace(CONFIG.predictor, embed_dim=48, depth=2, **KINDS[kind])
    config = dataclasses.replace(CONFIG, predictor=predictor, **changes)
    return on_cuda(lambda: LatentWorldModel(config).requires_grad_(False), on_cpu)


def context(model: LatentWorldModel, frames: int = 2) -> Context:
    pictures, states = fake(3, frames, 3, 48, 64, dtype=torch.uint8), fake(3, frames, 7)
    cameras = fake(3, frames, 6) if model.config.predictor.use_extrinsics else None
    return model.encode(pictures, states, cameras)


def expect_cuda(*tensors: Tensor | None) -> None:
    assert all(tensor is None or tensor.device.type == "cuda" for tensor in tensors), tensors


@pytest.mark.parametrize("latents", ["none", "pool", "queries"])
def test_encoding(latents: LatentKind) -> None:
    model = world_model(latents=LatentsConfig(kind=latents, side=2, embed_dim=24, num_heads=2))
    with MODE:
        seen = context(model)
        expect_cuda(seen.features, seen.states, seen.extrinsics)
        expect_cuda(model.encode_goal(fake(3, 3, 32, 32, dtype=torch.uint8)))
        assert model.latents is None or model.latents.reconstruct(seen.features[:, 0]).device.type == "cuda"
        # Observations come from elsewhere: the model brings them to its device.
        frames, states = torch.empty(1, 1, 3, 32, 32, dtype=torch.uint8), torch.empty(1, 1, 7)
        with (
            mock.patch("vjepa_world.models.world_model.check_numbers"),
            mock.patch("vjepa_world.models.context.check_numbers"),
        ):
            expect_cuda(model.encode(frames, states).states)


def check_rollout(
    kind: str, *, batched: bool, dtype: torch.dtype = torch.float32, frames: int = 2, on_cpu: str = ""
) -> None:
    model = world_model(kind, on_cpu).prepare(dtype, batched=batched)
    with MODE:
        seen, actions = context(model, frames), fake(3, 4, 2, 7)
        assert model.samples_at_once(seen, 2) > 0
        features, states = model.rollout_with_states(seen, actions)
        expect_cuda(features, states)
        assert features.shape == (3, 4, 2, 4, 16)
        assert features.dtype == (torch.float32 if model.config.predictor.residual else dtype)
        expect_cuda(model.rollout_sequences(seen, actions[:, 0]))
        expect_cuda(model.rollout(seen, actions.requires_grad_()))


@pytest.mark.parametrize(("batched", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
@pytest.mark.parametrize("kind", KINDS)
def test_rollouts(kind: str, batched: bool, dtype: torch.dtype) -> None:
    check_rollout(kind, batched=batched, dtype=dtype)
    assert world_model(kind)._cached_rollout.batched, "on a GPU problems are computed together"


def test_a_rollout_from_one_frame() -> None:
    check_rollout("V-JEPA 2-AC", batched=True, frames=1)


def test_proposals_decoded_images_and_bounds() -> None:
    model = world_model()
    with MODE:
        seen = context(model)
        expect_cuda(model.propose(seen, seen.features[:, 0], 3), model.picture(seen.features))
        expect_cuda(model.hold_action(seen), model.for_context(seen).action_low)


@pytest.mark.parametrize("kind", KINDS)
def test_the_forward_pass_of_finetuning(kind: str) -> None:
    queries = LatentsConfig(kind="queries", side=2, embed_dim=24, num_heads=2)
    model = world_model(kind, latents=queries).requires_grad_(True)
    with MODE:
        batch = MicroBatch(
            embodiment="default",
            frozen=fake(3, 4, 16, 16),
            features=fake(3, 4, 4, 16),
            actions=fake(3, 3, 7),
            states=fake(3, 4, 7),
            extrinsics=fake(3, 4, 6) if model.config.predictor.use_extrinsics else None,
            images=fake(3, 4, 3, 8, 8, dtype=torch.uint8),
            teacher_forced_weights=fake(3, 3, 4),
            rollout_weights=fake(3, 2, 4),
            reconstruction_weights=fake(3, 4, 16),
            later_frame=fake(3, dtype=torch.int64),
            decoded_frame=fake(3, dtype=torch.int64),
            episodes=fake(3, dtype=torch.int64),
        )
        given = batch.features, batch.actions, batch.states, 2, batch.extrinsics
        losses = list(prediction_losses(predict_windows(model.predictor, *given), batch).values())
        losses += [loss(model, batch) for loss in (reconstruction_loss, inverse_loss, decoder_loss)]
        losses.append(state_loss(model, fake(3, 3, 7), batch))
        expect_cuda(*losses)
        assert len(losses) == 6
        assert all(loss.requires_grad for loss in losses[:5])


@pytest.mark.parametrize("positions", ["tiled", "sincos"])
def test_the_forward_pass_of_pretraining(positions: str) -> None:
    config = dataclasses.replace(CONFIG.encoder, num_frames=4, positions=positions)
    sizes = MaskedPredictorConfig(embed_dim=24, depth=2, num_heads=2)
    encoder = on_cuda(lambda: VideoEncoder(config))
    predictor = on_cuda(lambda: MaskedPredictor(sizes, 16))
    with MODE:
        context_tokens, hidden = fake(3, 12, dtype=torch.int64), fake(3, 8, dtype=torch.int64)
        video = fake(3, 4, 3, 32, 32)
        features = encoder(video, context_tokens)
        predicted = predictor(features, context_tokens, hidden, (2, 4, 4), 0)
        target = gather_tokens(encoder(video), hidden)
        expect_cuda((predicted - target).abs().mean(), distance_to_hidden(context_tokens, hidden, (2, 4, 4)))
        rows = features.flatten(0, 1)
        directions = random_directions(16, 5, torch.Generator())
        expect_cuda(variance_hinge(rows), covariance_penalty(rows), sigreg(rows, directions))


@pytest.mark.parametrize("kind", ["attentive", "linear"])
def test_probes(kind: str) -> None:
    config = ProbeConfig(kind=kind, embed_dim=16, num_heads=2, depth=2)
    made = on_cuda(lambda: build_probe(config))
    with MODE:
        expect_cuda(made(fake(3, 5, 16)))


@pytest.mark.parametrize(
    "name",
    [
        "predictor.embodiments.default.state_mean",
        "predictor.extrinsics_encoder.weight",
        "predictor.predictor_blocks.1.mlp.fc1.bias",
        "predictor.predictor_norm.bias",
        "encoder.blocks.0.attn.qkv.weight",
    ],
)
def test_a_weight_on_another_device_is_an_error(name: str) -> None:
    with pytest.raises(RuntimeError, match="at least two devices|two different devices"):
        check_rollout("cameras", batched=True, on_cpu=name)

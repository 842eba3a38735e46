"""Saved checkpoints load bit by bit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.pretrained.models import (
    ENCODER,
    WORLD_MODEL,
    random_world_model,
    tiny_encoder,
    tiny_world_model,
)
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import DecoderConfig, EmbodimentConfig, InverseConfig, LatentsConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.pretrained import load_encoder, load_world_model, read_checkpoint, save_pretrained
from vjepa_world.pretrained.native import find_checkpoint, write_native


def assert_same_weights(left: nn.Module, right: nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_a_loaded_encoder_is_equal_and_frozen(tmp_path: Path) -> None:
    saved = tiny_encoder()
    save_pretrained(saved, tmp_path / "a", provenance={"seed": 3})
    loaded = load_encoder(tmp_path / "a")
    assert_same_weights(saved, loaded)
    assert loaded.config == ENCODER
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert read_checkpoint(tmp_path / "a").details["provenance"] == {"seed": 3}


@pytest.mark.parametrize("kind", ["vjepa", "pixels"])
def test_a_loaded_world_model_has_its_bounds_and_statistics(tmp_path: Path, kind: str) -> None:
    saved = tiny_world_model(kind)
    save_pretrained(saved, tmp_path / "a")
    loaded = load_world_model(str(tmp_path / "a"))
    assert_same_weights(saved, loaded)
    assert loaded.config == saved.config
    assert torch.equal(loaded.action_low, saved.action_low)
    assert torch.equal(loaded.predictor.robot().action_std, saved.predictor.robot().action_std)
    assert not any(p.requires_grad for p in loaded.parameters())


def test_the_encoder_of_a_world_model_can_be_loaded_alone(tmp_path: Path) -> None:
    saved = tiny_world_model()
    save_pretrained(saved, tmp_path / "a")
    assert_same_weights(saved.encoder, load_encoder(tmp_path / "a"))
    save_pretrained(tiny_world_model("pixels"), tmp_path / "b")
    with pytest.raises(CheckpointError, match="has a 'pixels' encoder, which holds no weights to load"):
        load_encoder(tmp_path / "b")


def test_half_precision_applies_to_matrices_only_and_rounds_once(tmp_path: Path) -> None:
    saved = tiny_world_model()
    save_pretrained(saved, tmp_path / "half", dtype=torch.float16)
    save_pretrained(saved, tmp_path / "full")
    stored = load_file(tmp_path / "half" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim > 1} == {torch.float16}
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim <= 1} == {torch.float32}
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.7 * sizes[1]
    loaded, original = load_world_model(tmp_path / "half").state_dict(), saved.state_dict()
    for name, tensor in original.items():
        expected = tensor.half().float() if tensor.ndim > 1 else tensor
        assert torch.equal(loaded[name], expected), name


def test_a_checkpoint_is_replaced_completely(tmp_path: Path) -> None:
    save_pretrained(tiny_encoder(seed=5), tmp_path / "a")
    saved = tiny_world_model(seed=6)
    save_pretrained(saved, tmp_path / "a")
    assert_same_weights(load_world_model(tmp_path / "a"), saved)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["config.json", "model.safetensors"]


def test_a_run_folder_leads_to_its_newest_checkpoint(tmp_path: Path) -> None:
    for step in (200, 1000, 400):
        save_pretrained(tiny_encoder(seed=step), tmp_path / "run" / "checkpoints" / f"step_{step:08d}")
    assert find_checkpoint(tmp_path / "run").name == "step_00001000"
    assert_same_weights(load_encoder(tmp_path / "run"), tiny_encoder(seed=1000))


def test_the_description_has_kind_and_configuration(tmp_path: Path) -> None:
    save_pretrained(tiny_world_model(), tmp_path / "a")
    description = json.loads((tmp_path / "a" / "config.json").read_text())
    assert description["kind"] == "world_model"
    assert description["format_version"] == 2
    assert description["config"]["embodiments"] == [
        {
            "name": "default",
            "action_dim": 3,
            "state_dim": 5,
            "numbers": "",
            "actions": "",
            **dict.fromkeys(
                ("state_names", "state_units", "action_names", "action_units", "action_step"), []
            ),
        }
    ]
    assert description["config"]["encoder"]["patch_size"] == 8


NO_HEADS = {"inverse": InverseConfig(horizon=0), "decoder": DecoderConfig(image_size=0)}
ROBOTS = (EmbodimentConfig(name="arm"), EmbodimentConfig(name="cart-2", action_dim=2, state_dim=5))


@pytest.mark.parametrize("condition", ["tokens", "adaln"])
@pytest.mark.parametrize("kind", ["none", "pool", "queries"])
@pytest.mark.parametrize("heads", [{}, NO_HEADS], ids=["heads", "no_heads"])
@pytest.mark.parametrize("more", [False, True], ids=["plain", "more"])
def test_every_combination_survives_a_round_trip(
    tmp_path: Path, condition: str, kind: str, heads: dict[str, Any], more: bool
) -> None:
    words: dict[str, Any] = {
        "condition": condition,
        "predict_state": more,
        "extrinsics_dim": 6 * more,
        "use_extrinsics": more,
    }
    config = dataclasses.replace(
        WORLD_MODEL,
        predictor=dataclasses.replace(WORLD_MODEL.predictor, **words),
        latents=LatentsConfig(kind=kind, side=2, embed_dim=24, num_heads=2),  # type: ignore[arg-type]
        views=1 + more,
        embodiments=ROBOTS if more else WORLD_MODEL.embodiments,
        **heads,
    )
    saved = random_world_model(config)
    save_pretrained(saved, tmp_path / "a")
    loaded = load_world_model(tmp_path / "a", embodiment="cart-2" if more else None)
    assert loaded.config == (config.with_default("cart-2") if more else config)
    assert_same_weights(saved, loaded)
    if more:
        assert (loaded.embodiment, len(loaded.action_low)) == ("cart-2", 2)
    robot = loaded.predictor.robot().config
    seen = loaded.encode_frames(torch.zeros(2, 3, 32, 32 * config.views, dtype=torch.uint8))
    given = seen, torch.zeros(2, 1, robot.action_dim), torch.zeros(2, 1, robot.state_dim)
    loaded.predictor(*given, torch.zeros(2, 1, 6) if more else None)
    write_native(read_checkpoint(tmp_path / "a"), tmp_path / "b")
    assert_same_weights(load_world_model(tmp_path / "b"), saved)


def test_an_unknown_embodiment_is_refused(tmp_path: Path) -> None:
    save_pretrained(tiny_world_model(), tmp_path / "a")
    with pytest.raises(ConfigError, match="embodiment 'arm' is not known; allowed: default"):
        load_world_model(tmp_path / "a", embodiment="arm")


def test_an_encoder_of_the_first_version_still_loads(tmp_path: Path) -> None:
    """Its layout did not change when that of world models did."""
    encoder = untrained_encoder(dataclasses.replace(ENCODER, positions="interleaved"), 0)
    save_pretrained(encoder, tmp_path / "a")
    path = tmp_path / "a" / "config.json"
    description = json.loads(path.read_text())
    assert description["kind"] == "encoder"
    path.write_text(json.dumps(description | {"format_version": 1}))
    assert_same_weights(load_encoder(tmp_path / "a"), encoder)

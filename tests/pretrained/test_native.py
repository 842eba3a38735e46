"""What is saved comes back bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from tests.pretrained.models import ENCODER, tiny_encoder, tiny_world_model
from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained import load_encoder, load_world_model, read_checkpoint, save_pretrained
from vjepa_world.pretrained.native import find_checkpoint


def assert_same_weights(left: nn.Module, right: nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_an_encoder_comes_back_frozen(tmp_path: Path) -> None:
    saved = tiny_encoder()
    save_pretrained(saved, tmp_path / "a", provenance={"seed": 3})
    loaded = load_encoder(tmp_path / "a")
    assert_same_weights(saved, loaded)
    assert loaded.config == ENCODER
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert read_checkpoint(tmp_path / "a").details["provenance"] == {"seed": 3}


@pytest.mark.parametrize("kind", ["vjepa", "pixels"])
def test_a_world_model_comes_back_with_its_bounds_and_statistics(tmp_path: Path, kind: str) -> None:
    saved = tiny_world_model(kind)
    save_pretrained(saved, tmp_path / "a")
    loaded = load_world_model(str(tmp_path / "a"))
    assert_same_weights(saved, loaded)
    assert loaded.config == saved.config
    assert torch.equal(loaded.action_low, saved.action_low)
    assert loaded.predictor.action_std.any()
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_world_models_encoder_loads_alone(tmp_path: Path) -> None:
    saved = tiny_world_model()
    save_pretrained(saved, tmp_path / "a")
    assert_same_weights(saved.encoder, load_encoder(tmp_path / "a"))
    save_pretrained(tiny_world_model("pixels"), tmp_path / "b")
    with pytest.raises(CheckpointError, match="has a 'pixels' encoder, which holds no weights to load"):
        load_encoder(tmp_path / "b")


def test_half_precision_is_of_matrices_alone_and_rounds_once(tmp_path: Path) -> None:
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


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
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


def test_the_description_says_what_it_is(tmp_path: Path) -> None:
    save_pretrained(tiny_world_model(), tmp_path / "a")
    description = json.loads((tmp_path / "a" / "config.json").read_text())
    assert description["kind"] == "world_model"
    assert description["format_version"] == 1
    assert description["config"]["action_dim"] == 3
    assert description["config"]["encoder"]["patch_size"] == 8

"""Untrusted checkpoints load correctly or are refused with a message, quickly and in little memory."""

from __future__ import annotations

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import vjepa_world
from tests.hostile import mutations
from tests.memory import memory_of_at_most
from tests.models.encoders.backbones import save_backbone
from tests.pretrained.models import tiny_encoder, tiny_world_model
from tests.pretrained.test_probes import saved as saved_probe
from vjepa_world.errors import CheckpointError, ConfigError, VJEPAWorldError
from vjepa_world.models.config import EncoderConfig, LatentsConfig
from vjepa_world.models.encoders.registered import RegisteredEncoder
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained import load_encoder, load_world_model, read_checkpoint, save_pretrained
from vjepa_world.pretrained.folder import write_folder
from vjepa_world.pretrained.probes import load_probe, probe_files


def edited(folder: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    file = folder / "config.json"
    description = json.loads(file.read_text())
    edit(description)
    file.write_text(json.dumps(description))
    return folder


def refusals(file: Path, load: Callable[[], object]) -> dict[str, str]:
    """Replace each value of a JSON file by each hostile one; return what was refused, and why."""
    found: dict[str, str] = {}
    for what, description in mutations(json.loads(file.read_text())):
        file.write_text(json.dumps(description))
        try:
            load()
        except CheckpointError as error:
            found[what] = str(error)
    return found


@pytest.mark.parametrize(
    ("part", "word", "value", "message"),
    [
        ("encoder", "depth", 10**7, "depth is 10000000; it must be at most 1024"),
        ("predictor", "depth", 1000, "does not fit its architecture: its predictor has 1000 blocks and "),
        ("encoder", "embed_dim", 10**9, "embed_dim is 1000000000; it must be at most 1048576"),
        ("encoder", "depth", 2.5, "depth is 2.5; it must be a whole number"),
        ("encoder", "depth", True, "depth is True; it must be a whole number"),
        ("encoder", "mlp_ratio", float("nan"), "mlp_ratio is nan; it must be a finite number"),
        ("encoder", "norm_eps", float("nan"), "norm_eps is nan; it must be a finite number"),
        ("encoder", "mlp_ratio", 1e-9, "mlp_ratio 1e-09 of embed_dim 192 leaves MLPs without a width"),
        ("decoder", "image_size", 10**9, "image_size is 1000000000; it must be at most"),
        ("inverse", "horizon", 4000, "does not fit its architecture"),
        ("latents", "side", "4", "side is '4'; it must be a whole number"),
        ("predictor", "residual", 1, "residual is 1; it must be true or false"),
        ("predictor", "condition", ["tokens"], "condition is .*; it must be a word"),
    ],
)
def test_sizes_are_compared_with_the_tensors_before_anything_is_allocated(
    tmp_path: Path, part: str, word: str, value: Any, message: str
) -> None:
    folder = tmp_path / "a"
    shutil.copytree(vjepa_world.shipped_checkpoint(), folder, copy_function=shutil.copyfile)
    edited(folder, lambda d: d["config"][part].update({word: value}))
    with memory_of_at_most(2**30), pytest.raises(CheckpointError, match=message) as caught:
        load_world_model(folder)
    assert str(folder) in str(caught.value)


def test_every_wrong_value_of_a_description_is_refused(tmp_path: Path) -> None:
    save_pretrained(tiny_world_model(), tmp_path / "a")
    file = tmp_path / "a" / "config.json"
    errors = refusals(file, lambda: load_world_model(tmp_path / "a"))
    assert len(errors) > 500
    assert [what for what, error in errors.items() if str(tmp_path) not in error] == []


def test_every_wrong_value_of_a_transformers_description_is_refused(tmp_path: Path) -> None:
    save_pretrained(tiny_encoder(), tmp_path / "a")
    file = tmp_path / "a" / "config.json"
    whole = json.loads(file.read_text())
    assert whole["model_type"] == "vjepa2"
    errors = refusals(file, lambda: load_encoder(tmp_path / "a"))
    assert len(errors) > 100
    assert [what for what, error in errors.items() if str(tmp_path) not in error] == []


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("config", "mlp_ratio", 10**5, "does not fit its architecture|GB of memory"),
        ("config", "num_hidden_layers", 10**9, "num_hidden_layers is 1000000000; at most 1024"),
        ("config", "model_type", "bert", "model 'bert' reads input_ids|cannot read the stored configuration"),
        ("config", "model_type", "../x", "cannot read the stored configuration"),
        ("config", "hidden_size", "wide", "cannot read the stored configuration"),
        ("preprocessing", "size", 10**9, "size of an encoder's preprocessing is 1000000000"),
        ("preprocessing", "std", [0, 0, 0], "give numbers above 0"),
        ("preprocessing", "unknown", 1, "cannot read the stored configuration .*unexpected keyword argument"),
        ("config", None, 1, "cannot read the stored configuration 1"),
        ("other", None, 1, "cannot be made with the options .*'other'"),
    ],
)
def test_a_wrong_description_of_a_foreign_encoder_is_refused(
    part: str, key: str | None, value: object, message: str, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    encoder = load_encoder(save_backbone("dinov2", tmp_path / "backbone"))
    assert isinstance(encoder, RegisteredEncoder)
    config = dataclasses.replace(
        tiny_world_model().config,
        encoder=encoder.config,
        encoder_kind="registered",
        encoder_name=encoder.name,
        encoder_options=encoder.options,
        latents=LatentsConfig(kind="none"),
    )
    save_pretrained(LatentWorldModel(config), tmp_path / "a")
    load_world_model(tmp_path / "a")

    def edit(description: dict[str, Any]) -> None:
        options = description["config"]["encoder_options"]
        if key is None:
            options[part] = value
        else:
            options[part][key] = value

    with pytest.raises((CheckpointError, ConfigError), match=message):
        load_world_model(edited(tmp_path / "a", edit))


def test_every_wrong_value_of_a_probes_description_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", probe_files(saved_probe(), {}))
    errors = refusals(tmp_path / "a" / "config.json", lambda: load_probe(tmp_path / "a"))
    assert len(errors) > 100


def test_a_probe_is_compared_before_it_is_allocated(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", probe_files(saved_probe(), {}))
    edited(tmp_path / "a", lambda d: d["config"]["probe"].update(embed_dim=2**19, num_heads=2**10))
    with memory_of_at_most(2**30), pytest.raises(CheckpointError, match="does not fit its architecture"):
        load_probe(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "value"),
    [("action_std", 0.0), ("action_low", float("nan")), ("state_mean", float("inf"))],
)
def test_statistics_that_make_nan_of_every_action_are_refused(
    tmp_path: Path, name: str, value: float
) -> None:
    save_pretrained(tiny_world_model(), tmp_path / "a")
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    tensors[f"predictor.embodiments.default.{name}"][0] = value
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    with pytest.raises(
        CheckpointError, match=rf"predictor.embodiments.default.{name} is \[.*expected finite"
    ):
        load_world_model(tmp_path / "a")


def test_weights_that_are_not_floating_point_are_refused(tmp_path: Path) -> None:
    save_pretrained(tiny_world_model(), tmp_path / "a")
    tensors = load_file(tmp_path / "a" / "model.safetensors")
    tensors["encoder.norm.weight"] = torch.ones(16, dtype=torch.int64)
    save_file(tensors, tmp_path / "a" / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"encoder.norm.weight: file torch.int64, model torch.float32"):
        load_world_model(tmp_path / "a")


PATCHES = "patch_embed.proj.weight"


def meta_file(path: Path, **encoder: Any) -> Path:
    torch.save({"encoder": {PATCHES: torch.zeros(192, 3, 2, 16, 16), **encoder}}, path)
    return path


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({PATCHES: torch.zeros(1).expand(4096, 3, 2, 16, 16)}, "needs 25165824 bytes and has 4"),
        ({PATCHES: torch.zeros(64, 3).to_sparse()}, "has none"),
        ({"blocks.999999999.a": torch.zeros(1)}, "there are only 2 tensors"),
        ({PATCHES: torch.zeros(0, 3, 2, 16, 16)}, r"is \[0, 3, 2, 16, 16\]; expected none of them empty"),
        ({"blocks.0.mlp.fc1.weight": torch.zeros(())}, r"fc1.weight is \[\]; expected 2 axes"),
    ],
)
def test_tensors_larger_than_their_storage_are_refused(
    tmp_path: Path, tensors: dict[str, torch.Tensor], message: str
) -> None:
    path = meta_file(tmp_path / "a.pt", **tensors)
    with memory_of_at_most(2**30), pytest.raises(CheckpointError, match=message):
        read_checkpoint(path)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    meta_file(tmp_path / "a.pt")
    with (
        zipfile.ZipFile(tmp_path / "a.pt") as whole,
        zipfile.ZipFile(tmp_path / "b.pt", "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for info in whole.infolist():
            bomb.writestr(info.filename, whole.read(info) + bytes(2**24))
    with pytest.raises(CheckpointError, match="unpacks to more than its [0-9]+ bytes"):
        read_checkpoint(tmp_path / "b.pt")


def test_circular_lists_are_searched_once(tmp_path: Path) -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]
    torch.save({"encoder": {"a": torch.zeros(1)}, "more": nested}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="the encoder lacks patch_embed"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    "own", [{"image_size": "x"}, {"depth": 10**9}, {"num_heads": True}, {"levels": 5}, {"mlp_ratio": [4.0]}]
)
def test_metadata_of_a_meta_file_is_checked(tmp_path: Path, own: dict[str, Any]) -> None:
    content = {PATCHES: torch.zeros(192, 3, 2, 16, 16), "blocks.0.mlp.fc1.weight": torch.zeros(768, 192)}
    torch.save({"encoder": content, "vjepa_world": {"encoder": own}}, tmp_path / "a.pt")
    with pytest.raises(ConfigError, match=rf"a\.pt: {next(iter(own))} is"):
        read_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("words", [{"num_heads": float("nan")}, {"embed_dim": -4}, {"positions": 3}])
def test_an_invalid_encoder_config_is_refused(words: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(words))} is"):
        EncoderConfig(**words)


@pytest.mark.parametrize("legacy", [False, True])
def test_damaged_files_of_torch_save_are_refused(tmp_path: Path, legacy: bool) -> None:
    path = tmp_path / "a.pt"
    state = {PATCHES: torch.zeros(16, 3, 2, 4, 4)}
    torch.save({"encoder": state}, path, _use_new_zipfile_serialization=not legacy)
    content = path.read_bytes()
    for at in range(40, min(len(content), 1200), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        with memory_of_at_most(2**31):
            try:
                read_checkpoint(path)
            except VJEPAWorldError:
                continue

"""Bit-exact, strict reading and writing of transformers folders, with an error for every problem."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModel

from tests.models.transformers_models import (
    ENCODER,
    IJEPA,
    PREDICTOR,
    PROBE,
    our_checkpoint,
    save,
    transformers_model,
)
from vjepa_world.errors import CheckpointError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    EncoderConfig,
    LatentsConfig,
    MaskedPredictorConfig,
    ProbeConfig,
    WorldModelConfig,
)
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.pretrained import read_checkpoint, save_pretrained
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.huggingface.reader import is_huggingface, read_huggingface, write_huggingface

CLASSIFIER = "VJEPA2ForVideoClassification"


def assert_same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [
        name
        for name in ours
        if ours[name].dtype != theirs[name].dtype or not torch.equal(ours[name], theirs[name])
    ] == []


def assert_same_checkpoint(one: Checkpoint, other: Checkpoint) -> None:
    parts = ("encoder", "masked_predictor", "probe", "world_model", "details")
    assert [part for part in parts if getattr(one, part) != getattr(other, part)] == []
    assert one.tensors.keys() == other.tensors.keys()
    for part in one.tensors:
        assert_same(one.tensors[part], other.tensors[part])


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "model.safetensors")


def edit_config(folder: Path, **words: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | words))
    return folder


def edit_weights(folder: Path, edit: Callable[[dict[str, Tensor]], Any]) -> Path:
    tensors = {name: tensor.clone() for name, tensor in weights(folder).items()}
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    """A folder that we wrote, with encoder and predictor."""
    write_huggingface(our_checkpoint(predictor=PREDICTOR), tmp_path / "ours")
    return tmp_path / "ours"


# --- round trips -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["VJEPA2Model", CLASSIFIER, "IJepaModel"])
def test_a_transformers_model_survives_a_round_trip_bit_by_bit(kind: str, tmp_path: Path) -> None:
    names = {0: "pour", 1: "cut", **{number: f"class {number}" for number in range(2, 11)}}
    labels: dict[str, Any] = {"id2label": names} if kind == CLASSIFIER else {}
    theirs = save(transformers_model(kind, **labels), tmp_path / "theirs")
    checkpoint = read_huggingface(theirs)
    assert checkpoint.format == "huggingface"
    assert checkpoint.name == f"transformers {kind}"
    assert checkpoint.source == theirs
    assert checkpoint.ignored == ()
    write_huggingface(checkpoint, tmp_path / "again")
    assert_same(weights(theirs), weights(tmp_path / "again"))
    described, again = (
        json.loads((folder / "config.json").read_text()) for folder in (theirs, tmp_path / "again")
    )
    again.pop("label2id", None)  # theirs has it only where it was given
    assert {word: described.get(word) for word in again} == again
    assert_same_checkpoint(
        checkpoint, dataclasses.replace(read_huggingface(tmp_path / "again"), source=theirs)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"predictor": PREDICTOR},
        {"probe": PROBE, "labels": ["a", "b", "c", "d", "e"]},
        {"probe": PROBE, "predictor": PREDICTOR},
        {"encoder": IJEPA},
        {"encoder": dataclasses.replace(ENCODER, mlp_ratio=4.359375)},
    ],
)
def test_our_model_survives_a_round_trip_bit_by_bit(
    parts: dict[str, Any], dtype: torch.dtype, tmp_path: Path
) -> None:
    checkpoint = our_checkpoint(**parts)
    cast = {
        part: {name: tensor.to(dtype) for name, tensor in tensors.items()}
        for part, tensors in checkpoint.tensors.items()
    }
    checkpoint = dataclasses.replace(checkpoint, tensors=cast)
    write_huggingface(checkpoint, tmp_path / "a")
    assert_same_checkpoint(checkpoint, read_huggingface(tmp_path / "a"))
    described = json.loads((tmp_path / "a" / "config.json").read_text())
    assert described["dtype"] == str(dtype).removeprefix("torch.")


def test_several_files_and_pickles_are_the_same_model(tmp_path: Path) -> None:
    model = transformers_model(CLASSIFIER, num_labels=3)
    one = read_huggingface(save(model, tmp_path / "one"))
    shards = save(model, tmp_path / "shards", max_shard_size="100KB")
    assert len(list(shards.glob("*.safetensors"))) > 3
    pickled = save(model, tmp_path / "pickled")
    state = weights(pickled)
    torch.save(state, pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    old = save(model, tmp_path / "old")
    torch.save(state, old / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    (old / "model.safetensors").unlink()
    for folder in (shards, pickled, old):
        assert_same_checkpoint(one, dataclasses.replace(read_huggingface(folder), source=one.source))


def test_a_state_dict_of_image_models_in_memory_is_read(tmp_path: Path) -> None:
    """transformers 5 renames I-JEPA's modules on loading, and back on saving."""
    model = transformers_model("IJepaModel")
    folder = save(model, tmp_path / "a")
    expected = read_huggingface(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    assert_same_checkpoint(expected, read_huggingface(folder))


def test_further_tensors_of_an_image_model_are_ignored_by_name(tmp_path: Path) -> None:
    import transformers

    plain = transformers_model("IJepaModel")
    decorated = transformers.IJepaModel(plain.config, add_pooling_layer=True, use_mask_token=True)
    decorated.load_state_dict(plain.state_dict(), strict=False)
    checkpoint = read_huggingface(save(decorated, tmp_path / "a"))
    assert checkpoint.ignored == ("embeddings.mask_token", "pooler.dense.bias", "pooler.dense.weight")
    assert_same_checkpoint(checkpoint, read_huggingface(save(plain, tmp_path / "b")))
    classifier = read_huggingface(save(transformers_model("IJepaForImageClassification"), tmp_path / "c"))
    assert classifier.name == "transformers IJepaForImageClassification"
    assert classifier.ignored == ("classifier.bias", "classifier.weight")
    assert classifier.encoder == IJEPA


def test_the_architecture_and_the_labels_are_read(tmp_path: Path) -> None:
    theirs = transformers_model(CLASSIFIER, id2label={0: "a", 1: "b", 2: "c", 3: "d", 4: "e"})
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    assert (checkpoint.encoder, checkpoint.masked_predictor, checkpoint.probe) == (ENCODER, PREDICTOR, PROBE)
    assert checkpoint.details == {"labels": ["a", "b", "c", "d", "e"]}
    unnamed = read_huggingface(save(transformers_model(CLASSIFIER, num_labels=4), tmp_path / "b"))
    assert unnamed.details == {}  # LABEL_0 and so on were made up by transformers


def test_a_rounded_down_hidden_width_is_read(tmp_path: Path) -> None:
    """transformers takes the integer part of width * ratio, 255 of 64 * 3.995; we round, which would give 256."""
    theirs = transformers_model("VJEPA2Model", mlp_ratio=3.995)
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    assert checkpoint.tensors["encoder"]["blocks.0.mlp.fc1.weight"].shape == (255, 64)
    write_huggingface(checkpoint, tmp_path / "b")
    assert_same(weights(tmp_path / "a"), weights(tmp_path / "b"))
    odd = dataclasses.replace(ENCODER, mlp_ratio=3.995)  # 256 here
    write_huggingface(our_checkpoint(odd), tmp_path / "c")
    assert open_in_transformers(tmp_path / "c")[1]["mismatched_keys"] == set()


def test_a_predictor_with_another_eps_is_left_out_and_reported(tmp_path: Path) -> None:
    theirs = transformers_model("VJEPA2Model", layer_norm_eps=1e-5)
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    assert checkpoint.name == (
        "transformers VJEPA2Model, without its predictor (LayerNorm eps 1e-05; only 1e-06 is known)"
    )
    assert checkpoint.masked_predictor is None
    assert "predictor.proj.weight" in checkpoint.ignored
    assert checkpoint.encoder == dataclasses.replace(ENCODER, norm_eps=1e-5)


# --- transformers opens what we write ----------------------------------------------------------------------------


def open_in_transformers(folder: Path, kind: str = "AutoModel") -> tuple[Any, dict[str, Any]]:
    import transformers

    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    return model, info


def test_transformers_finds_every_tensor(ours: Path, tmp_path: Path) -> None:
    write_huggingface(our_checkpoint(predictor=PREDICTOR, probe=PROBE), tmp_path / "classifier")
    write_huggingface(our_checkpoint(IJEPA), tmp_path / "image")
    for folder, kind, expected in (
        (ours, "AutoModel", "VJEPA2Model"),
        (tmp_path / "classifier", "AutoModelForVideoClassification", CLASSIFIER),
        (tmp_path / "image", "AutoModel", "IJepaModel"),
    ):
        model, info = open_in_transformers(folder, kind)
        assert type(model).__name__ == expected
        assert not any(info.values()), info


def test_a_saved_encoder_opens_in_transformers_and_gives_the_same_features(tmp_path: Path) -> None:
    encoder = untrained_encoder(
        EncoderConfig(image_size=32, patch_size=8, num_frames=4, embed_dim=24, depth=2, num_heads=2), seed=0
    )
    save_pretrained(encoder, tmp_path / "a", provenance={"seed": 3})
    video = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    theirs = AutoModel.from_pretrained(tmp_path / "a").eval()
    with torch.no_grad():
        found = theirs(video, skip_predictor=True).last_hidden_state
        torch.testing.assert_close(found, encoder(video), atol=2e-5, rtol=0)
    assert read_checkpoint(tmp_path / "a").details == {"provenance": {"seed": 3}}


def test_without_a_predictor_transformers_reports_a_newly_initialised_one(tmp_path: Path) -> None:
    """A model that it then saves is read without that predictor."""
    checkpoint = our_checkpoint()
    write_huggingface(checkpoint, tmp_path / "a")
    model, info = open_in_transformers(tmp_path / "a")
    assert sorted(info["missing_keys"]) == sorted(name for name in model.state_dict() if "predictor." in name)
    assert sum(p.numel() for p in model.predictor.parameters()) < 300
    model(torch.zeros(1, 4, 3, 24, 24))  # the complete model with its predictor
    again = read_huggingface(save(model, tmp_path / "b"))
    assert again.masked_predictor is None
    assert len(again.ignored) == len(info["missing_keys"])
    assert_same(again.tensors["encoder"], checkpoint.tensors["encoder"])


def test_transformers_has_the_labels(tmp_path: Path) -> None:
    labels = ["lift", "push", "pull", "turn", "drop"]
    write_huggingface(our_checkpoint(probe=PROBE, labels=labels), tmp_path / "a")
    model, _ = open_in_transformers(tmp_path / "a", "AutoModelForVideoClassification")
    assert model.config.id2label == dict(enumerate(labels))
    assert model.config.label2id["drop"] == 4


def test_the_image_processor_normalises_as_we_do(tmp_path: Path) -> None:
    import transformers

    write_huggingface(our_checkpoint(IJEPA), tmp_path / "a")
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(tmp_path / "a")
    except ImportError:
        pytest.skip("this release of transformers builds its image processors on torchvision")
    image = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    seen = processor(image.permute(1, 2, 0).numpy(), return_tensors="pt").pixel_values[0]
    assert torch.allclose(seen, normalize_video(image), atol=1e-6)


def test_the_video_processor_is_described(ours: Path) -> None:
    described = json.loads((ours / "video_preprocessor_config.json").read_text())
    assert described["video_processor_type"] == "VJEPA2VideoProcessor"
    assert described["crop_size"] == {"height": 24, "width": 24}
    assert described["size"] == {"shortest_edge": 27}
    scaled = (torch.tensor([0.0, 128.0, 255.0]) * described["rescale_factor"]).expand(3, -1)
    mean, std = (torch.tensor(described[word]).unsqueeze(1) for word in ("image_mean", "image_std"))
    pixels = torch.tensor([0, 128, 255], dtype=torch.uint8).expand(3, 1, -1)
    assert torch.allclose((scaled - mean) / std, normalize_video(pixels).squeeze(1), atol=1e-6)


def test_the_video_processor_normalises_as_we_do(ours: Path) -> None:
    pytest.importorskip("torchvision", reason="transformers' video processors are built on torchvision")
    import transformers

    processor = transformers.AutoVideoProcessor.from_pretrained(ours)
    video = torch.randint(
        0, 256, (4, 3, 27, 27), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    seen = processor(video, return_tensors="pt").pixel_values_videos[0]
    assert torch.allclose(seen, normalize_video(video[..., 1:25, 1:25]), atol=1e-5)


# --- what transformers cannot hold -------------------------------------------------------------------------------

V21: dict[str, Any] = {"positions": "interleaved", "rope_span": 16, "image_embed": True, "levels": (0, 1)}


@pytest.mark.parametrize(
    ("encoder", "others", "message"),
    [
        ({"positions": "interleaved"}, {}, "no rotary positions of the interleaved convention"),
        ({"rope_span": 16}, {}, r"does not stretch positions \(rope_span 16\)"),
        ({"image_embed": True}, {}, "no second patch embedding for images"),
        ({"levels": (0, 1)}, {}, r"not one for each of the levels \(0, 1\)"),
        ({"positions": "sincos"}, {}, r"single images alone \(I-JEPA\), not for video \(V-JEPA 1\)"),
        ({}, {"masked_predictor": {"positions": "interleaved"}}, "predictor has no interleaved positions"),
        ({}, {"masked_predictor": {"input_levels": 4}}, "one level of features"),
        ({}, {"masked_predictor": {"output_dim": 7}}, "one level of features"),
        ({}, {"masked_predictor": {"context_output": True}}, "does not predict the context"),
        ({}, {"masked_predictor": {"image_embed": True}}, "no modality embeddings"),
        ({"norm_eps": 1e-5}, {"masked_predictor": {}}, "encoder's is 1e-05, the predictor's 1e-06"),
        ({}, {"probe": {"norm_eps": 1e-5}}, "encoder's is 1e-06, the probe's 1e-05"),
        ({}, {"probe": {"kind": "linear"}}, "an attentive probe, not a linear one"),
        ({}, {"probe": {"num_heads": 4}}, "the encoder's heads, 2, not 4"),
        ({}, {"probe": {"embed_dim": 32}}, "the encoder's width, 64, not 32"),
        ({}, {"probe": {"mlp_ratio": 2.0}}, "MLPs of ratio 4.0, not 2.0"),
    ],
)
def test_features_that_transformers_lacks_are_refused(
    encoder: dict[str, Any], others: dict[str, dict[str, Any]], message: str, tmp_path: Path
) -> None:
    bases: dict[str, MaskedPredictorConfig | ProbeConfig] = {"masked_predictor": PREDICTOR, "probe": PROBE}
    parts = {part: dataclasses.replace(bases[part], **changes) for part, changes in others.items()}
    checkpoint = dataclasses.replace(
        our_checkpoint(),
        encoder=dataclasses.replace(ENCODER, **encoder),
        **parts,  # type: ignore[arg-type]
    )
    with pytest.raises(CheckpointError, match=message) as caught:
        write_huggingface(checkpoint, tmp_path / "a")
    assert "transformers cannot hold SOURCE (test)" in str(caught.value)
    assert "convert --to native" in str(caught.value)
    assert not (tmp_path / "a").exists()


def test_all_obstacles_are_named_at_once(tmp_path: Path) -> None:
    checkpoint = dataclasses.replace(our_checkpoint(), encoder=dataclasses.replace(ENCODER, **V21))
    with pytest.raises(CheckpointError, match="interleaved.*rope_span.*image_embed.*levels"):
        write_huggingface(checkpoint, tmp_path / "a")


def test_a_world_model_and_a_probe_without_encoder_are_refused(tmp_path: Path) -> None:
    world = WorldModelConfig(
        encoder=ENCODER,
        predictor=ActionPredictorConfig(embed_dim=32, num_heads=2),
        latents=LatentsConfig(kind="none"),
    )
    with pytest.raises(
        CheckpointError, match="no action-conditioned predictor; the encoder alone can be written"
    ):
        write_huggingface(dataclasses.replace(our_checkpoint(), world_model=world), tmp_path / "a")
    lonely = dataclasses.replace(our_checkpoint(probe=PROBE), encoder=None)
    with pytest.raises(CheckpointError, match="it has no encoder, and a transformers model begins with one"):
        write_huggingface(lonely, tmp_path / "a")


def test_labels_that_are_not_one_for_each_output_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="5 outputs, and the checkpoint names 2"):
        write_huggingface(our_checkpoint(probe=PROBE, labels=["a", "b"]), tmp_path / "a")


def test_tensors_that_are_not_those_described_are_not_written(tmp_path: Path) -> None:
    checkpoint = dataclasses.replace(our_checkpoint(), encoder=dataclasses.replace(ENCODER, depth=3))
    with pytest.raises(
        CheckpointError, match=r"in 12 tensors of its encoder: missing blocks\.2\.norm1\.weight \[64\]"
    ):
        write_huggingface(checkpoint, tmp_path / "a")


# --- what may be wrong with a folder -----------------------------------------------------------------------------


def test_a_folder_is_recognised_by_its_content(ours: Path, tmp_path: Path) -> None:
    assert is_huggingface(ours)
    assert not is_huggingface(tmp_path)
    assert not is_huggingface(ours / "config.json")
    for text in ('{"model_type": "bert"}', '{"model_type": ["vjepa2"]}', "[]", "{", '{"kind": "encoder"}'):
        (ours / "config.json").write_text(text)
        assert not is_huggingface(ours)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not readable JSON"),
        ('{"model_type": "vit"}', "model_type 'vit'; allowed: ijepa, vjepa2"),
        ("[]", "holds a list, expected a JSON object"),
    ],
)
def test_another_config_is_refused(text: str, message: str, ours: Path) -> None:
    (ours / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=message):
        read_huggingface(ours)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"hidden_act": "relu"}, "hidden_act 'relu', but only 'gelu' is supported"),
        ({"qkv_bias": False}, "qkv_bias False, but only True is supported"),
        ({"in_chans": 1}, "in_chans 1, but"),
        ({"patch_size": [8, 4]}, r"patch_size \[8, 4\]; expected a number"),
        ({"hidden_size": "64"}, "hidden_size '64'; expected a number"),
        ({"num_hidden_layers": 2.5}, "num_hidden_layers 2.5; expected a number"),
        ({"mlp_ratio": True}, "mlp_ratio True; expected a number"),
        ({"mlp_ratio": float("inf")}, "mlp_ratio inf; expected a number"),
        ({"hidden_size": 65}, "describes an architecture that is not valid: embed_dim 65"),
        ({"crop_size": 25}, "image_size 25 is not a multiple of patch_size 8"),
        ({"num_attention_heads": 0}, "num_heads is 0"),
    ],
)
def test_an_unsupported_transformers_config_is_refused(
    words: dict[str, Any], message: str, ours: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_huggingface(edit_config(ours, **words))


def test_sizes_given_as_pairs_are_read(ours: Path) -> None:
    assert read_huggingface(edit_config(ours, patch_size=[8, 8])).encoder == ENCODER


def test_missing_fields_have_the_defaults_of_transformers(tmp_path: Path) -> None:
    import transformers

    from vjepa_world.pretrained.huggingface.config import FIXED, MODEL_TYPES

    for config in (transformers.VJEPA2Config(), transformers.IJepaConfig()):
        defaults = config.to_dict()
        expected = MODEL_TYPES[config.model_type]
        assert {word: defaults[word] for word in expected} == expected
        assert {word: defaults[word] for word in FIXED if word in defaults}.items() <= FIXED.items()


def test_the_first_ten_differences_are_reported(ours: Path) -> None:
    def edit(tensors: dict[str, Tensor]) -> None:
        for layer in (0, 1):
            for part in ("query", "key", "value", "proj"):
                del tensors[f"encoder.layer.{layer}.attention.{part}.weight"]
        tensors["encoder.cls_token"] = torch.zeros(1, 1, 64)
        tensors["encoder.layernorm.bias"] = torch.zeros(63)
        tensors["predictor.embeddings.mask_tokens"] = torch.zeros(2, 1, 1, 48)

    with pytest.raises(CheckpointError) as caught:
        read_huggingface(edit_weights(ours, edit))
    message = str(caught.value)
    assert "does not fit its config.json in 11 tensors" in message
    assert "missing encoder.layer.0.attention.query.weight [64, 64]" in message
    assert "unexpected encoder.cls_token [1, 1, 64]" in message
    assert "encoder.layernorm.bias: file [63], architecture [64]" in message
    assert "mask_tokens" not in message  # the eleventh


def test_slices_that_do_not_concatenate_are_reported(ours: Path) -> None:
    name = "encoder.layer.1.attention.key.weight"
    with pytest.raises(CheckpointError, match=rf"{name}: file \[64, 32\], architecture \[64, 64\]"):
        read_huggingface(edit_weights(ours, lambda tensors: tensors.update({name: torch.zeros(64, 32)})))


def test_ignorable_names_must_match_completely(tmp_path: Path) -> None:
    write_huggingface(our_checkpoint(IJEPA), tmp_path / "a")
    extra = {"pooler.dense.weight": torch.zeros(1), "pooler.dense.weight2": torch.zeros(1)}
    with pytest.raises(CheckpointError, match=r"in 1 tensors: unexpected pooler\.dense\.weight2 \[1\]"):
        read_huggingface(edit_weights(tmp_path / "a", lambda tensors: tensors.update(extra)))


def test_a_classifier_that_lacks_tensors_or_labels_is_refused(tmp_path: Path) -> None:
    folder = save(transformers_model(CLASSIFIER, num_labels=3), tmp_path / "a")
    with pytest.raises(CheckpointError, match="names 2 labels, but the classifier has 3 outputs"):
        read_huggingface(edit_config(folder, id2label={"0": "a", "1": "b"}))
    with pytest.raises(CheckpointError, match="id2label that does not map numbers to names"):
        read_huggingface(edit_config(folder, id2label={"a": "b"}))
    edit_config(folder, id2label=None)
    with pytest.raises(CheckpointError, match=r"missing pooler\.query_tokens \[1, 1, 64\]"):
        read_huggingface(edit_weights(folder, lambda tensors: tensors.pop("pooler.query_tokens")))
    with pytest.raises(CheckpointError, match=r"missing classifier\.weight \[2, 64\]"):
        read_huggingface(edit_weights(folder, lambda tensors: tensors.pop("classifier.weight")))


def test_missing_or_broken_weights_are_reported(ours: Path, tmp_path: Path) -> None:
    whole = (ours / "model.safetensors").read_bytes()
    for broken in (whole[:5000], whole[:-7], b""):
        (ours / "model.safetensors").write_bytes(broken)
        with pytest.raises(
            CheckpointError, match=r"model\.safetensors cannot be read .* truncated or not a safe"
        ):
            read_huggingface(ours)
    (ours / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"holds no weights; expected one of model\.safetensors, "):
        read_huggingface(ours)
    (ours / "pytorch_model.bin").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin"):
        read_huggingface(ours)


def test_a_shard_that_is_missing_or_elsewhere_is_reported(tmp_path: Path) -> None:
    folder = save(transformers_model("VJEPA2Model"), tmp_path / "a", max_shard_size="100KB")
    index = folder / "model.safetensors.index.json"
    written = json.loads(index.read_text())
    shard = folder / written["weight_map"]["encoder.layernorm.weight"]
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(CheckpointError, match=rf"names {shard.name}, which does not exist"):
        read_huggingface(folder)
    save_file({"other": torch.zeros(1)}, shard)
    with pytest.raises(CheckpointError, match=r"tensors that its files lack: .*encoder\.layernorm\.weight"):
        read_huggingface(folder)
    shard.write_bytes(content)
    for outside in ("../secret.safetensors", "/etc/passwd"):
        index.write_text(json.dumps({"weight_map": written["weight_map"] | {"norm": outside}}))
        with pytest.raises(CheckpointError, match="only files inside the folder are allowed"):
            read_huggingface(folder)
    for text in ("[]", "{}", "{", '{"weight_map": [1]}', '{"weight_map": {"a": 1}}'):
        index.write_text(text)
        with pytest.raises(CheckpointError, match="not an index of weights|no weight_map"):
            read_huggingface(folder)


class Trap:
    """Its pickle writes a file when loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_would_run_code_is_refused_and_runs_none(ours: Path, tmp_path: Path) -> None:
    (ours / "model.safetensors").unlink()
    for new_format in (True, False):
        state = {"encoder.layernorm.weight": Trap(tmp_path / "sprung")}
        torch.save(state, ours / "pytorch_model.bin", _use_new_zipfile_serialization=new_format)
        with pytest.raises(CheckpointError, match="is refused: unpickling can run any code"):
            read_huggingface(ours)
    (ours / "pytorch_model.bin").write_bytes(pickle.dumps(Trap(tmp_path / "sprung"), protocol=2))
    with pytest.raises(CheckpointError, match="is refused: unpickling can run any code"):
        read_huggingface(ours)
    assert not (tmp_path / "sprung").exists()
    torch.save([torch.zeros(1)], ours / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="is not a dictionary of tensors"):
        read_huggingface(ours)


# --- hub ids -----------------------------------------------------------------------------------------------------

HUB_ID = "facebook/vjepa2-vitl-fpc64-256"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

# The hub's library reads its settings when it is imported, so each case is a process of its own.
RESOLVE = """
import sys
from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained.huggingface.reader import read_huggingface, resolve_hub
try:
    folder = resolve_hub(sys.argv[1])
    print("FOUND", folder, read_huggingface(folder).name)
except CheckpointError as error:
    print("REFUSED", error)
"""


def resolve(source: str, home: Path, **settings: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path)} | settings
    done = subprocess.run(
        [sys.executable, "-c", RESOLVE, source], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def cached(folder: Path, home: Path) -> Path:
    """Store a folder in the cache as huggingface_hub does: blobs by digest, links, and the commit of main."""
    repository = home / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for number, file in enumerate(sorted(folder.iterdir())):
        file.rename(repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(f"../../blobs/{number}")
    return snapshot


def test_offline_the_cache_is_used(ours: Path, tmp_path: Path) -> None:
    snapshot = cached(ours, tmp_path / "home")
    found = resolve(HUB_ID, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert found.split(maxsplit=2) == ["FOUND", str(snapshot), "transformers VJEPA2Model\n"]
    (snapshot / "model.safetensors").unlink()
    incomplete = resolve(HUB_ID, tmp_path / "home", HF_HUB_OFFLINE="1")
    assert incomplete.startswith("REFUSED")
    assert f"its folder {snapshot} lacks config.json or the safetensors" in incomplete


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"HF_HUB_OFFLINE": "1"}, "offline mode is on"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "cannot be reached"),
    ],
)
def test_without_hub_and_cache_it_says_what_to_download(
    settings: dict[str, str], reason: str, tmp_path: Path
) -> None:
    refused = resolve(HUB_ID, tmp_path, **settings)
    assert refused.startswith(f"REFUSED {HUB_ID} is not a file or folder")
    assert reason in refused
    command = f"hf download {HUB_ID} --include '*.json' '*.safetensors' --local-dir vjepa2-vitl-fpc64-256"
    assert command in refused
    assert "copy the folder vjepa2-vitl-fpc64-256 to this machine and give its path" in refused
    assert str(tmp_path / "hub" / "models--facebook--vjepa2-vitl-fpc64-256") in refused


def test_an_invalid_hub_id_is_reported(tmp_path: Path) -> None:
    refused = resolve("a/b/c", tmp_path, HF_HUB_OFFLINE="1")
    assert refused.startswith("REFUSED a/b/c is not a file or folder, and not a hub id either")

"""Backbones of transformers as frozen encoders, against the same models called by hand with their own processors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.encoders.backbones import KINDS, images, save_backbone, save_processor
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.encoders.registered import RegisteredEncoder
from vjepa_world.pretrained import load_encoder, read_checkpoint

transformers = pytest.importorskip("transformers")


def by_hand(folder: Path, kind: str, pictures: Tensor) -> Tensor:
    """Return the patches' tokens, `[B, N, D]`, from transformers alone."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    inputs = processor([picture.permute(1, 2, 0).numpy() for picture in pictures], return_tensors="pt")
    with torch.no_grad():
        if kind in ("clip", "siglip"):
            hidden = model.vision_model(pixel_values=inputs["pixel_values"]).last_hidden_state
        elif kind == "vit":
            hidden = model(**inputs, interpolate_pos_encoding=True).last_hidden_state
        elif kind == "vit_mae":
            model.config.mask_ratio = 0.0
            found = model(**inputs)
            order = found.ids_restore[..., None].expand(-1, -1, found.last_hidden_state.shape[-1])
            return found.last_hidden_state[:, 1:].gather(1, order)
        else:
            hidden = model(**inputs).last_hidden_state
    if hidden.ndim == 4:  # row by row
        rows = [hidden[:, :, y, x] for y in range(hidden.shape[2]) for x in range(hidden.shape[3])]
        return torch.stack(rows, dim=1)
    return hidden[:, KINDS[kind].prefix :]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_tokens_are_those_of_the_patches(kind: str, tmp_path: Path) -> None:
    folder, pictures = save_backbone(kind, tmp_path / "backbone"), images()
    encoder = load_encoder(folder)
    with torch.no_grad():
        tokens = encoder(encoder.preprocessing(pictures).unsqueeze(1))
    assert (encoder.config.grid_size, tokens.shape[1]) == (KINDS[kind].side, KINDS[kind].side ** 2)
    expected = by_hand(folder, kind, pictures)
    assert tokens.shape == expected.shape
    # Resizing differs by rounding: far less than two pictures do.
    spread = (expected[0] - expected[1]).abs().mean()
    assert (tokens - expected).abs().mean() < 0.05 * spread
    assert not torch.allclose(expected[:, 0], expected[:, 1], atol=1e-3)  # or any order would do


def test_a_video_model_averages_the_tokens_of_an_image_over_time(tmp_path: Path) -> None:
    config = {**KINDS["vit"].config, "image_size": 64, "num_frames": 4, "tubelet_size": 2}
    torch.manual_seed(0)
    model = transformers.VideoMAEModel(transformers.VideoMAEConfig(**config)).eval()
    model.save_pretrained(tmp_path)
    save_processor(
        tmp_path, "VideoMAEImageProcessor", size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}
    )
    encoder = load_encoder(tmp_path)
    assert (encoder.config.num_frames, encoder.config.tubelet_size) == (4, 2)
    clip = encoder.preprocessing(images(4)).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(encoder(clip), model(clip).last_hidden_state)
        still = model(clip[:, :1].repeat(1, 4, 1, 1, 1)).last_hidden_state
        torch.testing.assert_close(encoder(clip[:, :1]), (still[:, :16] + still[:, 16:]) / 2)


def test_siglip_2_reads_a_square_of_patches(tmp_path: Path) -> None:
    vision = {key: value for key, value in KINDS["vit"].config.items() if key != "image_size"} | {
        "num_patches": 16
    }
    torch.manual_seed(0)
    model = transformers.Siglip2VisionModel(transformers.Siglip2VisionConfig(**vision)).eval()
    model.save_pretrained(tmp_path)
    save_processor(tmp_path, "Siglip2ImageProcessor", max_num_patches=16, patch_size=16)
    encoder, pictures = load_encoder(tmp_path), images(2, 64, 64)
    processor = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    inputs = processor([picture.permute(1, 2, 0).numpy() for picture in pictures], return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).last_hidden_state
        tokens = encoder(encoder.preprocessing(pictures).unsqueeze(1))
    torch.testing.assert_close(tokens, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["vjepa2", "ijepa"])
def test_a_folder_of_our_architecture_is_loaded_as_ours(kind: str, tmp_path: Path) -> None:
    config = {**KINDS["vit"].config, "image_size": 64} if kind == "ijepa" else {
        "hidden_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2, "crop_size": 32, "frames_per_clip": 2,
        "pred_hidden_size": 24, "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1,
    }  # fmt: skip
    transformers.AutoModel.from_config(transformers.AutoConfig.for_model(kind, **config)).save_pretrained(
        tmp_path
    )
    assert not isinstance(load_encoder(tmp_path), RegisteredEncoder)


def test_the_generators_are_left_alone(tmp_path: Path) -> None:
    folder, before = save_backbone("vit", tmp_path / "backbone"), torch.random.get_rng_state()
    load_encoder(folder)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_models_that_cannot_serve_are_refused(tmp_path: Path) -> None:
    text = {key: value for key, value in KINDS["clip"].config["text_config"].items() if "token" not in key}
    transformers.BertModel(transformers.BertConfig(**text)).save_pretrained(tmp_path / "text")
    with pytest.raises(ConfigError, match="model 'bert' reads input_ids, not images; give a backbone"):
        load_encoder(tmp_path / "text")
    for kind, message in (
        ("timesformer", "video model 'timesformer' is not supported; supported: V-JEPA 2 and videomae"),
        (
            "yolos",
            r"'yolos' returns 37 tokens for an image of 64 pixels, 1 of which come before the patches; .*16",
        ),
    ):
        extra = {"num_detection_tokens": 20, "image_size": [64, 64]} if kind == "yolos" else {"num_frames": 2}
        config = transformers.AutoConfig.for_model(kind, **{**KINDS["vit"].config, **extra})
        transformers.AutoModel.from_config(config).save_pretrained(tmp_path / kind)
        save_processor(tmp_path / kind, "ViTImageProcessor", size={"height": 64, "width": 64})
        with pytest.raises(ConfigError, match=message):
            load_encoder(tmp_path / kind)
    save_backbone("vit", tmp_path / "vit")
    with pytest.raises(CheckpointError, match="a model of transformers that serves as a frozen encoder only"):
        read_checkpoint(tmp_path / "vit")
    (tmp_path / "vit" / "preprocessor_config.json").unlink()
    with pytest.raises(
        ConfigError, match="has no preprocessor_config.json, which says how images are resized"
    ):
        load_encoder(tmp_path / "vit")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"do_center_crop": False}, "does not crop, so that inputs are not square"),
        ({"size": {"height": 64, "width": 48}}, "supported are a shortest_edge, or height and width"),
        (
            {"crop_size": {"height": 64, "width": 48}},
            "crops to .*; supported are height and width that are the same",
        ),
        ({"resample": 1}, "has resample 1; supported: 0, 2, 3"),
        ({"image_mean": [0.5]}, "has image_mean .*; give three numbers"),
        ({"do_flip_channel_order": True}, "in the order blue, green, red"),
        ({"do_resize": False}, "has do_resize False"),
    ],
)
def test_preprocessing_that_is_not_supported_is_refused(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    file = save_backbone("clip", tmp_path / "backbone") / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ConfigError, match=message):
        load_encoder(tmp_path / "backbone")


def test_a_processor_that_does_something_else_is_found(tmp_path: Path) -> None:
    """EfficientNet's processor may also add an offset, which no key of ours says."""
    folder = save_backbone("convnext", tmp_path / "backbone")
    save_processor(
        folder,
        "EfficientNetImageProcessor",
        size={"height": 64, "width": 64},
        rescale_offset=True,
        resample=2,
    )
    with pytest.raises(
        ConfigError, match=r"our input \[1, 3, 64, 64\] differs from the processor's .* steps of 255"
    ):
        load_encoder(folder)


def test_a_processor_that_needs_torchvision_is_read_from_its_file(tmp_path: Path) -> None:
    folder = save_backbone("dinov3_vit", tmp_path / "backbone")
    values = {
        "image_processor_type": "DINOv3ViTImageProcessorFast",
        "size": {"height": 64, "width": 64},
        "image_mean": [0.1, 0.2, 0.3],
        "image_std": [0.4, 0.5, 0.6],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(values))
    found = load_encoder(folder).preprocessing
    assert (found.size, found.resize, found.interpolation) == (64, 0, "bilinear")
    assert (found.mean, found.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))

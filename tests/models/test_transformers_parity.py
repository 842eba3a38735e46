"""The same weights and input give the same output here and in unmodified transformers.

The comparison can fail: it is also run with each of the likely mistakes, and detects them.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.transformers_models import (
    ENCODER,
    IJEPA,
    PREDICTOR,
    PROBE,
    QUIET,
    our_checkpoint,
    our_module,
    randn,
    save,
    transformers_model,
)
from vjepa_world.models import encoder as encoder_module
from vjepa_world.models import masked_predictor as predictor_module
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.ops.masking.blocks import gather_tokens
from vjepa_world.ops.rope import grid_positions
from vjepa_world.pretrained import load_encoder, save_pretrained
from vjepa_world.pretrained.architectures import ARCHITECTURES, Architecture
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.huggingface.reader import read_huggingface, write_huggingface

TOLERANCE = 2e-5

#: Head widths 32, 48, 64 and 80 (2, 0, 4 and 2 channels are not rotated), and other patches, tubelets, frames, sizes.
SHAPES: dict[str, dict[str, Any]] = {
    "head 32": {},
    "head 48": {"embed_dim": 96, "image_size": 32},
    "head 64": {"embed_dim": 128, "patch_size": 4, "image_size": 16, "num_frames": 8},
    "head 80": {"embed_dim": 240, "num_heads": 3, "tubelet_size": 1, "num_frames": 3, "depth": 3},
    "eps 1e-5": {"norm_eps": 1e-5, "tubelet_size": 4, "mlp_ratio": 4.36},
}
WORDS = {
    "embed_dim": "hidden_size",
    "image_size": "crop_size",
    "num_frames": "frames_per_clip",
    "num_heads": "num_attention_heads",
    "depth": "num_hidden_layers",
    "norm_eps": "layer_norm_eps",
}


def opened(folder: Path, kind: str = "AutoModel") -> Any:
    import transformers

    model, info = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    assert not info["unexpected_keys"]
    assert not info["mismatched_keys"]
    assert all("predictor." in name for name in info["missing_keys"])
    return model.eval().requires_grad_(False)


def video_for(config: EncoderConfig, frames: int = 0) -> Tensor:
    return randn(2, frames or config.num_frames, 3, config.image_size, config.image_size)


def error(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.1  # nothing has vanished
    return float((ours - theirs).abs().max())


def features(model: Any, video: Tensor) -> Tensor:
    out: Tensor = model(video, skip_predictor=True).last_hidden_state
    return out


@pytest.mark.parametrize("shape", SHAPES)
def test_our_encoder_in_transformers(shape: str, tmp_path: Path) -> None:
    config = dataclasses.replace(ENCODER, **SHAPES[shape])
    checkpoint = our_checkpoint(config)
    write_huggingface(checkpoint, tmp_path / "a")
    ours, theirs = our_module(checkpoint), opened(tmp_path / "a")
    video = video_for(config)
    assert error(ours(video), features(theirs, video)) <= TOLERANCE


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_encoder_here(shape: str, tmp_path: Path) -> None:
    changes = {WORDS.get(word, word): value for word, value in SHAPES[shape].items()}
    theirs = transformers_model("VJEPA2Model", **changes)
    ours = our_module(read_huggingface(save(theirs, tmp_path / "a")))
    assert ours.config == dataclasses.replace(ENCODER, **SHAPES[shape])
    video = video_for(ours.config)
    assert error(ours(video), features(theirs, video)) <= TOLERANCE


@pytest.mark.parametrize("frames", [1, 2, 10])
def test_other_numbers_of_frames(frames: int, tmp_path: Path) -> None:
    theirs = transformers_model("VJEPA2Model")
    ours = our_module(read_huggingface(save(theirs, tmp_path / "a")))
    video = video_for(ENCODER, frames)
    assert error(ours(video), features(theirs, video)) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("known", [a for a in ARCHITECTURES if a.name in ("base", "large")], ids=str)
def test_encoders_of_their_real_size(known: Architecture, tmp_path: Path) -> None:
    config = EncoderConfig(
        image_size=256, num_frames=16, embed_dim=known.embed_dim, depth=known.depth, num_heads=known.num_heads
    )
    encoder = untrained_encoder(config, seed=0)
    save_pretrained(encoder, tmp_path)
    video = video_for(config, 4)
    assert error(encoder(video), features(opened(tmp_path), video)) <= TOLERANCE
    assert error(load_encoder(tmp_path)(video), encoder(video)) == 0


def masks() -> tuple[list[Tensor], list[Tensor]]:
    """Context and target tokens, unsorted and of two families; some tokens are in neither, as in training."""
    generator = torch.Generator().manual_seed(3)
    orders = [torch.rand(2, 18, generator=generator).argsort(dim=1) for _ in range(2)]
    return [order[:, :7] for order in orders], [order[:, 7:16] for order in orders]


@pytest.mark.parametrize("mask_tokens", [1, 3])
def test_masked_predictor(mask_tokens: int, tmp_path: Path) -> None:
    theirs = transformers_model("VJEPA2Model", pred_num_mask_tokens=mask_tokens)
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    context, target = masks()
    video = video_for(ENCODER)
    seen = features(theirs, video)
    predictor = our_module(checkpoint, "masked_predictor")
    for c, t in zip(context, target, strict=True):  # one by one: transformers fails on two at once
        # It masks the encoder's outputs, and takes mask token 1 whichever the family.
        expected = theirs(video, context_mask=[c], target_mask=[t]).predictor_output.last_hidden_state
        ours = predictor(gather_tokens(seen, c), c, t, (2, 3, 3), mask_index=1)
        assert error(ours, expected) <= TOLERANCE


def test_our_masked_predictor_in_transformers(tmp_path: Path) -> None:
    checkpoint = our_checkpoint(predictor=PREDICTOR)
    write_huggingface(checkpoint, tmp_path / "a")
    theirs = opened(tmp_path / "a")
    (context, *_), (target, *_) = masks()
    video = video_for(ENCODER)
    expected = theirs(video, context_mask=[context], target_mask=[target]).predictor_output.last_hidden_state
    seen = gather_tokens(our_module(checkpoint)(video), context)
    ours = our_module(checkpoint, "masked_predictor")(seen, context, target, (2, 3, 3), mask_index=1)
    assert error(ours, expected) <= TOLERANCE


@pytest.mark.parametrize("pooler_layers", [0, 2])
def test_classifier(pooler_layers: int, tmp_path: Path) -> None:
    theirs = transformers_model(
        "VJEPA2ForVideoClassification", num_pooler_layers=pooler_layers, num_labels=7, layer_norm_eps=1e-5
    )
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    video = video_for(ENCODER)
    ours = our_module(checkpoint, "probe")(our_module(checkpoint)(video))
    assert ours.shape == (2, 7)
    assert error(ours, theirs(video).logits) <= TOLERANCE


def test_our_classifier_in_transformers(tmp_path: Path) -> None:
    checkpoint = our_checkpoint(probe=PROBE)
    write_huggingface(checkpoint, tmp_path / "a")
    theirs = opened(tmp_path / "a", "AutoModelForVideoClassification")
    video = video_for(ENCODER)
    ours = our_module(checkpoint, "probe")(our_module(checkpoint)(video))
    assert error(ours, theirs(video).logits) <= TOLERANCE


@pytest.mark.parametrize("size", [(32, 32), (48, 24), (16, 64)])
def test_image_encoder(size: tuple[int, int], tmp_path: Path) -> None:
    theirs = transformers_model("IJepaModel")
    ours = our_module(read_huggingface(save(theirs, tmp_path / "a")))
    image = randn(2, 3, *size)
    expected = theirs(image, interpolate_pos_encoding=size != (32, 32)).last_hidden_state
    assert error(ours(image.unsqueeze(1)), expected) <= TOLERANCE


def test_our_image_encoder_in_transformers(tmp_path: Path) -> None:
    checkpoint = our_checkpoint(IJEPA)
    write_huggingface(checkpoint, tmp_path / "a")
    image = randn(2, 3, 32, 32)
    theirs = opened(tmp_path / "a")(image).last_hidden_state
    assert error(our_module(checkpoint)(image.unsqueeze(1)), theirs) <= TOLERANCE


# --- each mistake once -------------------------------------------------------------------------------------------

#: A mistake with a smaller effect could not be distinguished from rounding.
BY_FAR = 100 * TOLERANCE

#: PyTorch's own, and that of the released probes; the models below have 1e-6 (I-JEPA of transformers 1e-12).
WRONG_EPS = 1e-5


def transposed(*args: Any, **kwargs: Any) -> Tensor:
    return grid_positions(*args, **kwargs)[:, [0, 2, 1]]


def time_last(*args: Any, **kwargs: Any) -> Tensor:
    return grid_positions(*args, **kwargs)[:, [1, 2, 0]]


def columns_first(embed: Any, video: Tensor, visible: Tensor | None = None) -> Tensor:
    assert visible is None
    return embed.proj(video.transpose(1, 2)).transpose(-1, -2).flatten(2).transpose(1, 2)


def with_encoder(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    assert checkpoint.encoder is not None
    return dataclasses.replace(checkpoint, encoder=dataclasses.replace(checkpoint.encoder, **changes))


@pytest.mark.parametrize(
    "mistake", ["none", "convention", "rows are columns", "time last", "token order", "eps"]
)
def test_a_wrong_encoder_is_detected(mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = transformers_model("VJEPA2Model")
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    if mistake == "convention":
        checkpoint = with_encoder(checkpoint, positions="interleaved")
    elif mistake == "rows are columns":
        monkeypatch.setattr(encoder_module, "grid_positions", transposed)
    elif mistake == "time last":
        monkeypatch.setattr(encoder_module, "grid_positions", time_last)
    elif mistake == "token order":
        monkeypatch.setattr(encoder_module.PatchEmbed, "forward", columns_first)
    elif mistake == "eps":
        checkpoint = with_encoder(checkpoint, norm_eps=WRONG_EPS)
    video = video_for(ENCODER)
    difference = error(our_module(checkpoint)(video), features(theirs, video))
    assert difference <= TOLERANCE if mistake == "none" else difference > BY_FAR


@pytest.mark.parametrize(
    "mistake", ["none", "convention", "rows are columns", "token order", "mask token", "eps"]
)
def test_a_wrong_masked_predictor_is_detected(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = transformers_model("VJEPA2Model")
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    (context, *_), (target, *_) = masks()
    seen = features(theirs, video_for(ENCODER))
    expected = theirs(
        video_for(ENCODER), context_mask=[context], target_mask=[target]
    ).predictor_output.last_hidden_state
    if mistake == "convention":
        interleaved = dataclasses.replace(PREDICTOR, positions="interleaved")
        checkpoint = dataclasses.replace(checkpoint, masked_predictor=interleaved)
    elif mistake == "rows are columns":
        monkeypatch.setattr(predictor_module, "grid_positions", transposed)
    elif mistake == "eps":
        monkeypatch.setattr(predictor_module, "NORM_EPS", WRONG_EPS)
    predictor = our_module(checkpoint, "masked_predictor")
    shown = gather_tokens(seen, context.sort(dim=1).values if mistake == "token order" else context)
    ours = predictor(shown, context, target, (2, 3, 3), mask_index=0 if mistake == "mask token" else 1)
    difference = error(ours, expected)
    assert difference <= TOLERANCE if mistake == "none" else difference > BY_FAR


@pytest.mark.parametrize("mistake", ["none", "eps", "heads"])
def test_a_wrong_classifier_is_detected(mistake: str, tmp_path: Path) -> None:
    theirs = transformers_model("VJEPA2ForVideoClassification", num_labels=5)
    last = theirs.vjepa2.encoder.layernorm  # quiet features, or the eps would not show
    for tensor in (last.weight, last.bias):
        tensor.mul_(QUIET)
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    assert checkpoint.probe == PROBE
    changes: dict[str, dict[str, Any]] = {"eps": {"norm_eps": WRONG_EPS}, "heads": {"num_heads": 4}}
    probe = dataclasses.replace(PROBE, **changes.get(mistake, {}))
    checkpoint = dataclasses.replace(checkpoint, probe=probe)
    video = video_for(ENCODER)
    ours = our_module(checkpoint, "probe")(our_module(checkpoint)(video))
    difference = error(ours, theirs(video).logits)
    assert difference <= TOLERANCE if mistake == "none" else difference > BY_FAR


@pytest.mark.parametrize("mistake", ["none", "token order", "eps"])
def test_a_wrong_image_encoder_is_detected(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = transformers_model("IJepaModel")
    checkpoint = read_huggingface(save(theirs, tmp_path / "a"))
    if mistake == "token order":
        monkeypatch.setattr(encoder_module.PatchEmbed, "forward", columns_first)
    elif mistake == "eps":
        checkpoint = with_encoder(checkpoint, norm_eps=WRONG_EPS)
    image = randn(2, 3, 32, 32)
    difference = error(our_module(checkpoint)(image.unsqueeze(1)), theirs(image).last_hidden_state)
    assert difference <= TOLERANCE if mistake == "none" else difference > BY_FAR

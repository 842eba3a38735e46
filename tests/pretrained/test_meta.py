from __future__ import annotations

import dataclasses
import functools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from tests.pretrained import meta_files
from tests.pretrained.meta_files import BACKBONE, FILES, MODULE, PATCH, Content, Shapes, save, state
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    MaskedPredictorConfig,
    ProbeConfig,
    WorldModelConfig,
)
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.probe import AttentiveProbe
from vjepa_world.pretrained import load_encoder, load_masked_predictor, load_world_model
from vjepa_world.pretrained.architectures import heads_of_width, nearest_architecture
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.meta.reader import is_meta, read_meta, write_meta

ENCODER = EncoderConfig(
    image_size=16 * PATCH,
    patch_size=PATCH,
    num_frames=64,
    tubelet_size=2,
    embed_dim=192,
    depth=2,
    num_heads=3,
    mlp_ratio=0.5,
)
ENCODER_2_1 = dataclasses.replace(
    ENCODER,
    image_size=24 * PATCH,
    depth=12,
    mlp_ratio=0.125,
    positions="interleaved",
    rope_span=16,
    image_embed=True,
    levels=(2, 5, 8, 11),
)
MASKED = MaskedPredictorConfig(embed_dim=384, depth=1, num_heads=12, mlp_ratio=0.25, num_mask_tokens=10)
MASKED_2_1 = MaskedPredictorConfig(
    embed_dim=384,
    depth=2,
    num_heads=12,
    mlp_ratio=0.25,
    positions="interleaved",
    num_mask_tokens=8,
    input_levels=4,
    context_output=True,
    image_embed=True,
    rope_span=16,
)
ACTION = ActionPredictorConfig(
    embed_dim=1024,
    depth=1,
    num_heads=16,
    mlp_ratio=96 / 1024,
    residual=False,
    context_frames=0,
    extrinsics_dim=6,
    normalize=True,
    wrap_angles=True,
)
ENCODERS = {
    "V-JEPA 2": ENCODER,
    "V-JEPA 2-AC": ENCODER,
    "V-JEPA 2.1": ENCODER_2_1,
    "V-JEPA 2.1 distilled": ENCODER_2_1,
    "V-JEPA 1": dataclasses.replace(ENCODER, image_size=3 * PATCH, num_frames=16, positions="sincos"),
    "I-JEPA": dataclasses.replace(
        ENCODER, image_size=5 * PATCH, num_frames=1, tubelet_size=1, positions="sincos"
    ),
}
MASKED_PREDICTORS = {
    "V-JEPA 2": MASKED,
    "V-JEPA 2.1": MASKED_2_1,
    "V-JEPA 2.1 distilled": dataclasses.replace(MASKED_2_1, input_levels=1, output_dim=1664),
}
WITHOUT_HEADS: dict[str, Any] = {
    "latents": LatentsConfig(kind="none"),
    "inverse": InverseConfig(horizon=0),
    "decoder": DecoderConfig(image_size=0),
}
WORLD_MODEL = WorldModelConfig(encoder=ENCODER, predictor=ACTION, **WITHOUT_HEADS)
ROBOT = "embodiments.default."
PROBE = ProbeConfig(embed_dim=64, num_heads=16, depth=4, mlp_ratio=1.5, num_outputs=5, norm_eps=1e-5)

#: The encoder that the reference takes, and the names that are left over.
TAKEN = {
    "V-JEPA 2": ("target_encoder", ("opt", "scaler", "encoder")),
    "V-JEPA 2-AC": ("encoder", ("opt", "scaler", "target_encoder")),
    "V-JEPA 2.1": ("target_encoder", ("opt", "scaler", "encoder")),
    "V-JEPA 2.1 distilled": ("ema_encoder", ("opt", "scaler", "encoder")),
    "V-JEPA 1": ("target_encoder", ("opt", "scaler", "encoder", "predictor")),
    "I-JEPA": ("target_encoder", ("opt", "scaler", "encoder", "predictor")),
}
TRAINING = tuple(TAKEN)
SMALL = {"num_heads": 2}


@functools.cache
def content(kind: str) -> Content:
    return FILES[kind]()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file of each kind, under uninformative names."""
    folder = tmp_path_factory.mktemp("files")
    for number, kind in enumerate(FILES):
        save(content(kind), folder / str(number))
    return folder


def file_of(folder: Path, kind: str) -> Path:
    return folder / str(list(FILES).index(kind))


def small_file(path: Path, changes: Any = None, **entries: Any) -> Path:
    """A V-JEPA 2 file of width 16, whose heads must be given; `changes` alters the target encoder's tensors."""
    encoder = meta_files.vjepa2_encoder(16)
    made = meta_files.training(encoder, meta_files.vjepa2_predictor(16, 24), BACKBONE)
    if changes is not None:
        changes(made["target_encoder"])
    return save({**made, **entries}, path)


def bare(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


# What is read


@pytest.mark.parametrize("kind", TRAINING)
def test_encoder_and_its_architecture_are_read_from_the_shapes(folder: Path, kind: str) -> None:
    checkpoint = read_meta(file_of(folder, kind))
    weights, ignored = TAKEN[kind]
    assert checkpoint.format == "meta"
    assert checkpoint.name == f"{kind.removesuffix(' distilled')} training file"
    assert checkpoint.encoder == ENCODERS[kind]
    assert checkpoint.details == {"epoch": 11, "weights": weights}
    assert checkpoint.ignored == ignored
    expected = bare(content(kind)[weights], MODULE if kind in ("V-JEPA 2-AC", "I-JEPA") else BACKBONE)
    if kind == "I-JEPA":
        kernel = expected["patch_embed.proj.weight"]
        expected["patch_embed.proj.weight"] = kernel.reshape(192, 3, 1, PATCH, PATCH)
    assert_same(checkpoint.tensors["encoder"], expected)
    VideoEncoder(ENCODERS[kind]).load_state_dict(checkpoint.tensors["encoder"])


@pytest.mark.parametrize("kind", TRAINING)
def test_predictor_and_its_architecture_are_read_from_the_shapes(folder: Path, kind: str) -> None:
    checkpoint = read_meta(file_of(folder, kind))
    assert checkpoint.masked_predictor == MASKED_PREDICTORS.get(kind)
    assert checkpoint.world_model == (WORLD_MODEL if kind == "V-JEPA 2-AC" else None)
    if kind in MASKED_PREDICTORS:
        tensors = checkpoint.tensors["masked_predictor"]
        assert_same(tensors, bare(content(kind)["predictor"], BACKBONE))
        MaskedPredictor(MASKED_PREDICTORS[kind], 192).load_state_dict(tensors)


def test_action_predictor_gets_an_identity_standardisation(folder: Path) -> None:
    tensors = read_meta(file_of(folder, "V-JEPA 2-AC")).tensors["predictor"]
    buffers = {f"{ROBOT}{part}_mean": torch.zeros(7) for part in ("action", "state")}
    buffers |= {f"{ROBOT}{part}_std": torch.ones(7) for part in ("action", "state")}
    buffers |= {f"{ROBOT}action_low": -torch.ones(7), f"{ROBOT}action_high": torch.ones(7)}
    theirs = bare(content("V-JEPA 2-AC")["predictor"], MODULE)
    for name in (
        "action_encoder.weight",
        "action_encoder.bias",
        "state_encoder.weight",
        "state_encoder.bias",
    ):
        theirs[ROBOT + name] = theirs.pop(name)
    assert_same(tensors, theirs | buffers)
    ActionPredictor(ACTION, 192, (16, 16), [EmbodimentConfig()]).load_state_dict(tensors)


def test_models_load_through_the_public_functions(folder: Path) -> None:
    assert load_encoder(file_of(folder, "V-JEPA 2.1"), weights="encoder").config == ENCODER_2_1
    assert load_masked_predictor(file_of(folder, "V-JEPA 2.1 distilled")).config.output_dim == 1664
    model = load_world_model(file_of(folder, "V-JEPA 2-AC"))
    out = model.predictor(torch.ones(1, 2 * 256, 192), torch.ones(1, 2, 7), torch.ones(1, 2, 7))
    assert out.shape == (1, 512, 192) and torch.isfinite(out).all()


def test_flat_kernel_of_an_image_model_equals_a_convolution(folder: Path) -> None:
    encoder = load_encoder(file_of(folder, "I-JEPA"))
    image = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    raw = bare(content("I-JEPA")["target_encoder"], MODULE)
    kernel, bias = raw["patch_embed.proj.weight"], raw["patch_embed.proj.bias"]
    expected = F.conv2d(image, kernel, bias, stride=PATCH).flatten(2).transpose(1, 2)
    torch.testing.assert_close(encoder.patch_embed(image.unsqueeze(1)), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("number", [0, 2])
def test_one_of_the_probes_is_read(folder: Path, number: int) -> None:
    checkpoint = read_meta(file_of(folder, "probe"), classifier=number)
    assert checkpoint.name == "attentive probe file"
    assert checkpoint.encoder is None and checkpoint.probe == PROBE
    assert checkpoint.details == {"epoch": 20, "classifier": number}
    others = tuple(f"classifiers.{other}" for other in range(3) if other != number)
    assert checkpoint.ignored == ("opt", *others)
    assert_same(checkpoint.tensors["probe"], bare(content("probe")["classifiers"][number], MODULE))
    AttentiveProbe(PROBE).load_state_dict(checkpoint.tensors["probe"])


def test_classifier_beyond_the_last_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="no classifier 3 in this file; there are 3, counted from 0"):
        read_meta(file_of(folder, "probe"), classifier=3)


def test_file_from_before_archives_is_read(tmp_path: Path) -> None:
    path = save(content("V-JEPA 2"), tmp_path / "old", legacy=True)
    assert is_meta(path)
    tensors = read_meta(path).tensors["encoder"]
    assert_same(tensors, bare(content("V-JEPA 2")["target_encoder"], BACKBONE))


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "module.module."])
def test_wrapper_prefixes_are_removed_in_any_combination(tmp_path: Path, prefix: str) -> None:
    shapes = meta_files.vjepa2_encoder(16)
    path = save({"target_encoder": state(shapes, prefix, 0)}, tmp_path / "file")
    assert_same(read_meta(path, encoder=SMALL).tensors["encoder"], state(shapes, "", 0))


def test_names_that_collide_without_prefixes_are_refused(tmp_path: Path) -> None:
    twice = state({"norm.weight": (4,)}, "", 0) | state({"norm.weight": (4,)}, "module.", 1)
    with pytest.raises(
        CheckpointError, match="two tensors are called 'norm.weight', one of them 'module.norm"
    ):
        read_meta(save({"encoder": twice}, tmp_path / "file"))


# Which weights


@pytest.mark.parametrize(
    ("kind", "weights"),
    [("V-JEPA 2", "encoder"), ("V-JEPA 2-AC", "target_encoder"), ("V-JEPA 2.1 distilled", "encoder")],
)
def test_weights_can_be_selected(folder: Path, kind: str, weights: str) -> None:
    checkpoint = read_meta(file_of(folder, kind), weights=weights)
    assert checkpoint.details["weights"] == weights
    assert weights not in checkpoint.ignored and TAKEN[kind][0] in checkpoint.ignored
    prefix = MODULE if kind == "V-JEPA 2-AC" else BACKBONE
    assert_same(checkpoint.tensors["encoder"], bare(content(kind)[weights], prefix))


@pytest.mark.parametrize("weights", ["ema_encoder", "teacher"])
def test_unknown_weights_are_refused_with_the_available_ones(folder: Path, weights: str) -> None:
    with pytest.raises(
        CheckpointError, match=f"'{weights}' in this file; there are: encoder, target_encoder"
    ):
        read_meta(file_of(folder, "V-JEPA 2"), weights=weights)


def test_the_only_encoder_of_a_file_is_used(tmp_path: Path) -> None:
    path = save({"encoder": state(meta_files.vjepa2_encoder(16), MODULE, 0)}, tmp_path / "file")
    assert read_meta(path, encoder=SMALL).details == {"weights": "encoder"}


# V-JEPA 2 with a table that it does not use, and V-JEPA 1


@pytest.mark.parametrize("tokens", [8 * 3 * 3, 32 * 16 * 16])
def test_position_table_next_to_the_predictor_of_vjepa2_is_ignored(tmp_path: Path, tokens: int) -> None:
    encoder = meta_files.table(192, tokens) | meta_files.vjepa2_encoder()
    predictor = meta_files.table(384, tokens, "predictor_pos_embed") | meta_files.vjepa2_predictor()
    path = save(meta_files.training(encoder, predictor, BACKBONE), tmp_path / "file")
    checkpoint = read_meta(path)
    assert checkpoint.encoder == ENCODER and checkpoint.masked_predictor == MASKED
    tables = ("target_encoder.pos_embed", "predictor.predictor_pos_embed")
    assert checkpoint.ignored == ("opt", "scaler", "encoder", *tables)


def test_position_table_next_to_an_action_predictor_is_ignored(tmp_path: Path) -> None:
    encoder = meta_files.table(16, 72) | meta_files.vjepa2_encoder(16)
    made = meta_files.training(encoder, meta_files.action_predictor(16, 24), MODULE)
    checkpoint = read_meta(save(made, tmp_path / "file"), encoder=SMALL, predictor=SMALL)
    assert checkpoint.world_model is not None and checkpoint.world_model.encoder.positions == "tiled"
    assert "encoder.pos_embed" in checkpoint.ignored


@pytest.mark.parametrize(("positions", "ignored"), [("tiled", True), ("sincos", False)])
def test_positions_can_be_given(tmp_path: Path, positions: str, ignored: bool) -> None:
    mask_tokens = 2 if ignored else 10  # the opposite of what its predictor implies
    encoder = meta_files.table(16, 72) | meta_files.vjepa2_encoder(16)
    predictor = meta_files.vjepa2_predictor(16, mask_tokens=mask_tokens)
    path = save(meta_files.training(encoder, predictor, BACKBONE), tmp_path / "file")
    checkpoint = read_meta(path, encoder={**SMALL, "positions": positions})
    assert checkpoint.encoder is not None and checkpoint.encoder.positions == positions
    assert ("target_encoder.pos_embed" in checkpoint.ignored) is ignored
    assert ("pos_embed" in checkpoint.tensors["encoder"]) is not ignored
    other = read_meta(path, encoder=SMALL).encoder
    assert other is not None and other.positions != positions


def test_table_of_another_clip_needs_its_frames_or_size(tmp_path: Path) -> None:
    encoder = meta_files.table(16, 4 * 3 * 3) | meta_files.vjepa2_encoder(16)
    path = save({"encoder": state(encoder, BACKBONE, 0)}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"36 positions.*16 square frames.*'num_frames'"):
        read_meta(path, encoder=SMALL)
    for words in ({"num_frames": 8}, {"image_size": 12}):
        found = read_meta(path, encoder=SMALL | words).encoder
        assert found is not None and (found.num_frames, found.image_size) == (8, 12)


# Settings that the tensors do not determine


def test_unknown_width_needs_its_heads(tmp_path: Path) -> None:
    path = small_file(tmp_path / "file")
    with pytest.raises(CheckpointError) as caught:
        read_meta(path)
    text = str(caught.value)
    assert "width 16 and 2 blocks, which is not a known width (192, 384, 768, 1024, 1280, 1408, 1664" in text
    assert "nearest architecture is tiny (width 192, 12 blocks, 3 heads)" in text
    assert "give config={'num_heads': ...}" in text and str(path) in text
    assert read_meta(path, encoder=SMALL).encoder == dataclasses.replace(
        ENCODER, embed_dim=16, num_heads=2, mlp_ratio=6.0
    )


def test_predictor_of_unknown_width_is_left_out_unless_its_heads_are_given(tmp_path: Path) -> None:
    path = small_file(tmp_path / "file")
    without = read_meta(path, encoder=SMALL)
    assert without.masked_predictor is None and "predictor" in without.ignored
    assert "without its predictor (width 24 is not a known one" in without.name
    assert load_encoder(path, SMALL)(torch.zeros(1, 2, 3, 8, 8)).shape == (1, 4, 16)
    given = read_meta(path, encoder=SMALL, predictor={"num_heads": 3}).masked_predictor
    assert given is not None and (given.embed_dim, given.num_heads) == (24, 3)


def test_world_model_of_unknown_width_needs_its_heads(tmp_path: Path) -> None:
    made = meta_files.training(meta_files.vjepa2_encoder(16), meta_files.action_predictor(16, 24), MODULE)
    path = save(made, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"width 24 is not a known one.*world model"):
        load_world_model(path, {"encoder": SMALL})
    assert (
        load_world_model(path, {"encoder": SMALL, "predictor": {"num_heads": 3}}).config.latents.kind
        == "none"
    )


def test_levels_of_an_unknown_depth_must_be_given(tmp_path: Path) -> None:
    path = save({"encoder": state(meta_files.vjepa2_1_encoder(16, 5), BACKBONE, 0)}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"4 level norms and 5 blocks.*12, 24, 40, 48.*'levels'"):
        read_meta(path, encoder=SMALL)
    found = read_meta(path, encoder={**SMALL, "levels": (0, 1, 2, 4)}).encoder
    assert found is not None and found.levels == (0, 1, 2, 4)


def test_architecture_can_be_given_as_a_config_or_as_fields(folder: Path, tmp_path: Path) -> None:
    path = file_of(folder, "V-JEPA 2")
    for encoder in (dataclasses.replace(ENCODER, image_size=384), {"image_size": 384}):
        found = read_meta(path, encoder=encoder, predictor={"num_heads": 6})
        assert found.encoder == dataclasses.replace(ENCODER, image_size=384)
        assert found.masked_predictor == dataclasses.replace(MASKED, num_heads=6)
    with pytest.raises(ConfigError, match="'heads' is not known to EncoderConfig"):
        read_meta(path, encoder={"heads": 3})


# What does not fit


def test_missing_tensor_is_reported_with_the_shape_it_should_have(tmp_path: Path) -> None:
    path = small_file(tmp_path / "file", lambda tensors: tensors.pop(f"{BACKBONE}blocks.1.attn.proj.bias"))
    with pytest.raises(CheckpointError) as caught:
        read_meta(path, encoder=SMALL)
    text = str(caught.value)
    assert f"{path}: 'target_encoder' does not fit its architecture in 1 tensors" in text
    assert "blocks.1.attn.proj.bias: file none, model [16]" in text
    assert "nearest known architecture is tiny (width 192, 12 blocks, 3 heads)" in text


def test_extra_tensor_is_reported_with_its_shape(tmp_path: Path) -> None:
    def add(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{BACKBONE}blocks.0.mlp.fc3.weight"] = torch.zeros(16, 5)

    path = small_file(tmp_path / "file", add)
    with pytest.raises(CheckpointError, match=r"blocks.0.mlp.fc3.weight: file \[16, 5\], model none"):
        read_meta(path, encoder=SMALL)


def test_tensor_of_another_shape_is_reported_with_both(tmp_path: Path) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors[f"{BACKBONE}norm.weight"] = torch.zeros(17)

    path = small_file(tmp_path / "file", change)
    with pytest.raises(CheckpointError, match=r"norm.weight: file \[17\], model \[16\]"):
        read_meta(path, encoder=SMALL)


def test_no_more_than_ten_tensors_are_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="in 24 tensors: ") as caught:
        read_meta(small_file(tmp_path / "file"), encoder={**SMALL, "depth": 4})
    assert str(caught.value).count("file none") == 10


def test_predictor_is_as_strict(tmp_path: Path) -> None:
    made = content("V-JEPA 2")
    predictor = made["predictor"] | {f"{BACKBONE}extra": torch.zeros(2)}
    path = save({**made, "predictor": predictor}, tmp_path / "file")
    with pytest.raises(CheckpointError, match=r"'predictor' does not fit.*extra: file \[2\], model none"):
        read_meta(path)


@pytest.mark.parametrize("name", ["patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"])
def test_file_without_the_tensors_that_determine_the_architecture_is_refused(
    tmp_path: Path, name: str
) -> None:
    path = small_file(tmp_path / "file", lambda tensors: tensors.pop(BACKBONE + name))
    with pytest.raises(
        CheckpointError, match=f"the encoder lacks {name}, which its architecture is inferred from"
    ):
        read_meta(path, encoder=SMALL)


def test_tensors_in_unknown_entries_are_refused(tmp_path: Path) -> None:
    path = small_file(tmp_path / "file", head=[{"weight": torch.zeros(2)}])
    with pytest.raises(
        CheckpointError, match="tensors in the unknown entries head; allowed: encoder, target_enc"
    ):
        read_meta(path, encoder=SMALL)
    numbers = small_file(tmp_path / "numbers", best_accuracy=0.5, name="run")
    assert read_meta(numbers, encoder=SMALL).details["epoch"] == 11


@pytest.mark.parametrize(
    ("made", "text"),
    [
        ({"model": 3}, "the entries are model; expected a training file with one of encoder, target_encoder"),
        ([torch.zeros(2)], "holds a list; expected the dictionary"),
        ({0: torch.zeros(2)}, "holds a dict; expected the dictionary"),
        ({"encoder": {"a": 3}}, "the entry 'encoder' is not a dictionary of tensors"),
        ({"classifiers": {"a": torch.zeros(2)}}, "the entry 'classifiers' is not a list of state dicts"),
        ({"classifiers": []}, "there is no classifier 0 in this file; there are 0"),
        ({"classifiers": [], "vjepa_world": 3}, "the entry 'vjepa_world' does not hold fields by part"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, made: Any, text: str) -> None:
    with pytest.raises(CheckpointError, match=text):
        read_meta(save(made, tmp_path / "file"))


def test_an_unused_projection_of_vjepa1_probes_is_ignored(tmp_path: Path) -> None:
    unused = meta_files.linear("pooler.cross_attention_block.xattn.proj", 64, 64)
    path = save({"classifier": state(meta_files.probe(depth=1) | unused, MODULE, 0)}, tmp_path / "v1")
    checkpoint = read_meta(path)
    assert checkpoint.probe is not None and checkpoint.probe.depth == 1
    assert checkpoint.ignored == tuple(f"classifiers.0.{name}" for name in unused)


def test_probes_of_other_layouts_are_refused(tmp_path: Path) -> None:
    older = meta_files.probe(depth=3) | meta_files.linear("pooler.cross_attention_block.xattn.proj", 64, 64)
    path = save({"classifier": state(older, MODULE, 0)}, tmp_path / "v1")
    with pytest.raises(
        CheckpointError, match="V-JEPA 1 with several blocks, which follow the cross-attention"
    ):
        read_meta(path)
    several: Shapes = meta_files.probe() | {"pooler.query_tokens": (1, 3, 64)}
    path = save({"classifiers": [state(several, MODULE, 0)]}, tmp_path / "actions")
    with pytest.raises(CheckpointError, match="3 queries and the outputs linear; only probes with one query"):
        read_meta(path)


# Unsafe and broken files


class MakesFolder:
    """Unpickled, it makes a folder; an attacker's would do worse."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.makedirs, (str(self.target),)


class Evaluates(MakesFolder):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"__import__('os').makedirs({str(self.target)!r})",)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(("payload", "name"), [(MakesFolder, "os.makedirs"), (Evaluates, "eval")])
def test_unsafe_pickle_is_refused_and_not_run(
    tmp_path: Path, payload: type[MakesFolder], name: str, legacy: bool
) -> None:
    made = {**content("probe"), "name": payload(tmp_path / "written")}
    path = save(made, tmp_path / "file", legacy=legacy)
    with pytest.raises(CheckpointError, match=f"is refused: its pickle asks for {name}, .*can run any code"):
        read_meta(path)
    assert not (tmp_path / "written").exists()
    torch.load(path, weights_only=False)  # the payload is a real one
    assert (tmp_path / "written").is_dir()


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("share", [0.001, 0.02, 0.3, 0.9, 0.999])
def test_truncated_file_is_recognised_and_refused(tmp_path: Path, share: float, legacy: bool) -> None:
    path = save(content("probe"), tmp_path / "file", legacy=legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert is_meta(path)
    with pytest.raises(CheckpointError, match=r"cannot be read .*download it again"):
        read_meta(path)


def test_other_files_are_not_taken_for_metas(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("empty.pt", "text.pt", "tensors.pt", "zip.pt", "script.txt")]
    paths[0].touch()
    paths[1].write_text(json.dumps({"encoder": 3}))
    save_file({"encoder": torch.zeros(2)}, paths[2])
    with zipfile.ZipFile(paths[3], "w") as archive:
        archive.writestr("arrays.npy", "data")
    assert not any(is_meta(path) for path in paths[:4])
    assert is_meta(save({"encoder": torch.zeros(2)}, paths[4]))


# Writing


@pytest.mark.parametrize("kind", TRAINING)
def test_round_trip_is_bit_exact_with_the_references_names(folder: Path, tmp_path: Path, kind: str) -> None:
    read = read_meta(file_of(folder, kind))
    write_meta(read, tmp_path / "copy")
    again = read_meta(tmp_path / "copy")
    for part in ("name", "encoder", "masked_predictor", "world_model", "details"):
        assert getattr(again, part) == getattr(read, part)
    assert again.tensors.keys() == read.tensors.keys()
    for part, tensors in read.tensors.items():
        assert_same(again.tensors[part], tensors)
    raw = torch.load(tmp_path / "copy", weights_only=True)
    weights = TAKEN[kind][0]
    other = "encoder" if weights != "encoder" else "target_encoder"
    predictor = set() if kind in ("V-JEPA 1", "I-JEPA") else {"predictor"}
    assert set(raw) == {weights, other, "epoch"} | predictor
    assert_same(raw[weights], content(kind)[weights])
    assert_same(raw[other], content(kind)[weights])
    if predictor:
        assert_same(raw["predictor"], content(kind)["predictor"])


def test_probe_round_trip_is_bit_exact(folder: Path, tmp_path: Path) -> None:
    read = read_meta(file_of(folder, "probe"), classifier=1)
    write_meta(read, tmp_path / "copy")
    raw = torch.load(tmp_path / "copy", weights_only=True)
    assert set(raw) == {"classifiers", "epoch"} and len(raw["classifiers"]) == 1
    assert_same(raw["classifiers"][0], content("probe")["classifiers"][1])
    assert read_meta(tmp_path / "copy").probe == PROBE


def test_settings_that_tensors_do_not_determine_are_stored_next_to_them(tmp_path: Path) -> None:
    words = {"num_heads": 2, "image_size": 96, "num_frames": 8, "norm_eps": 1e-5}
    read = read_meta(small_file(tmp_path / "file"), encoder=words, predictor={"num_heads": 3})
    write_meta(read, tmp_path / "copy")
    assert torch.load(tmp_path / "copy", weights_only=True)["vjepa_world"] == {
        "encoder": words,
        "predictor": {"num_heads": 3},
    }
    again = read_meta(tmp_path / "copy")
    assert again.encoder == read.encoder and again.masked_predictor == read.masked_predictor
    changed = read_meta(tmp_path / "copy", encoder={"num_heads": 4}).encoder  # the caller's words count more
    assert changed is not None and (changed.num_heads, changed.image_size) == (4, 96)


def test_position_table_of_another_clip_survives_a_round_trip(tmp_path: Path) -> None:
    encoder = meta_files.table(16, 4 * 3 * 3) | meta_files.vjepa2_encoder(16)
    path = save({"encoder": state(encoder, BACKBONE, 0)}, tmp_path / "file")
    read = read_meta(path, encoder={**SMALL, "num_frames": 8})
    write_meta(read, tmp_path / "copy")
    again = read_meta(tmp_path / "copy")
    assert again.encoder == read.encoder
    assert_same(again.tensors["encoder"], read.tensors["encoder"])


def small_world(**predictor: Any) -> Checkpoint:
    """A world model of 3 actions, with a standardisation, bounds and no weights for extrinsics."""
    config = ActionPredictorConfig(
        **{
            "embed_dim": 24,
            "depth": 1,
            "num_heads": 3,
            "residual": False,
            "context_frames": 0,
            "normalize": True,
        }
        | predictor
    )
    encoder = EncoderConfig(image_size=16, patch_size=8, num_frames=2, embed_dim=16, depth=1, num_heads=2)
    robot = EmbodimentConfig(name="arm", action_dim=3, state_dim=3)
    world = WorldModelConfig(encoder=encoder, predictor=config, embodiments=(robot,), **WITHOUT_HEADS)
    torch.manual_seed(0)
    model = ActionPredictor(config, 16, world.grid, world.embodiments)
    for name in ("action", "state"):
        getattr(model.robot(), f"{name}_mean").normal_()
        getattr(model.robot(), f"{name}_std").uniform_(0.1, 2)
    model.robot().action_low.fill_(-1 / 8)
    model.robot().action_high.fill_(1 / 8)
    return Checkpoint(
        format="native",
        name="world_model",
        source=Path("runs/world"),
        encoder=encoder,
        world_model=world,
        tensors={
            "encoder": VideoEncoder(encoder).state_dict(),
            "predictor": model.state_dict(),
        },
    )


def test_standardisation_is_folded_into_the_linear_maps(tmp_path: Path) -> None:
    world = small_world()
    write_meta(world, tmp_path / "file")
    again = read_meta(tmp_path / "file")
    assert again.world_model == world.world_model and again.encoder == world.encoder
    for bound in ("embodiments.arm.action_low", "embodiments.arm.action_high"):
        assert torch.equal(again.tensors["predictor"][bound], world.tensors["predictor"][bound])
    assert again.ignored == (
        "target_encoder",
        "predictor.extrinsics_encoder.weight",
        "predictor.extrinsics_encoder.bias",
    )
    predictions = []
    features, actions, states = torch.randn(2, 12, 16), torch.randn(2, 3, 3), torch.randn(2, 3, 3)
    for checkpoint in (world, again):
        assert checkpoint.world_model is not None
        config = checkpoint.world_model
        model = ActionPredictor(config.predictor, 16, config.grid, config.embodiments)
        model.load_state_dict(checkpoint.tensors["predictor"])
        predictions.append(model(features, actions, states).detach())
    assert not torch.equal(
        again.tensors["predictor"]["embodiments.arm.action_encoder.weight"],
        world.tensors["predictor"]["embodiments.arm.action_encoder.weight"],
    )
    torch.testing.assert_close(predictions[1], predictions[0], atol=1e-5, rtol=0)


def test_written_action_predictor_loads_strictly_into_the_reference(tmp_path: Path) -> None:
    write_meta(small_world(), tmp_path / "file")
    raw = torch.load(tmp_path / "file", weights_only=True)
    shapes = {name: tuple(tensor.shape) for name, tensor in bare(raw["predictor"], MODULE).items()}
    assert shapes == meta_files.action_predictor(16, 24, actions=3)
    assert not raw["predictor"]["module.extrinsics_encoder.weight"].any()


@pytest.mark.parametrize(
    ("predictor", "world", "text"),
    [
        ({"residual": True}, {}, "predicts the change of the features"),
        ({"context_frames": 1}, {}, "sees one frame"),
        ({"positions": "interleaved"}, {}, "has positions 'interleaved'"),
        ({"extrinsics_dim": 6}, {}, "has extrinsics of size 6"),
        ({"condition": "adaln"}, {}, "has condition 'adaln'"),
        ({"predict_state": True}, {}, "predicts states"),
        ({}, {"latents": LatentsConfig(side=1)}, "has latents of kind pool, 1 x 1 tokens per view"),
        (
            {},
            {"embodiments": (EmbodimentConfig(action_dim=3, state_dim=5),)},
            "has states of size 5 and actions of 3",
        ),
        (
            {},
            {"embodiments": (EmbodimentConfig(name="a"), EmbodimentConfig(name="b"))},
            "knows the embodiments a, b, and V-JEPA 2-AC one",
        ),
        ({}, {"views": 2}, "sees 2 views"),
        ({}, {"inverse": InverseConfig()}, "has an inverse model"),
        ({}, {"decoder": DecoderConfig()}, "has a decoder"),
        ({}, {"encoder_kind": "pixels"}, "has the encoder 'pixels', which holds no weights"),
    ],
)
def test_world_model_that_the_layout_cannot_hold_is_refused(
    tmp_path: Path, predictor: dict[str, Any], world: dict[str, Any], text: str
) -> None:
    checkpoint = small_world(**predictor)
    assert checkpoint.world_model is not None
    config = dataclasses.replace(checkpoint.world_model, **world)
    with pytest.raises(CheckpointError, match=f"as a Meta file: its world model {text}"):
        write_meta(dataclasses.replace(checkpoint, world_model=config), tmp_path / "file")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        (
            {"positions": "interleaved"},
            "its encoder has positions 'interleaved', image_embed=False and levels=",
        ),
        ({"image_embed": True}, "its encoder has positions 'tiled', image_embed=True"),
        ({"levels": (0, 1)}, "its encoder has positions 'tiled', image_embed=False and levels=.0, 1"),
        ({"rope_span": 16}, "its encoder has rope_span 16"),
    ],
)
def test_encoder_that_the_layout_cannot_hold_is_refused(
    tmp_path: Path, encoder: dict[str, Any], text: str
) -> None:
    config = dataclasses.replace(ENCODER, **encoder)
    checkpoint = Checkpoint(format="native", name="encoder", source=tmp_path, encoder=config)
    with pytest.raises(CheckpointError, match=text):
        write_meta(checkpoint, tmp_path / "file")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"positions": "interleaved"}, "has positions 'interleaved', its encoder 'tiled'"),
        ({"context_output": True}, "has levels, another output width or an image embedding"),
    ],
)
def test_masked_predictor_that_the_layout_cannot_hold_is_refused(
    folder: Path, tmp_path: Path, changes: dict[str, Any], text: str
) -> None:
    read = read_meta(file_of(folder, "V-JEPA 2"))
    with pytest.raises(CheckpointError, match=f"its masked predictor {text}"):
        write_meta(
            dataclasses.replace(read, masked_predictor=dataclasses.replace(MASKED, **changes)),
            tmp_path / "file",
        )


def test_linear_probe_and_empty_checkpoint_are_refused(folder: Path, tmp_path: Path) -> None:
    read = read_meta(file_of(folder, "probe"))
    linear = dataclasses.replace(read, probe=dataclasses.replace(PROBE, kind="linear"))
    with pytest.raises(CheckpointError, match="its probe is linear, and the reference's are attentive"):
        write_meta(linear, tmp_path / "file")
    with pytest.raises(CheckpointError, match="its content is neither an encoder nor a probe"):
        write_meta(dataclasses.replace(read, probe=None), tmp_path / "file")


def test_encoder_and_probe_go_into_one_file_with_the_labels(folder: Path, tmp_path: Path) -> None:
    read = read_meta(file_of(folder, "V-JEPA 2"))
    probe = read_meta(file_of(folder, "probe"))
    config = dataclasses.replace(PROBE, norm_eps=1e-6)
    joined = Checkpoint(
        format="huggingface",
        name="classifier",
        source=tmp_path,
        encoder=read.encoder,
        probe=config,
        tensors={"encoder": read.tensors["encoder"], "probe": probe.tensors["probe"]},
        details={"labels": ["a", "b", "c", "d", "e"]},
    )
    write_meta(joined, tmp_path / "file")
    again = read_meta(tmp_path / "file")
    assert (again.encoder, again.probe) == (joined.encoder, config)
    assert again.name == "V-JEPA 2 training file and attentive probe"
    assert again.details["labels"] == ["a", "b", "c", "d", "e"]
    for part, tensors in joined.tensors.items():
        assert_same(again.tensors[part], tensors)


def test_written_file_has_the_encoder_once_and_only_its_own_storage(folder: Path, tmp_path: Path) -> None:
    read = read_meta(file_of(folder, "V-JEPA 1"))
    large = torch.cat([tensor.flatten() for tensor in read.tensors["encoder"].values()])
    views, offset = {}, 0
    for name, tensor in read.tensors["encoder"].items():
        views[name] = large[offset : offset + tensor.numel()].view(tensor.shape)
        offset += tensor.numel()
    write_meta(dataclasses.replace(read, tensors={"encoder": views}), tmp_path / "file")
    assert_same(read_meta(tmp_path / "file").tensors["encoder"], read.tensors["encoder"])
    assert (tmp_path / "file").stat().st_size < 1.02 * large.nbytes
    few = {name: views[name] for name in list(views)}
    few["norm.bias"] = torch.zeros(10 * large.numel())[:192]
    write_meta(dataclasses.replace(read, tensors={"encoder": few}), tmp_path / "few")
    assert (tmp_path / "few").stat().st_size < 1.02 * large.nbytes


def test_failed_write_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(CheckpointError, match=r"could not write .*taken.*no partial file"):
        write_meta(read_meta(file_of(folder, "probe")), tmp_path / "taken")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_write_replaces_the_file_that_it_was_read_from(tmp_path: Path) -> None:
    path = save(content("probe"), tmp_path / "file")
    write_meta(read_meta(path, classifier=2), path)
    tensors = read_meta(path).tensors["probe"]
    assert_same(tensors, bare(content("probe")["classifiers"][2], MODULE))


# The table of architectures


@pytest.mark.parametrize(
    ("width", "rotary", "added"),
    [(192, 3, 3), (1024, 16, 16), (1408, 22, 16), (1664, 26, 16), (100, None, None)],
)
def test_heads_of_known_widths(width: int, rotary: int | None, added: int | None) -> None:
    assert heads_of_width(width) == rotary
    assert heads_of_width(width, sincos=True) == added


@pytest.mark.parametrize(
    ("size", "name"),
    [((1000, 24), "large"), ((1408, 40), "giant"), ((1, 1), "tiny"), ((9000, 90), "gigantic")],
)
def test_nearest_architecture(size: tuple[int, int], name: str) -> None:
    assert nearest_architecture(*size).name == name

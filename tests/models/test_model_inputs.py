"""Inputs of world models, encoders, predictors and probes: accepted, or refused with what to do."""

from __future__ import annotations

import copy
import dataclasses
import io
import logging
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import planners
from tests.models.inference.test_rollout import context_of, drawn, model_of
from tests.models.test_world_model import pictures, tiny_model
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig, EncoderConfig, MaskedPredictorConfig, ProbeConfig
from vjepa_world.models.context import Context
from vjepa_world.models.encoder import PixelEncoder, VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.probe import build_probe
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.ops.tensor_checks import check_frames

FRAMES = pictures(2).unflatten(0, (1, 2))
STATES = torch.rand(1, 2, 7, generator=torch.Generator().manual_seed(1))

#: Frames that are not valid, and what the error says of them.
WRONG_FRAMES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "float in [0, 1]": (
        lambda f: f.float() / 255,
        r"float32 .* go from 0.* to \S*: \(.* \* 255\).round\(\).to",
    ),
    "float in [0, 255]": (
        lambda f: f.float(),
        r"float32 .*go from 0.* to 255: .*\.round\(\)\.to\(torch.uint8\)",
    ),
    "half": (lambda f: f.half() / 255, r"float16 .*\* 255\)"),
    "normalised": (lambda f: normalize_video(f), "float32 .*are not pixels: undo what normalised them"),
    "NaN": (lambda f: f.float() * torch.nan, "They have NaN or infinite entries"),
    "int8": (lambda f: f.to(torch.int8), "got [a-z ]+ as int8 .*scale .* to 0..255"),
    "int16": (lambda f: f.to(torch.int16) * 257, "got [a-z ]+ as int16 .*scale"),
    "int64": (lambda f: f.long(), "got [a-z ]+ as int64 .*scale"),
    "bool": (lambda f: f > 100, r"got [a-z ]+ as bool .*\* 255, if true is white"),
    "complex": (lambda f: f.to(torch.complex64), "got [a-z ]+ as complex64"),
    "grey": (lambda f: f[..., :1, :, :], r"has 1 channels; .*seems to be grey: .*\.expand\("),
    "RGBA": (
        lambda f: torch.cat([f, f[..., :1, :, :]], dim=-3),
        r"has 4 channels; .*transparency: .*\[\.\.\., :3",
    ),
    "channels last": (lambda f: f.movedim(-3, -1), r"channels seem to be last: .*\.permute\("),
    "two channels": (lambda f: f[..., :2, :, :], "has 2 channels"),
    "no batch": (lambda f: f[0], r"dimensions\): add the batch axis in front"),
    "an axis more": (lambda f: f[None], "dimensions"),
    "no pixels": (lambda f: f[..., :0], "hold no picture"),
    "an array": (lambda f: f.numpy(), r"got [a-z ]+ as numpy.ndarray; give a tensor .*: torch.from_numpy\("),
    "a list": (lambda f: f.tolist(), r"got [a-z ]+ as builtins.list; .*torch.as_tensor\("),
    "nothing": (lambda f: None, "got [a-z ]+ as builtins.NoneType"),
    "sparse": (lambda f: f.to_sparse(), r"torch.sparse_coo .*\.to_dense"),
    "no numbers": (lambda f: f.to("meta"), "on the meta device"),
}


@pytest.mark.parametrize("kind", WRONG_FRAMES)
def test_invalid_frames_are_refused_by_every_entry_point(kind: str) -> None:
    model = tiny_model()
    spoil, message = WRONG_FRAMES[kind]
    with pytest.raises(ConfigError, match=message):
        model.encode(spoil(FRAMES), STATES)
    for entry in (model.encode_goal, model.encode_frames, model.frozen_features, model.view_features):
        with pytest.raises(ConfigError, match=message):
            entry(spoil(FRAMES[0]))


@pytest.mark.parametrize(
    "kind", [k for k in WRONG_FRAMES if k not in ("no batch", "an axis more", "no pixels")]
)
def test_normalisation_accepts_uint8_only(kind: str) -> None:
    spoil, message = WRONG_FRAMES[kind]
    with pytest.raises(ConfigError, match=message):
        normalize_video(spoil(FRAMES))


def test_the_fix_that_the_error_suggests_gives_the_same_features() -> None:
    model = tiny_model()
    expected, scaled = model.encode_goal(FRAMES[0]), FRAMES[0].float() / 255
    for put_right in (
        (scaled * 255).round().to(torch.uint8),
        torch.from_numpy(FRAMES[0].numpy()),
        FRAMES[0].movedim(1, -1).permute(0, 3, 1, 2),
    ):
        assert torch.equal(model.encode_goal(put_right), expected)


def test_zero_frames_are_refused() -> None:
    with pytest.raises(ConfigError, match="hold no picture"):
        tiny_model().encode(FRAMES[:, :0], STATES[:, :0])


@pytest.mark.parametrize("size", [(48, 48), (48, 64), (48, 72), (64, 48)])
def test_one_cameras_picture_is_not_cut_into_two_views(size: tuple[int, int]) -> None:
    model = tiny_model(views=2)
    with pytest.raises(
        ConfigError, match="too narrow for this model's 2 views: one camera's picture would be cut"
    ):
        model.encode(pictures(1, size)[None], torch.zeros(1, 1, 7))
    with pytest.raises(ConfigError, match="too narrow for this model's 2 views"):
        model.encode_goal(pictures(1, size))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"states": STATES.tolist()}, "got states as builtins.list; give a tensor"),
        ({"states": STATES.numpy()}, r"got states as numpy.ndarray; .*torch.from_numpy\(states\)"),
        ({"states": STATES[0]}, r"got states of shape \[2, 7\]; give \[B, T, size\] .*add the batch axis"),
        ({"states": STATES > 0}, "got states as bool"),
        ({"states": STATES * torch.nan}, "states has NaN or infinite entries"),
        ({"states": STATES[:, :1]}, r"got states of shape \[1, 1, 7\] with 2 frames of 1 problems"),
        (
            {"states": STATES.expand(2, -1, -1)},
            r"got states of shape \[2, 2, 7\] with 2 frames of 1 problems",
        ),
        ({"actions": np.zeros((1, 1, 7))}, "got actions as numpy.ndarray"),
        ({"actions": torch.zeros(1, 2, 7)}, r"got actions of shape \[1, 2, 7\] with 2 frames"),
        ({"actions": torch.zeros(1, 1, 6)}, "got actions of size 6"),
        ({"extrinsics": torch.zeros(1, 2, 6)}, "takes no extrinsics"),
    ],
)
def test_invalid_states_actions_and_extrinsics_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_model().encode(**{"frames": FRAMES, "states": STATES, **given})


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_states_and_actions_may_have_any_format(dtype: torch.dtype) -> None:
    model = tiny_model()
    states, actions = (10 * STATES).to(dtype), drawn(1, 3, 2).mul(10).to(dtype)
    expected = model.rollout(model.encode(FRAMES, states.float()), actions.float())
    found = model.rollout(model.encode(FRAMES, states), actions)
    assert torch.equal(found, expected)
    assert found.dtype == torch.float32


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (torch.zeros(1, 0, 1, 7), "at least one sequence of at least one action"),
        (torch.zeros(1, 2, 0, 7), "at least one sequence of at least one action"),
        (torch.zeros(0, 2, 1, 7), "with a context of 1 problems"),
        (torch.zeros(1, 1, 7), r"got actions of shape \[1, 1, 7\]; give \[B, S, K, A\]"),
        (torch.zeros(1, 1, 1, 6), "got actions of size 6"),
        (torch.zeros(1, 1, 1, 7, dtype=torch.bool), "got actions as bool"),
        (torch.zeros(1, 1, 1, 7, dtype=torch.complex64), "got actions as complex64"),
        (torch.zeros(1, 1, 1, 7, device="meta"), "actions is on the meta device"),
        (torch.full((1, 1, 1, 7), torch.nan), "actions has NaN"),
        (np.zeros((1, 1, 1, 7)), "got actions as numpy.ndarray"),
        ([[[[0.0] * 7]]], "got actions as builtins.list"),
    ],
)
def test_invalid_actions_are_refused(actions: Any, message: str) -> None:
    model = tiny_model()
    seen = model.encode(FRAMES, STATES)
    for roll in (model.rollout, model.rollout_with_states):
        with pytest.raises(ConfigError, match=message):
            roll(seen, actions)


def test_a_context_of_something_else_is_refused() -> None:
    with pytest.raises(ConfigError, match="the context is a Tensor; give what this model's encode returned"):
        tiny_model().rollout(torch.zeros(1, 1, 4, 16), drawn(1, 1, 1))  # type: ignore[arg-type]


# Number formats.


@pytest.mark.parametrize("kind", ["one frame", "V-JEPA 2-AC", "AdaLN", "its cameras"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_models_of_every_format_imagine_and_keep_graphs(kind: str, dtype: torch.dtype) -> None:
    model, goal = model_of(kind), pictures(1, seed=5)
    actions = drawn(1, 3, 2)
    context = context_of(model, frames=2)
    model.action_low.copy_(torch.full((7,), -0.0751))
    expected, goal_features = model.rollout(context, actions), model.encode_goal(goal)
    model.to(dtype)
    seen = dataclasses.replace(context, features=context_of(model, frames=2).features)
    near: dict[str, Any] = (
        {"atol": 1e-4, "rtol": 1e-4} if dtype == torch.float64 else {"atol": 0.35, "rtol": 0.2}
    )
    torch.testing.assert_close(model.rollout(seen, actions), expected, **near)
    torch.testing.assert_close(model.encode_goal(goal), goal_features, **near)
    torch.testing.assert_close(
        model.rollout(seen, actions.clone().requires_grad_()).detach().float(), expected, **near
    )
    proposed, painted = model.propose(seen, model.encode_goal(goal), 2), model.picture(seen.features)
    assert proposed.dtype == torch.float32
    assert painted.dtype == torch.uint8
    assert torch.equal(model.action_low, torch.full((7,), -0.0751)), "bounds must not be rounded"


@pytest.mark.parametrize("dtype", ["x", "float32", torch.int32, torch.bool, torch.complex64, None, 32])
def test_unsupported_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(ConfigError, match=r"dtype is .*; allowed: torch.float32, torch.bfloat16"):
        tiny_model().prepare(dtype)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_rollouts_are_prepared_in_every_format(dtype: torch.dtype) -> None:
    model = tiny_model()
    seen, actions = model.encode(FRAMES, STATES), drawn(1, 3, 2)
    expected = model.rollout(seen, actions)
    found = model.prepare(dtype).rollout(seen, actions).float()
    torch.testing.assert_close(found, expected, atol=0.1, rtol=0.05)


def test_a_model_without_numbers_is_refused() -> None:
    model = tiny_model()
    seen = model.encode(FRAMES, STATES)
    model.to("meta")
    for work in (
        lambda: model.encode(FRAMES, STATES),
        lambda: model.encode_goal(FRAMES[0]),
        lambda: model.rollout(seen, drawn(1, 1, 1)),
    ):
        with pytest.raises(ConfigError, match="weights are on the meta device"):
            work()


# Encoders, predictors and probes.

ENCODER = EncoderConfig(image_size=32, patch_size=8, num_frames=2, embed_dim=16, depth=1, num_heads=2)
VIDEO = normalize_video(FRAMES)

WRONG_VIDEOS: dict[str, tuple[Callable[[], Any], str]] = {
    "bytes": (lambda: FRAMES, "got video as uint8 .*normalize_video"),
    "not normalised": (
        lambda: FRAMES.float(),
        "goes from 0 to 255, which is not normalised; .*normalize_video",
    ),
    "no batch": (lambda: VIDEO[0], r"give float \[B, T, C, H, W\], .*add the batch axis in front"),
    "channels last": (
        lambda: VIDEO.movedim(2, -1),
        r"channels seem to be last: video.permute\(0, 1, 4, 2, 3\)",
    ),
    "channels first": (lambda: VIDEO.transpose(1, 2), "has 2 channels"),
    "grey": (lambda: VIDEO[:, :, :1], "seems to be grey"),
    "NaN": (lambda: VIDEO * torch.nan, "video has NaN or infinite entries"),
    "no frame": (lambda: VIDEO[:, :0], "holds no frame"),
    "an array": (lambda: VIDEO.numpy(), "got video as numpy.ndarray"),
    "integers": (lambda: VIDEO.long(), "got video as int64"),
    "complex": (lambda: VIDEO.to(torch.complex64), "got video as complex64"),
}


@pytest.mark.parametrize("encoder", [VideoEncoder, PixelEncoder])
@pytest.mark.parametrize("kind", WRONG_VIDEOS)
def test_invalid_videos_are_refused(encoder: Callable[[EncoderConfig], nn.Module], kind: str) -> None:
    spoil, message = WRONG_VIDEOS[kind]
    with pytest.raises(ConfigError, match=message):
        encoder(ENCODER)(spoil())


def test_pixels_that_were_scaled_and_not_normalised_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    encoder = VideoEncoder(ENCODER)
    with caplog.at_level(logging.WARNING):
        encoder(VIDEO)
        encoder(torch.zeros(1, 2, 3, 32, 32))
        assert not caplog.records
        encoder(FRAMES.float() / 255)
    assert "pixels do that were scaled but not normalised" in caplog.text


@pytest.mark.parametrize(
    ("visible", "message"),
    [
        (
            torch.tensor([[0, 16]]),
            "visible go from 0 to 16, and there are 16 tokens; give indices from 0 to 15",
        ),
        (torch.tensor([[-1, 3]]), "visible go from -1 to 3"),
        (torch.tensor([0, 1]), r"got visible as int64 \[2\] for a batch of 1"),
        (torch.zeros(2, 3, dtype=torch.int64), "for a batch of 1"),
        (torch.ones(1, 16, dtype=torch.bool), "got visible as bool"),
        ([[0]], "got visible as builtins.list"),
    ],
)
def test_invalid_visible_tokens_are_refused(visible: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VideoEncoder(ENCODER)(VIDEO, visible)


@pytest.mark.parametrize("positions", ["tiled", "sincos"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_encoders_predictors_and_probes_of_every_format_read_float32(
    dtype: torch.dtype, positions: str
) -> None:
    torch.manual_seed(0)
    encoder = VideoEncoder(dataclasses.replace(ENCODER, positions=positions))
    predictor = MaskedPredictor(MaskedPredictorConfig(embed_dim=24, depth=1, num_heads=2), 16)
    probes = [
        build_probe(ProbeConfig(kind=kind, embed_dim=16, num_heads=2, depth=2))
        for kind in ("attentive", "linear")
    ]
    context, target = torch.arange(12)[None], torch.arange(12, 16)[None]

    def outputs(features: Tensor) -> list[Tensor]:
        hidden = predictor(features[:, :12], context, target, (1, 4, 4), 0)
        return [encoder(VIDEO), hidden, *(probe(features) for probe in probes)]

    features = encoder(VIDEO)
    expected = outputs(features)
    for module in (encoder, predictor, *probes):
        module.to(dtype)
    for found, wanted in zip(outputs(features), expected, strict=True):
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), wanted, atol=0.05, rtol=0.05)


def test_masked_predictors_and_probes_refuse_features_of_another_encoder() -> None:
    predictor = MaskedPredictor(MaskedPredictorConfig(embed_dim=24, depth=1, num_heads=2), 16)
    good, context, target = (
        torch.zeros(2, 3, 16),
        torch.arange(3).expand(2, -1),
        torch.arange(3, 5).expand(2, -1),
    )
    for given, message in (
        ((torch.zeros(2, 3, 8), context, target), r"got features as float32 \[2, 3, 8\]; .* D=16"),
        ((good.long(), context, target), "got features as int64"),
        ((good[0], context, target), r"got features as float32 \[3, 16\]"),
        ((good, context + 14, target), "context go from 14 to 16, and there are 16 tokens"),
        ((good, context, target - 9), "target go from -6"),
        ((good, context[:, :2], target), "got 3 features with 2 context indices"),
        ((good, context.float(), target), "got context as float32"),
    ):
        with pytest.raises(ConfigError, match=message):
            predictor(*given, (1, 4, 4), 0)
    with pytest.raises(ConfigError, match="has no projection of context tokens"):
        predictor.dense(good, context, target, (1, 4, 4), 0)
    for kind in ("attentive", "linear"):
        probe = build_probe(ProbeConfig(kind=kind, embed_dim=16, num_heads=2, depth=2))
        for wrong in (
            torch.zeros(2, 3, 8),
            torch.zeros(3, 16),
            torch.zeros(2, 3, 16).long(),
            np.zeros((2, 3, 16)),
        ):
            with pytest.raises(ConfigError, match="got features as"):
                probe(wrong)


# Hidden state.


def test_a_context_keeps_its_embodiment() -> None:
    model = model_of("one frame", embodiments=(EmbodimentConfig(name="a"), EmbodimentConfig(name="b")))
    model.predictor.robot("a").action_low.fill_(-0.1)
    model.predictor.robot("a").action_high.fill_(0.1)
    seen, goal, actions = context_of(model), model.encode_goal(pictures(1, seed=2)), drawn(1, 3, 2)
    assert seen.embodiment == "a"
    cem = planners.CEM(model, energy=planners.GoalL1(), num_samples=8, num_iterations=2, num_elites=4)

    def answers() -> list[Tensor]:
        graph = model.rollout(seen, actions.clone().requires_grad_()).detach()
        plan = cem.plan(seen, goal, generators=planners.make_generators([0]))
        return [
            model.rollout(seen, actions),
            model.rollout_sequences(seen, actions[:, 0]),
            graph,
            model.propose(seen, goal, 2),
            plan.actions,
            plan.energy,
        ]

    before = answers()
    assert torch.equal(model.rollout(dataclasses.replace(seen, embodiment=None), actions), before[0])
    other = dataclasses.replace(seen, embodiment="b")
    assert not torch.equal(model.rollout(other, actions), before[0])
    assert torch.equal(model.for_context(other).action_low, model.predictor.robot("b").action_low)
    for mine, theirs in zip(answers(), before, strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(ConfigError, match="embodiment 'c' is not known"):
        model.rollout(dataclasses.replace(seen, embodiment="c"), actions)


WRITES: dict[str, Callable[[nn.Parameter], object]] = {
    "a NumPy view": lambda p: p.detach().numpy().__imul__(0.9),
    ".data": lambda p: p.data.mul_(0.9),
    "negation": lambda p: p.data.neg_(),
    "one number": lambda p: p.data.view(-1)[:1].add_(1.0),
}


@pytest.mark.parametrize("which", ["all", "biases", "matrices", "norms", "embodiments"])
@pytest.mark.parametrize("kind", ["one frame", "its cameras"])
@pytest.mark.parametrize("write", WRITES)
def test_a_rollout_never_mixes_old_and_new_weights(write: str, kind: str, which: str) -> None:
    model, actions = model_of(kind), drawn(1, 3, 2)
    context = context_of(model, frames=2)
    old = model.rollout(context, actions).clone()
    chosen = {
        "all": lambda name, p: True,
        "biases": lambda name, p: name.endswith("bias"),
        "matrices": lambda name, p: p.ndim > 1,
        "norms": lambda name, p: "norm" in name,
        "embodiments": lambda name, p: "embodiments" in name,
    }[which]
    for name, parameter in model.predictor.named_parameters():
        if chosen(name, parameter):
            WRITES[write](parameter)
    assert torch.equal(model.rollout(context, actions), old), "of the same context all is as before"
    fresh = model.rollout(dataclasses.replace(context), actions)
    new = model.prepare(torch.float32).rollout(context, actions)
    assert torch.equal(fresh, new)
    assert not torch.equal(new, old)


CHANGES: dict[str, Callable[[LatentWorldModel], object]] = {
    "load_state_dict": lambda m: m.load_state_dict({n: t * 0.9 for n, t in m.state_dict().items()}),
    "assigned": lambda m: m.load_state_dict({n: t * 0.9 for n, t in m.state_dict().items()}, assign=True),
    "half": lambda m: m.half(),
    "and back": lambda m: m.half().float(),
    "to bfloat16": lambda m: m.to(torch.bfloat16),
    "trained": lambda m: [p.requires_grad_().data.add_(0.01) for p in m.train().predictor.parameters()],
    "nothing": lambda m: m.eval().requires_grad_(True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_rollouts_do_not_affect_later_changes_of_the_model(change: str) -> None:
    used, unused = model_of("one frame"), model_of("one frame")
    context, actions = context_of(used), drawn(1, 3, 2)
    used.rollout(context, actions)
    for model in (used, unused):
        CHANGES[change](model)
    again = dataclasses.replace(context)
    assert torch.equal(used.rollout(again, actions), unused.rollout(again, actions))


def test_a_modified_context_is_prepared_again() -> None:
    model, actions = model_of("V-JEPA 2-AC"), drawn(1, 3, 2)
    context = context_of(model, frames=2)
    model.rollout(context, actions)
    context.states.add_(0.1)
    assert torch.equal(model.rollout(context, actions), model.rollout(dataclasses.replace(context), actions))


def stored(thing: Any) -> Any:
    file = io.BytesIO()
    torch.save(thing, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "copied",
    [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), stored],
    ids=["deepcopy", "pickle", "save"],
)
def test_a_model_is_copied_after_it_has_imagined(copied: Callable[[Any], Any], dtype: torch.dtype) -> None:
    model, actions = model_of("V-JEPA 2-AC").prepare(dtype), drawn(1, 3, 2)
    context = context_of(model, frames=2)
    model.action_low.fill_(-0.1)
    model.action_high.fill_(0.1)
    expected = model.rollout(context, actions)
    same = copied(model)
    assert torch.equal(same.rollout(context, actions), expected)
    with torch.no_grad():
        for parameter in same.predictor.parameters():
            parameter.mul_(0.5)
    assert not torch.equal(same.rollout(context, actions), expected)
    assert torch.equal(model.rollout(dataclasses.replace(context), actions), expected)
    cem = planners.CEM(model, energy=planners.GoalL1(), num_samples=8, num_iterations=2, num_elites=4)
    goal = model.encode_goal(pictures(1, seed=2))
    plan = cem.plan(context, goal, generators=planners.make_generators([0]))
    again = copied(cem).plan(context, goal, generators=planners.make_generators([0]))
    assert torch.equal(plan.actions, again.actions)


def test_a_context_is_copied_and_stored() -> None:
    model = tiny_model()
    seen = model.encode(FRAMES, STATES)
    for same in (copy.deepcopy(seen), pickle.loads(pickle.dumps(seen))):
        assert isinstance(same, Context)
        assert torch.equal(model.rollout(same, drawn(1, 2, 1)), model.rollout(seen, drawn(1, 2, 1)))


@pytest.mark.parametrize("size", [(48, 27), (96, 54), (854, 480)])
def test_a_wide_picture_of_one_camera_is_not_cut_into_two_views(size: tuple[int, int]) -> None:
    width, height = size
    with pytest.raises(ConfigError, match="one camera's picture would be cut into 2"):
        check_frames(torch.zeros(1, 3, height, width, dtype=torch.uint8), "[B, C, H, W]", views=2)


def test_tensors_that_hold_no_usable_numbers_are_refused() -> None:
    model = tiny_model()
    nested = torch.nested.nested_tensor([FRAMES[0]])
    with pytest.raises(ConfigError, match=r"got \w+ as a nested tensor"):
        model.encode(nested, STATES)
    with pytest.raises(ConfigError, match=r"got \w+ as float8"):
        model.encode(FRAMES, STATES.to(torch.float8_e4m3fn))
    with pytest.raises(ConfigError, match="up to 1e\\+300, and float32"):
        model.encode(FRAMES, torch.full((1, 2, 7), 1e300, dtype=torch.float64))
    with pytest.raises(ConfigError, match="got features as numpy.ndarray"):
        Context(np.zeros((1, 1, 4, 16)), STATES[:, :1])  # type: ignore[arg-type]
    seen = model.encode(FRAMES, STATES)
    with pytest.raises(ConfigError, match="have .2, 16. tokens and channels, and this model's .4, 16."):
        model.rollout(dataclasses.replace(seen, features=seen.features[:, :, :2]), drawn(1, 2, 1))


def test_a_linear_probe_standardises_half_precision_features_in_float32() -> None:
    """With an offset of 8, a deviation of 0.05 is lost if the mean token is rounded to bfloat16."""
    probe = build_probe(ProbeConfig(kind="linear", embed_dim=24, num_outputs=3))
    tokens = torch.randn(64, 10, 24, generator=torch.Generator().manual_seed(0)) * 0.05 + 8
    probe.set_statistics(tokens.mean(dim=1))  # type: ignore[operator]
    rounded = tokens.bfloat16()
    assert torch.allclose(probe(rounded), probe(rounded.float()), atol=1e-5)
    for wrong, words in ((tokens[:, :0], "have no tokens"), (tokens * torch.nan, "NaN or infinite")):
        with pytest.raises(ConfigError, match=words):
            probe(wrong)


def test_a_replaced_predictor_is_used() -> None:
    model, actions = model_of("one frame"), drawn(1, 3, 2)
    context = context_of(model)
    before = model.rollout(context, actions)
    model.predictor = copy.deepcopy(model.predictor)
    with torch.no_grad():
        for parameter in model.predictor.parameters():
            parameter.mul_(0.5)
    after = model.rollout(context, actions)
    assert not torch.equal(after, before)
    assert torch.equal(after, copy.deepcopy(model).rollout(context, actions))


def test_permuted_weights_are_detected_without_the_version_counter() -> None:
    """A permutation of its rows does not change the sum of a matrix."""
    model, actions = model_of("one frame"), drawn(1, 3, 2)
    context = context_of(model)
    before = model.rollout(context, actions)
    weight = model.predictor.predictor_proj.weight
    weight.data.copy_(weight.data.flip(0))
    after = model.rollout(dataclasses.replace(context), actions)
    assert not torch.equal(after, before)
    assert torch.equal(after, copy.deepcopy(model).rollout(context, actions))


def test_a_context_modified_through_numpy_is_prepared_again() -> None:
    model, actions = model_of("one frame"), drawn(1, 3, 2)
    context = context_of(model)
    model.rollout(context, actions)
    context.features.numpy()[:] *= 0.5
    assert torch.equal(model.rollout(context, actions), model.rollout(dataclasses.replace(context), actions))


def test_autocast_does_not_affect_later_rollouts() -> None:
    model, actions = model_of("one frame"), drawn(1, 3, 2)
    context = context_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        under = model.rollout(context, actions)
    assert torch.equal(model.rollout(context, actions), under)
    assert torch.equal(copy.deepcopy(model).rollout(context, actions), under)

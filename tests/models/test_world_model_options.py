"""Options of a world model: views, learned tokens, robots, extrinsics, auxiliary heads."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.models import reference
from tests.models.test_world_model import CONFIG, context, pictures, tiny_model
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import (
    DecoderConfig,
    EmbodimentConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.context import Context
from vjepa_world.models.world_model import LatentWorldModel

QUERIES = LatentsConfig(kind="queries", side=2, embed_dim=24, num_heads=2)
ROBOTS = (EmbodimentConfig(name="arm"), EmbodimentConfig(name="cart", action_dim=2, state_dim=5))


def with_predictor(**changes: Any) -> dict[str, Any]:
    return {"predictor": dataclasses.replace(CONFIG.predictor, **changes)}


@pytest.mark.parametrize("latents", [LatentsConfig(side=2), LatentsConfig(kind="none"), QUERIES])
def test_views_are_encoded_separately_and_concatenated(latents: LatentsConfig) -> None:
    two, one = tiny_model(views=2, latents=latents), tiny_model(views=1, latents=latents)
    for part in ("encoder", "latents"):
        if getattr(one, part) is not None:
            getattr(one, part).load_state_dict(getattr(two, part).state_dict())
    left, right = pictures(3, (48, 40), seed=1), pictures(3, (48, 40), seed=2)
    features = two.encode_frames(torch.cat([left, right], dim=-1))
    side = one.config.side
    assert two.config.grid == (side, 2 * side)
    maps = features.unflatten(1, two.config.grid)
    for view, picture in ((maps[:, :, :side], left), (maps[:, :, side:], right)):
        expected = one.encode_frames(picture)
        torch.testing.assert_close(view.flatten(1, 2), expected, atol=1e-5, rtol=1e-4)
    with pytest.raises(ConfigError, match="frames 81 pixels wide do not divide into 2 views"):
        two.encode_frames(pictures(1, (48, 81)))


def test_two_views_are_imagined_on_one_grid() -> None:
    model = tiny_model(views=2)
    seen = model.encode(pictures(2, (32, 64))[:, None], torch.rand(2, 1, 7))
    assert seen.features.shape == (2, 1, 8, 16)
    assert model.rollout(seen, torch.zeros(2, 3, 2, 7)).shape == (2, 3, 2, 8, 16)
    assert model.picture(seen.features).shape == (2, 1, 3, 8, 16)


def test_learned_tokens_depend_only_on_the_frozen_features() -> None:
    model, frames = tiny_model(latents=QUERIES), pictures(3)
    frozen = model.frozen_features(frames)
    assert frozen.shape == (3, 16, 16)
    tokens = model.encode_frames(frames)
    assert torch.equal(tokens, model.compact(frozen))
    torch.testing.assert_close(F.layer_norm(tokens, (16,)), tokens, atol=1e-4, rtol=0)
    assert model.latents is not None and model.latents.reconstruct(tokens).shape == frozen.shape
    assert sorted(model.trained()) == ["decoder", "inverse", "latents", "predictor"]
    assert model.rollout(context(model), torch.zeros(2, 1, 2, 7)).shape == (2, 1, 2, 4, 16)
    pooled = tiny_model()
    assert pooled.latents is None and torch.equal(pooled.compact(frozen), frozen)


def test_gradients_reach_the_queries_through_the_predictor_but_never_the_encoder() -> None:
    torch.manual_seed(0)
    model = LatentWorldModel(dataclasses.replace(CONFIG, latents=QUERIES))
    reference.randomise(model, seed=1)
    tokens = model.compact(model.frozen_features(pictures(2)))
    model.predictor(tokens, torch.zeros(2, 1, 7), torch.zeros(2, 1, 7)).square().sum().backward()
    assert model.latents is not None
    gradient = model.latents.queries.grad
    assert gradient is not None and bool(gradient.any())
    assert all(p.grad is None for p in model.encoder.parameters())


def test_a_context_is_of_one_of_several_robots() -> None:
    model = tiny_model(embodiments=ROBOTS)
    assert (model.embodiment, len(model.action_low)) == ("arm", 7)
    assert context(model).embodiment == "arm"
    seen = context(model, embodiment="cart")
    assert seen.embodiment == "cart"
    assert seen.states.shape == (2, 1, 5)
    view = model.for_context(seen)
    assert (len(view.action_low), len(view.action_high)) == (2, 2)
    assert view.encode(pictures(1)[None], torch.zeros(1, 1, 5)).embodiment == "cart"
    assert (model.embodiment, len(model.action_low)) == ("arm", 7), "nothing was switched"
    assert model.rollout(seen, torch.zeros(2, 3, 1, 2)).shape == (2, 3, 1, 4, 16)
    with pytest.raises(ConfigError, match="embodiment 'cart' has actions of size 2 .* got actions of size 7"):
        model.rollout(seen, torch.zeros(2, 3, 1, 7))
    with pytest.raises(
        CheckpointError, match="'cart' .actions of size 2. was trained with states of size 5, got 7"
    ):
        model.encode(pictures(1)[None], torch.zeros(1, 1, 7), embodiment="cart")
    with pytest.raises(ConfigError, match="embodiment 'leg' is not known; allowed: arm, cart"):
        model.encode(pictures(1)[None], torch.zeros(1, 1, 7), embodiment="leg")
    with pytest.raises(ConfigError, match="embodiment 'leg' is not known; allowed: arm, cart"):
        model.config.with_default("leg")


@pytest.mark.parametrize("condition", ["tokens", "adaln"])
@pytest.mark.parametrize("context_frames", [0, 1])
def test_states_without_a_rule_are_imagined_too(condition: str, context_frames: int) -> None:
    predictor = with_predictor(condition=condition, context_frames=context_frames, predict_state=True)
    model = tiny_model(embodiments=(EmbodimentConfig(action_dim=2, state_dim=5),), **predictor)
    robot = model.predictor.robot()
    robot.state_std.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(0))
    seen = context(model)
    actions = torch.randn(2, 2, 3, 2, generator=torch.Generator().manual_seed(1))
    imagined = model.rollout(seen, actions)
    for problem in range(2):
        for sample in range(2):
            features, state, cache = seen.features[problem], seen.states[problem], None
            for step in range(3):
                given = features, actions[problem, sample, step][None], state
                features, state, cache = model.predictor.step_with_state(*given, cache=cache)
                torch.testing.assert_close(imagined[problem, sample, step], features[0], atol=1e-4, rtol=1e-4)


def test_predicted_states_are_a_rules_with_a_learned_correction() -> None:
    """A rule does not know that fingers stop at an object; without training the two are the same."""
    model = tiny_model(**with_predictor(predict_state=True))
    seen, actions = context(model), torch.full((2, 1, 3, 7), 0.1)
    head = model.predictor.robot().state_head
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    _, states = model.rollout_with_states(seen, actions)
    _, ruled = tiny_model(**with_predictor(predict_state=False)).rollout_with_states(seen, actions)
    torch.testing.assert_close(states, ruled)
    head.bias.data[6] = -0.1  # fingers that do not close
    _, corrected = model.prepare(torch.float32).rollout_with_states(seen, actions)
    torch.testing.assert_close(corrected[..., :6], ruled[..., :6])
    stay = seen.states[:, -1, None, None, 6].expand_as(corrected[..., 6])
    torch.testing.assert_close(corrected[..., 6], stay)


def test_without_rule_or_prediction_the_error_says_what_to_train() -> None:
    model = tiny_model(embodiments=(EmbodimentConfig(state_dim=9),))
    with pytest.raises(ConfigError, match="fine-tune one with predictor.predict_state=true"):
        model.rollout(context(model), torch.zeros(2, 1, 2, 7))


@pytest.mark.parametrize("condition", ["tokens", "adaln"])
def test_rollouts_repeat_the_last_extrinsics(condition: str) -> None:
    predictor = with_predictor(condition=condition, context_frames=1, extrinsics_dim=6, use_extrinsics=True)
    model = tiny_model(**predictor)
    frames, states = pictures(4).unflatten(0, (2, 2)), torch.rand(2, 2, 7)
    cameras = torch.randn(2, 2, 6, generator=torch.Generator().manual_seed(2))
    seen = model.encode(frames, states, cameras)
    actions = torch.zeros(2, 3, 2, 7)
    imagined = model.rollout(seen, actions)
    earlier = cameras.clone()
    earlier[:, 0] += 1
    later = cameras.clone()
    later[:, 1] += 1
    assert torch.equal(model.rollout(model.encode(frames, states, earlier), actions), imagined)
    moved = model.rollout(model.encode(frames, states, later), actions)
    assert (moved - imagined).abs().amax(dim=(0, 1, 3, 4)).min() > 1e-3
    with pytest.raises(ConfigError, match="this predictor needs the camera's extrinsics"):
        model.encode(frames, states)
    with pytest.raises(ConfigError, match="takes extrinsics of size 6, got 7"):
        model.encode(frames, states, torch.zeros(2, 2, 7))
    with pytest.raises(ConfigError, match="takes no extrinsics"):
        tiny_model().encode(frames, states, cameras)


def proposing_model(**changes: Any) -> LatentWorldModel:
    model = tiny_model(inverse=InverseConfig(horizon=2, embed_dim=16, depth=1, num_heads=2), **changes)
    robot = model.predictor.robot()
    robot.action_mean.copy_(torch.linspace(-0.1, 0.1, robot.config.action_dim))
    robot.action_std.fill_(0.02)
    robot.state_mean.fill_(0.5)
    robot.state_std.fill_(0.3)
    return model


def inverse_words(model: LatentWorldModel, seen: Context, goal: Tensor, steps: int) -> Tensor:
    """The inverse model's output, in the data's units."""
    robot = model.predictor.robot()
    assert model.inverse is not None
    state = (seen.states[:, -1] - 0.5) / 0.3
    rows = [slice(row, row + 1) for row in range(len(goal))]  # one problem at a time, as on every CPU
    answers = [
        model.inverse(seen.features[row, -1], goal[row], state[row], torch.tensor([steps]), model.embodiment)
        for row in rows
    ]
    return torch.cat(answers)[:, :steps] * 0.02 + robot.action_mean


@pytest.mark.parametrize("horizon", [1, 2, 4])
def test_proposals_are_the_inverse_models_in_the_datas_units(horizon: int) -> None:
    model = proposing_model()
    seen, goal = context(model, frames=2), model.encode_goal(pictures(2, seed=9))
    proposed = model.propose(seen, goal, horizon)
    assert proposed.shape == (2, horizon, 7)
    known = min(horizon, 2)
    torch.testing.assert_close(proposed[:, :known], inverse_words(model, seen, goal, known))
    assert not proposed[:, known:].any()


def test_proposals_never_leave_the_bounds() -> None:
    model = proposing_model()
    robot = model.predictor.robot()
    robot.action_low.copy_(torch.linspace(-0.05, 0.02, 7))
    robot.action_high.copy_(torch.linspace(-0.01, 0.02, 7))
    seen, goal = context(model), model.encode_goal(pictures(2, seed=9))
    proposed = model.propose(seen, goal, 3)
    assert bool((proposed >= model.action_low).all() and (proposed <= model.action_high).all())
    nearest_to_rest = torch.zeros(7).clamp(model.action_low, model.action_high)
    assert torch.equal(proposed[:, 2], nearest_to_rest.expand(2, 7))
    unbounded = inverse_words(model, seen, goal, 2)
    assert torch.equal(proposed[:, :2], unbounded.clamp(model.action_low, model.action_high))


def test_a_model_may_have_no_heads() -> None:
    model = tiny_model(inverse=InverseConfig(horizon=0), decoder=DecoderConfig(image_size=0))
    assert model.inverse is None and model.decoder is None
    assert list(model.trained()) == ["predictor"]
    seen = context(model)
    with pytest.raises(ConfigError, match="no inverse model; fine-tune one with inverse.horizon"):
        model.propose(seen, seen.features[:, 0], 1)
    with pytest.raises(ConfigError, match="no decoder; fine-tune one with decoder.image_size"):
        model.picture(seen.features)


def test_decoded_images_are_uint8() -> None:
    model = tiny_model()
    features = torch.randn(2, 3, 5, 4, 16, generator=torch.Generator().manual_seed(0))
    shown = model.picture(features)
    assert shown.dtype == torch.uint8 and shown.shape == (2, 3, 5, 3, 8, 8)
    assert model.decoder is not None
    painted = model.decoder(features[1, 2])
    assert (shown[1, 2].float() / 255 - painted).abs().max() <= 0.5 / 255 + 1e-6
    assert torch.equal(model.picture(features[1, 2, 3]), shown[1, 2, 3])


def test_new_parts_do_not_change_how_the_predictor_starts() -> None:
    """A run's loss curve must not depend on the auxiliary heads."""
    models = []
    for changes in ({}, {"inverse": InverseConfig(horizon=0), "decoder": DecoderConfig(image_size=0)}):
        torch.manual_seed(5)
        config: WorldModelConfig = dataclasses.replace(CONFIG, **changes)  # type: ignore[arg-type]
        models.append(LatentWorldModel(config).predictor.state_dict())
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])

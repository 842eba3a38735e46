"""Cached rollouts against the predictor without a cache."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

import planners
import vjepa_world
from tests.models import reference
from tests.models.test_world_model import CONFIG, pictures, tiny_model
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig, LatentsConfig
from vjepa_world.models.context import Context, StepInput
from vjepa_world.models.inference import cached_rollout
from vjepa_world.models.inference.kv_cache import KVCache
from vjepa_world.models.inference.micro_batch import samples_that_fit
from vjepa_world.models.state_transition import actions_between, advance_state
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.pose import pose_delta

#: V-JEPA 2-AC's kind of predictor.
AC: dict[str, Any] = {"residual": False, "context_frames": 0, "normalize": True, "wrap_angles": True}

KINDS: dict[str, dict[str, Any]] = {
    "V-JEPA 2-AC": AC,
    "its cameras": {**AC, "extrinsics_dim": 6, "use_extrinsics": True},
    "true rotations": {**AC, "positions": "interleaved"},
    "residual": {"context_frames": 0},
    "one frame": {},
    "AdaLN": {"condition": "adaln", "context_frames": 0},
    "AdaLN, one frame": {"condition": "adaln"},
}


def model_of(kind: str, **changes: Any) -> LatentWorldModel:
    config = dataclasses.replace(CONFIG.predictor, embed_dim=48, depth=3, **KINDS[kind])
    return tiny_model(predictor=config, **changes)


def context_of(model: LatentWorldModel, problems: int = 1, frames: int = 1) -> Context:
    generator = torch.Generator().manual_seed(3)
    states = torch.rand(problems, frames, 7, generator=generator)
    cameras = torch.randn(problems, frames, 6, generator=generator)
    given = (cameras,) if model.config.predictor.use_extrinsics else ()
    actions = 0.1 * torch.randn(problems, frames - 1, 7, generator=generator)
    seen = model.encode(pictures(problems * frames).unflatten(0, (problems, frames)), states, *given)
    return dataclasses.replace(seen, actions=actions)


def drawn(problems: int, samples: int, steps: int, seed: int = 4) -> Tensor:
    return 0.1 * torch.randn(problems, samples, steps, 7, generator=torch.Generator().manual_seed(seed))


def plainly(model: LatentWorldModel, context: Context, problem: int, actions: Tensor) -> Tensor:
    """One sequence `[K, A]`, without a cache, with the predictor's forward pass at each step: `[K, N, D]`."""
    predictor, wrap, robot = model.predictor, model.config.predictor.wrap_angles, context.embodiment
    first = context.features.shape[1] - 1 if model.config.predictor.context_frames == 1 else 0
    features = list(context.features[problem, first:])
    states = list(context.states[problem, first:])
    done = [] if context.actions is None else list(context.actions[problem, first:])
    cameras = [] if context.extrinsics is None else list(context.extrinsics[problem, first:])
    imagined = []
    for action in actions:
        done.append(action)
        given = torch.cat(features)[None], torch.stack(done)[None], torch.stack(states)[None]
        seen = torch.stack(cameras)[None] if cameras else None
        predicted = predictor(*given, seen, embodiment=robot)[0]
        newest = predictor.normalize_prediction(predicted.unflatten(0, (len(done), -1))[-1])
        imagined.append(newest)
        features.append(newest)
        states.append(advance_state(states[-1], action, wrap=wrap))
        cameras = [*cameras, cameras[-1]] if cameras else []
    return torch.stack(imagined)


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_the_fast_rollout_equals_the_plain_one(kind: str, frames: int) -> None:
    model = model_of(kind)
    context, actions = context_of(model, problems=2, frames=frames), drawn(2, 5, 3)
    imagined = model.rollout(context, actions)
    for problem in range(2):
        for sample in range(5):
            expected = plainly(model, context, problem, actions[problem, sample])
            reference.assert_close(imagined[problem, sample], expected, 1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_rollout_that_keeps_the_graph_equals_it_too(kind: str) -> None:
    model = model_of(kind)
    context, actions = context_of(model, problems=2, frames=2), drawn(2, 3, 2)
    imagined = model.rollout(context, actions.clone().requires_grad_())
    assert imagined.requires_grad
    reference.assert_close(imagined.detach(), model.rollout(context, actions), 1e-5)


def test_the_rollouts_gradient_equals_finite_differences() -> None:
    model = model_of("V-JEPA 2-AC")
    seen = context_of(model, frames=2)
    context = Context(seen.features.double(), seen.states.double(), None, seen.actions)
    model.double()
    actions = drawn(1, 1, 2).double().requires_grad_()
    weights = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    (gradient,) = torch.autograd.grad((model.rollout(context, actions)[0, 0] * weights).sum(), actions)
    for step, axis in ((0, 0), (0, 4), (1, 2), (1, 6)):
        moved = []
        for change in (2e-3, -2e-3):
            shifted = actions.detach().clone()
            shifted[0, 0, step, axis] += change
            shifted.requires_grad_()
            moved.append((model.rollout(context, shifted)[0, 0] * weights).sum().item())
        slope = (moved[0] - moved[1]) / 4e-3  # positions are turned in float32 whatever the format
        assert gradient[0, 0, step, axis].item() == pytest.approx(slope, rel=2e-3, abs=2e-4)


def test_sharing_the_first_step_does_not_change_the_rollout() -> None:
    """The first layer's shared part against the same step with every token computed for every sample."""
    model = model_of("V-JEPA 2-AC")
    context, actions = context_of(model, frames=3), drawn(1, 4, 1)[0, :, 0]
    copy = model._cached_rollout.copy_for(context)
    robot = copy.robot(None)
    *past, frame = context.step_inputs(slice(0, 1), model.config.predictor, EmbodimentConfig())
    cache = copy.prefill(past, robot)
    first_step = copy.share_first_step(frame, cache, robot)
    assert first_step is not None
    shared, after = copy.first_step(first_step, actions, cache, robot)
    apart = StepInput(frame.features.expand(4, -1, -1), actions, frame.states.expand(4, -1), None)
    whole, after_whole = copy.step(apart, cache, robot)
    reference.assert_close(shared, whole, 1e-5)
    for mine, theirs in zip(after.own, after_whole.own, strict=True):
        reference.assert_close(mine.keys, theirs.keys, 1e-5)
        reference.assert_close(mine.values, theirs.values, 1e-5)


def test_the_past_is_cached_once_for_all_samples() -> None:
    model = model_of("V-JEPA 2-AC")
    context = context_of(model, frames=4)
    copy = model._cached_rollout.copy_for(context)
    *past, _ = context.step_inputs(slice(0, 1), model.config.predictor, EmbodimentConfig())
    cache = copy.prefill(past, copy.robot(None))
    heads, tokens = 2, 6  # a frame's 4 patches, its action and its state
    assert [layer.keys.shape for layer in cache.shared] == [(heads, 1, 3 * tokens, 24)] * 3
    assert cache.steps == 3
    other = model_of("one frame")
    copy = other._cached_rollout.copy_for(context_of(other))
    assert copy.prefill(past, copy.robot(None)) == KVCache()


@pytest.mark.parametrize("kind", ["V-JEPA 2-AC", "one frame"])
def test_a_plan_does_not_depend_on_the_batch(kind: str) -> None:
    model = model_of(kind)
    context, goal = context_of(model, problems=16, frames=2), model.encode_goal(pictures(16, seed=9))
    seeds = list(range(16))

    def planned(positions: slice) -> planners.Plan:
        part = Context(
            context.features[positions],
            context.states[positions],
            None,
            None if context.actions is None else context.actions[positions],
        )
        cem = planners.CEM(
            model, energy=planners.GoalL1(), horizon=2, num_samples=12, num_iterations=3, num_elites=4
        )
        return cem.plan(part, goal[positions], generators=planners.make_generators(seeds[positions]))

    together = planned(slice(None))
    for b in (0, 7, 15):
        alone = planned(slice(b, b + 1))
        assert torch.equal(alone.actions[0], together.actions[b])
        assert torch.equal(alone.energy[0], together.energy[b])


def test_many_problems_of_one_sequence_are_imagined_in_one_batch() -> None:
    model = model_of("V-JEPA 2-AC")
    context, actions = context_of(model, problems=5), drawn(5, 1, 3)
    reference.assert_close(
        model.rollout_sequences(context, actions[:, 0]), model.rollout(context, actions)[:, 0], 1e-5
    )


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_problems_in_one_batch_are_predicted_as_one_at_a_time(kind: str, frames: int) -> None:
    """As on a GPU. The tolerance is that of the plain rollout: only the order of float32 sums differs."""
    model = model_of(kind)
    context, actions = context_of(model, problems=4, frames=frames), drawn(4, 5, 3)
    expected, states = model.prepare(torch.float32, batched=False).rollout_with_states(context, actions)
    model.prepare(torch.float32, batched=True)
    assert len(list(model._cached_rollout._micro_batches(context, actions))) == 1
    batched, batched_states = model.rollout_with_states(context, actions)
    reference.assert_close(batched, expected, 1e-5)
    reference.assert_close(batched_states, states, 1e-5)
    graph = model.rollout(context, actions.clone().requires_grad_())
    assert graph.requires_grad
    reference.assert_close(graph.detach(), expected, 1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_predicts_what_the_cpu_does(kind: str) -> None:
    model = model_of(kind)
    context, actions = context_of(model, problems=4, frames=3), drawn(4, 5, 3)
    expected = model.rollout(context, actions)
    model.cuda()
    parts = (context.features, context.states, context.extrinsics, context.actions)
    moved = Context(*(None if part is None else part.cuda() for part in parts))  # type: ignore[arg-type]
    reference.assert_close(model.rollout(moved, actions).cpu(), expected, 1e-3)


def test_a_batch_of_problems_is_split_into_micro_batches_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of("V-JEPA 2-AC").prepare(torch.float32, batched=True)
    context, actions = context_of(model, problems=5), drawn(5, 4, 2)
    expected = model.rollout(context, actions)
    monkeypatch.setattr(cached_rollout, "samples_that_fit", lambda *given, **sizes: 9)
    model.prepare(torch.float32, batched=True)
    slices = [slice(0, 2), slice(2, 4), slice(4, 5)]
    assert list(model._cached_rollout._micro_batches(context, actions)) == slices
    assert model.samples_at_once(context, 2) == 1  # of each of the five problems
    reference.assert_close(model.rollout(context, actions), expected, 1e-5)
    one_at_a_time = model.prepare(torch.float32)._cached_rollout
    assert [p.stop - p.start for p in one_at_a_time._micro_batches(context, actions)] == [1] * 5


def test_states_are_predicted_together_with_the_features() -> None:
    model = model_of("V-JEPA 2-AC")
    context, actions = context_of(model, problems=2), drawn(2, 3, 2)
    features, states = model.rollout_with_states(context, actions)
    assert torch.equal(features, model.rollout(context, actions))
    first = advance_state(context.states[:, -1:].expand(-1, 3, -1), actions[:, :, 0], wrap=True)
    second = advance_state(first, actions[:, :, 1], wrap=True)
    torch.testing.assert_close(states, torch.stack([first, second], dim=2))


def test_an_energy_of_states_reaches_them_through_a_planner() -> None:
    model = model_of("V-JEPA 2-AC")
    model.action_low.fill_(-0.1)
    model.action_high.fill_(0.1)
    context, goal = context_of(model), model.encode_goal(pictures(1, seed=9))
    wanted = context.states[0, -1] + torch.tensor([0.05, -0.08, 0.02, 0.0, 0.0, 0.0, 0.0])
    energy = planners.StateGoal(wanted, weights=torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    cem = planners.CEM(
        model, energy=energy, num_samples=100, num_iterations=8, num_elites=10, momentum_std=0.2
    )
    plan = cem.plan(context, goal, generators=planners.make_generators([0]))
    torch.testing.assert_close(plan.actions[0, 0, :3], torch.tensor([0.05, -0.08, 0.02]), atol=0.01, rtol=0)


def test_gradient_descent_goes_through_the_world_model() -> None:
    model = model_of("one frame")
    model.action_low.fill_(-1.0)
    model.action_high.fill_(1.0)
    context = context_of(model)
    goal = model.rollout(context, 4 * drawn(1, 1, 1))[:, 0, 0]
    planner = planners.GradientDescent(model, energy=planners.GoalL2(), num_samples=4, num_iterations=40)
    plan = planner.plan(context, goal, generators=planners.make_generators([0]))
    best = [float(iteration.best_energy) for iteration in plan.iterations]
    assert plan.energy.item() < 0.2 * best[0]


def test_changed_weights_are_detected() -> None:
    model = model_of("one frame")
    context, actions = context_of(model), drawn(1, 2, 1)
    before = model.rollout(context, actions)
    with torch.no_grad():
        model.predictor.predictor_blocks[1].mlp.fc1.weight.mul_(1.5)  # type: ignore[union-attr, operator]
    after = model.rollout(context, actions)
    assert not torch.equal(before, after)
    reference.assert_close(after[0, 0], plainly(model, context, 0, actions[0, 0]), 1e-5)


def test_the_frozen_copy_is_not_part_of_the_state_dict() -> None:
    model = model_of("one frame")
    names = set(model.state_dict())
    model.rollout(context_of(model), drawn(1, 2, 1))
    assert set(model.state_dict()) == names
    assert not any("rollout" in name for name, _ in model.named_modules())


def test_past_actions_follow_from_the_states() -> None:
    model = model_of("V-JEPA 2-AC")
    given = context_of(model, frames=3)
    derived = dataclasses.replace(given, actions=None)
    with_actions = dataclasses.replace(given, actions=pose_delta(given.states[:, :-1], given.states[:, 1:]))
    actions = drawn(1, 2, 1)
    assert torch.equal(model.rollout(derived, actions), model.rollout(with_actions, actions))
    assert not torch.allclose(model.rollout(derived, actions), model.rollout(given, actions), atol=1e-3)


def test_the_past_matters_to_a_predictor_that_sees_it() -> None:
    actions = drawn(1, 2, 1)
    for kind, matters in (("V-JEPA 2-AC", True), ("one frame", False)):
        model = model_of(kind)
        context = context_of(model, frames=2)
        last = Context(context.features[:, -1:], context.states[:, -1:])
        apart = (model.rollout(context, actions) - model.rollout(last, actions)).abs().max()
        assert (apart > 1e-3) == matters


def test_a_past_whose_actions_cannot_be_derived_is_refused() -> None:
    model = model_of("residual", embodiments=(EmbodimentConfig(action_dim=2, state_dim=5),))
    context = Context(torch.zeros(1, 2, 4, 16), torch.zeros(1, 2, 5))
    with pytest.raises(
        ConfigError, match=r"states of size 5 do not determine which actions of size 2 .* \[B, T-1, A\]"
    ):
        model.rollout(context, torch.zeros(1, 2, 1, 2))


def bfloat16_pair() -> tuple[LatentWorldModel, LatentWorldModel]:
    """The same model in float32 and bfloat16, with weights of the usual size."""
    torch.manual_seed(0)
    predictor = ActionPredictorConfig(embed_dim=96, depth=4, num_heads=3, **AC)
    config = dataclasses.replace(CONFIG, predictor=predictor, latents=LatentsConfig(kind="none"))
    exact = LatentWorldModel(config).eval().requires_grad_(False)
    rounded = LatentWorldModel(config).eval().requires_grad_(False)
    for name in ("weight", "bias"):
        getattr(exact.predictor.robot().action_encoder, name).mul_(20)  # else actions hardly show
    rounded.load_state_dict(exact.state_dict())
    return exact, rounded.prepare(torch.bfloat16)


def test_bfloat16_rollouts_are_close_and_scored_in_float32() -> None:
    exact, rounded = bfloat16_pair()
    context, actions = context_of(exact, frames=2), drawn(1, 8, 3)
    expected, imagined = exact.rollout(context, actions), rounded.rollout(context, actions)
    assert imagined.dtype == torch.bfloat16
    assert 0 < (imagined.float() - expected).abs().mean() < 0.02 * expected.abs().mean()
    energy = planners.GoalL1()(imagined, expected[:, 0, -1], actions)
    assert energy.dtype == torch.float32


def test_bfloat16_chooses_the_same_elites_as_often_as_the_plain_pass_in_it_does() -> None:
    """The shipped model on the samples of a float32 search. Ranks 8 and 9 of 64 are often closer to each other than
    bfloat16 resolves, so the plain pass under autocast is the baseline."""
    exact = vjepa_world.load_world_model(vjepa_world.shipped_checkpoint())
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(6, 1, 16, 192, generator=generator).cumsum(dim=2) / 2
    start = torch.tensor([0.47, 0.0, 0.25, 3.14, 0.0, 0.0, 0.5])
    context = Context(features, start.expand(6, 1, 7))
    span = (exact.action_high - exact.action_low) / 2
    goal = exact.rollout(context, 0.5 * span * torch.randn(6, 1, 1, 7, generator=generator))[:, 0, 0]
    cem = planners.CEM(
        exact,
        energy=planners.GoalL1(),
        num_samples=64,
        num_iterations=4,
        momentum_mean=0.15,
        momentum_std=0.75,
    )
    plan = cem.plan(context, goal, generators=planners.make_generators(list(range(6))))

    def plain(samples: Tensor) -> Tensor:
        imagined = []
        for b, actions in enumerate(samples):
            seen, states = (
                part[b].expand(len(actions), *part.shape[2:]) for part in (features, context.states)
            )
            with torch.autocast("cpu", torch.bfloat16):
                imagined.append(exact.predictor(seen, actions, states[:, None]).unsqueeze(1))
        return torch.stack(imagined)

    def shared(imagine: Callable[[Tensor], Tensor]) -> float:
        shares = []
        for iteration in plan.iterations:
            energies = planners.GoalL1()(imagine(iteration.samples), goal, iteration.samples)
            for chosen, scores in zip(iteration.selected, energies, strict=True):
                shares.append(chosen[scores.topk(8, largest=False).indices].float().mean())
        return float(torch.stack(shares).mean())

    exact_again = shared(lambda samples: exact.rollout(context, samples))
    rounded = exact.prepare(torch.bfloat16)
    fast, slow = shared(lambda samples: rounded.rollout(context, samples)), shared(plain)
    assert exact_again == 1.0
    assert fast >= 0.95, fast
    assert fast >= slow - 0.02, (fast, slow)


def test_micro_batches_are_as_large_as_fits() -> None:
    predictor = model_of("V-JEPA 2-AC").predictor
    sizes = {"problems": 1, "frames": 1, "tokens": 4, "horizon": 1}

    def fit(dtype: torch.dtype = torch.float32, **changes: int) -> int:
        return samples_that_fit(predictor, dtype, **{**sizes, **changes})

    assert fit() > fit(frames=8) >= 1
    assert fit() > fit(horizon=8) == fit(frames=8)
    assert fit(torch.bfloat16) == pytest.approx(2 * fit(), abs=1)
    assert fit(tokens=10**7) == 1
    assert fit(problems=16) == fit(), "a slice must not depend on the other problems"


def test_the_contexts_embodiment_is_used_and_changed_statistics_are_detected() -> None:
    model = model_of("one frame", embodiments=(EmbodimentConfig(name="a"), EmbodimentConfig(name="b")))
    context, actions = context_of(model), drawn(1, 2, 1)
    first = model.rollout(context, actions)
    assert context.embodiment == "a"
    context = dataclasses.replace(context, embodiment="b")
    second = model.rollout(context, actions)
    reference.assert_close(second[0, 0], plainly(model, context, 0, actions[0, 0]), 1e-5)
    assert not torch.allclose(first, second, atol=1e-3)
    model.predictor.robot("b").set_statistics(3 * drawn(1, 9, 1)[0, :, 0] + 1, torch.rand(9, 7) + 2)
    third = model.rollout(context, actions)
    reference.assert_close(third[0, 0], plainly(model, context, 0, actions[0, 0]), 1e-5)
    assert not torch.allclose(second, third, atol=1e-3)


def test_threads_with_separate_contexts_do_not_interfere() -> None:
    model, actions = model_of("V-JEPA 2-AC"), drawn(1, 2, 1)
    contexts = [context_of(model, problems=8, frames=2) for _ in range(2)]
    contexts[1] = dataclasses.replace(contexts[1], features=contexts[1].features.flip(0))
    parts = [
        Context(c.features[b : b + 1], c.states[b : b + 1], None, c.actions[b : b + 1])  # type: ignore[index]
        for c in contexts
        for b in range(8)
    ]
    expected = [model.rollout(part, actions) for part in parts]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(5):
            found = list(threads.map(lambda part: model.rollout(part, actions), parts))
            assert all(torch.equal(f, e) for f, e in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"states": torch.zeros(2, 2, 7)}, r"got states of shape \[2, 2, 7\] with 3 frames of 2 problems"),
        (
            {"actions": torch.zeros(2, 1, 7)},
            r"actions of shape \[2, 1, 7\] .* give \[2, 2, size\].*between frames",
        ),
        ({"extrinsics": torch.zeros(1, 3, 6)}, r"extrinsics of shape \[1, 3, 6\] .* give \[2, 3, size\]"),
    ],
)
def test_a_context_whose_parts_do_not_belong_together_is_refused(
    changes: dict[str, Tensor], message: str
) -> None:
    parts: dict[str, Any] = {"features": torch.zeros(2, 3, 4, 16), "states": torch.zeros(2, 3, 7)}
    with pytest.raises(ConfigError, match=message):
        Context(**{**parts, **changes})


def test_actions_for_another_number_of_problems_are_refused() -> None:
    model = model_of("one frame")
    with pytest.raises(
        ConfigError, match=r"got actions of shape \[3, 1, 1, 7\] with a context of 2 problems"
    ):
        model.rollout(context_of(model, problems=2), torch.zeros(3, 1, 1, 7))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_rollouts_are_equal(dtype: torch.dtype) -> None:
    model = model_of("V-JEPA 2-AC")
    context, actions = context_of(model, frames=2), drawn(1, 8, 2)
    expected = model.prepare(dtype).rollout(context, actions)
    compiled = model.prepare(dtype, compiled=True).rollout(context, actions)
    reference.assert_close(compiled.float(), expected.float(), 1e-5 if dtype == torch.float32 else 0.05)


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [("delta", [1.5, 0.0, 2.0, 4.0, 5.0, 6.0, 7.0]), ("target", [0.5, -2.0, -1.0, 0.0, 0.0, 0.0, 0.0])],
)
def test_seven_joints_are_not_a_pose(meaning: str, expected: list[float]) -> None:
    robot = EmbodimentConfig(numbers="joints", actions=meaning)
    state = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    action = torch.tensor([0.5, -2.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    assert advance_state(state, action, robot=robot).tolist() == expected
    states = torch.stack([state, advance_state(state, action, robot=robot)])
    torch.testing.assert_close(actions_between(states, 7, robot)[0], action)


def test_the_hold_action_of_a_target_model_is_the_robots_state() -> None:
    robot = EmbodimentConfig(
        action_dim=3, state_dim=3, numbers="joints", actions="target", action_step=(1.0, 2.0, 0.5)
    )
    model = model_of("one frame", embodiments=(robot,))
    context = Context(torch.zeros(2, 1, 4, 16), torch.tensor([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]]))
    assert model.action_type == "absolute"
    hold, step = model.hold_action(context), model.action_step
    assert hold is not None
    assert step is not None
    assert torch.equal(hold, context.states[:, 0])
    assert step.tolist() == [1.0, 2.0, 0.5]
    known = model_of("one frame")
    assert known.action_type == "delta"
    assert (
        model_of("one frame", embodiments=(EmbodimentConfig(action_dim=3, state_dim=3),)).action_type is None
    )

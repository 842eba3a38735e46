"""What all adapters keep: images of the goal itself, the same episodes from the same seeds, exact snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from tests.environments.adapters.cases import PACKAGES, adapted, group
from vjepa_world.environments.adapters.base import AdaptedEnv
from vjepa_world.environments.adapters.behaviours import noisy_expert
from vjepa_world.errors import ConfigError

#: Actions in which the expert of a task is to be done.
EXPERT_STEPS = {
    "fetch_reach": 10,
    "fetch_push": 50,
    "fetch_pick_and_place": 50,
    "dmc_reacher": 150,
    "ogbench_cube": 100,
}


@pytest.fixture(params=PACKAGES)
def env(request: pytest.FixtureRequest) -> Iterator[AdaptedEnv]:
    made = adapted(request.param)
    yield made
    made.close()


@pytest.fixture(params=EXPERT_STEPS)
def with_expert(request: pytest.FixtureRequest) -> Iterator[tuple[Any, int]]:
    made = adapted(request.param)
    yield made, EXPERT_STEPS[request.param]
    made.close()


def rollout(env: Any, seed: int, steps: int = 6) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Return all observations of an episode with random actions, and the info of its reset."""
    rng = np.random.default_rng(seed)
    observation, first = env.reset(seed=seed)
    found = [observation["image"], observation["state"]]
    for _ in range(steps):
        observation, *_ = env.step(
            rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        )
        found += [observation["image"], observation["state"]]
    return found, first


def test_the_same_seed_gives_the_same_episode_after_any_history(env: AdaptedEnv) -> None:
    first, info = rollout(env, 3)
    other, other_info = rollout(env, 4)
    again, info_again = rollout(env, 3)
    assert all(np.array_equal(one, two) for one, two in zip(first, again, strict=True))
    assert np.array_equal(info["goal_image"], info_again["goal_image"])
    assert not np.array_equal(first[-2], other[-2])
    assert not np.array_equal(info["goal_image"], other_info["goal_image"])


def test_observations_keep_their_space(env: AdaptedEnv) -> None:
    observation, info = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    assert info["goal_image"].shape == observation["image"].shape and info["goal_image"].dtype == np.uint8
    assert np.isfinite(info["distance"]) and not np.array_equal(info["goal_image"], observation["image"])


def test_the_goal_image_is_rendered_where_the_task_is_solved(
    env: AdaptedEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    solved: list[bool] = []
    inner = env._inner

    def watched(render: Callable[[], np.ndarray], is_solved: Callable[[], bool]) -> Callable[[], np.ndarray]:
        def watching() -> np.ndarray:
            solved.append(is_solved())
            return render()

        return watching

    if hasattr(inner, "_compute_successes"):  # OGBench renders the goal itself
        monkeypatch.setattr(inner, "render", watched(inner.render, lambda: all(inner._compute_successes())))
    else:
        monkeypatch.setattr(env, "_image", watched(env._image, lambda: bool(env._outcome()["success"])))
    for seed in range(5):
        solved.clear()
        _, info = env.reset(seed=seed)
        assert solved == [True, info["success"]]  # the goal's image, then the start's


def test_making_the_goal_image_leaves_no_trace(env: AdaptedEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    if hasattr(env._inner, "_compute_successes"):
        pytest.skip("OGBench makes its goal image within its own reset")
    with_goal, _ = rollout(env, 3)
    blank = np.zeros((env.image_size, env.image_size, 3), np.uint8)
    monkeypatch.setattr(env, "_goal", lambda: (blank, None))
    without, _ = rollout(env, 3)
    assert all(np.array_equal(one, two) for one, two in zip(with_goal, without, strict=True))


def test_an_expert_succeeds(with_expert: tuple[Any, int]) -> None:
    env, steps = with_expert
    held = []
    for seed in range(5):
        observation, info = env.reset(seed=seed)
        expert = env.expert()
        for _ in range(steps):
            observation, _, _, _, info = env.step(expert.act(observation))
        held.append(info["success"])
    assert all(held)


def test_a_snapshot_is_exact(with_expert: tuple[Any, int]) -> None:
    env, _ = with_expert
    env.reset(seed=1)
    rng = np.random.default_rng(0)
    actions = rng.uniform(env.action_space.low, env.action_space.high, (10, env.action_space.shape[0]))
    for action in actions[:4].astype(np.float32):
        env.step(action)
    saved = env.get_state()
    first = [env.step(action)[0]["state"] for action in actions.astype(np.float32)]
    env.reset(seed=2)
    env.set_state(saved)
    again = [env.step(action)[0]["state"] for action in actions.astype(np.float32)]
    assert np.array_equal(first, again)


def test_the_noisy_expert_stays_within_bounds_and_differs_between_episodes(
    with_expert: tuple[Any, int],
) -> None:
    env, _ = with_expert
    drawn = []
    for seed in range(2):
        observation, _ = env.reset(seed=0)
        act = noisy_expert(env, np.random.default_rng(seed))
        drawn.append(act(observation))
        assert env.action_space.contains(drawn[-1])
    assert not np.array_equal(drawn[0], drawn[1])


def test_no_motion_leaves_the_robot_where_it_is(env: AdaptedEnv) -> None:
    observation, info = env.reset(seed=0)
    start, distance = observation["state"], info["distance"]
    for _ in range(5):
        observation, *_, info = env.step(env.hold(observation))
    moved = np.abs(observation["state"] - start).max()
    random, _ = rollout(env, 0, steps=5)
    assert moved < 0.1 * np.abs(random[-1] - start).max()
    assert info["distance"] == pytest.approx(distance, abs=0.01)


def test_an_unknown_reset_option_is_refused(env: AdaptedEnv) -> None:
    with pytest.raises(ConfigError, match="the reset option 'x' is not one of this environment's"):
        env.reset(seed=0, options={"x": 1})


@pytest.mark.parametrize("name", PACKAGES)
def test_a_group_makes_an_environment_with_goals(name: str) -> None:
    pytest.importorskip(PACKAGES[name])
    config = group(name)
    env = config.make()
    observation, info = env.reset(seed=0)
    assert observation["image"].shape == info["goal_image"].shape == (128, 128, 3)
    assert not info["solved_at_reset"] and info["distance"] > 0
    for _ in range(config.max_steps):
        *_, truncated, info = env.step(env.action_space.sample())
    assert truncated and isinstance(info["success"], bool)
    env.close()

from __future__ import annotations

from collections.abc import Iterator

import gymnasium
import numpy as np
import pytest

from envs import ArmEnv, EnvError, Explorer
from envs.behaviours import BEHAVIOURS, mixture, suitable

STEPS = 40


@pytest.fixture(scope="module")
def table() -> Iterator[ArmEnv]:
    made = ArmEnv("grasp", image_size=16, max_steps=10_000)
    yield made
    made.close()


def record(env: ArmEnv, weights: dict[str, float], seed: int, steps: int = STEPS) -> dict[str, np.ndarray]:
    behaviour = mixture(weights)
    observation, _ = env.reset(seed=seed)
    behaviour.reset(env, np.random.default_rng(seed))
    actions, flags = [], []
    for _ in range(steps):
        action = behaviour.act(observation)
        assert action.dtype == np.float32
        assert env.action_space.contains(action)
        observation, _, _, _, info = env.step(action)
        actions.append(action)
        flags.append([info[name] for name in ("contact", "object_moving", "object_lifted")])
    contact, moving, lifted = np.array(flags).T
    return {"actions": np.array(actions), "contact": contact, "moving": moving, "lifted": lifted}


def shares(env: ArmEnv, name: str) -> dict[str, float]:
    episodes = [record(env, {name: 1.0}, seed) for seed in range(8)]
    return {key: float(np.mean([e[key] for e in episodes])) for key in ("contact", "moving", "lifted")}


def test_each_behaviour_does_what_its_name_says(table: ArmEnv) -> None:
    found = {name: shares(table, name) for name in BEHAVIOURS}
    for name in ("poke", "push", "pick", "carry"):
        assert found[name]["contact"] > 2 * found["wander"]["contact"], name
        assert found[name]["moving"] > 2 * found["wander"]["moving"], name
    assert found["push"]["moving"] > 0.2
    assert found["poke"]["lifted"] == 0
    assert found["push"]["lifted"] == 0
    assert 0.02 < found["pick"]["lifted"] < 0.25  # it fails often
    assert found["carry"]["lifted"] > 0.25


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_seed_gives_the_same_actions_after_any_history(table: ArmEnv, name: str) -> None:
    first = record(table, {name: 1.0}, 3, steps=15)["actions"]
    record(table, {name: 1.0}, 4, steps=5)
    np.testing.assert_array_equal(record(table, {name: 1.0}, 3, steps=15)["actions"], first)
    assert (record(table, {name: 1.0}, 5, steps=15)["actions"] != first).any()


def test_wandering_alone_is_the_explorer_bit_for_bit() -> None:
    made = ArmEnv("reach", image_size=16)
    observation, _ = made.reset(seed=1)
    wander = mixture({"wander": 1.0})
    wander.reset(gymnasium.wrappers.TimeLimit(made, 100), np.random.default_rng(1))
    explorer = Explorer(np.random.default_rng(1), made.action_space)
    for _ in range(12):
        action = wander.act(observation)
        np.testing.assert_array_equal(action, explorer.act(observation))
        observation, *_ = made.step(action)
    made.close()


def test_a_mixture_draws_its_parts_by_weight(table: ArmEnv) -> None:
    both = mixture({"push": 3.0, "wander": 1.0, "pick": 0.0})
    table.reset(seed=0)
    drawn = []
    for seed in range(200):
        both.reset(table, np.random.default_rng(seed))
        drawn.append(both.summary)
    assert 0.65 < drawn.count(BEHAVIOURS["push"].summary) / 200 < 0.85
    assert BEHAVIOURS["pick"].summary not in drawn


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"dance": 1.0}, r"behaviours \['dance'\] are unknown: use some of \['wander', 'poke'"),
        ({"push": -1.0}, "weights of behaviours .* are not allowed"),
        ({"push": 0.0}, "not all 0"),
        ({}, "not all 0"),
        ({"push": float("nan")}, "are not allowed"),
    ],
)
def test_bad_weights_are_refused(weights: dict[str, float], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        mixture(weights)


def test_all_behaviours_suit_a_task_with_an_object_and_one_a_task_without(table: ArmEnv) -> None:
    assert suitable(table) == dict.fromkeys(BEHAVIOURS, 1.0)
    made = ArmEnv("reach", image_size=16)
    assert suitable(made) == {"wander": 1.0}
    made.close()


def test_behaviours_with_an_object_need_one() -> None:
    made = ArmEnv("reach", image_size=16)
    made.reset(seed=0)
    with pytest.raises(EnvError, match="behaviour 'pick' needs an object, which task 'reach' does not have"):
        mixture({"pick": 1.0}).reset(made, np.random.default_rng(0))
    made.close()
    with pytest.raises(EnvError, match="behaviours of the arm got CartPoleEnv"):
        mixture({"wander": 1.0}).reset(gymnasium.make("CartPole-v1"), np.random.default_rng(0))


@pytest.mark.parametrize("name", BEHAVIOURS)
def test_a_behaviour_that_is_asked_before_its_reset_says_so(name: str) -> None:
    with pytest.raises(EnvError, match=rf"'{name}' was asked before reset: call reset\(env, rng\)"):
        BEHAVIOURS[name]().act({})
    drawn = mixture({name: 1.0})
    with pytest.raises(EnvError, match="'mixture' was asked before reset"):
        drawn.act({})
    with pytest.raises(EnvError, match="'mixture' was asked before reset"):
        _ = drawn.summary

"""What acts while data is recorded."""

from __future__ import annotations

import numpy as np
import pytest

from tests.environments import toys
from vjepa_world.environments.behaviours import ColouredNoise, behaviour_of, coloured_noise
from vjepa_world.environments.config import EnvConfig
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.recording import Recorder
from vjepa_world.errors import ConfigError

MODULE = "tests.environments.toys"


@pytest.mark.parametrize(("exponent", "slope"), [(0.0, 0.0), (1.0, -1.0), (2.0, -2.0)])
def test_the_power_of_noise_falls_with_its_exponent(exponent: float, slope: float) -> None:
    noise = coloured_noise(np.random.default_rng(0), 256, 400, exponent)
    power = (np.abs(np.fft.rfft(noise, axis=0)) ** 2).mean(axis=1)[1:-1]
    frequency = np.arange(1, 128)
    assert np.polyfit(np.log(frequency), np.log(power), 1)[0] == pytest.approx(slope, abs=0.05)
    assert noise.std() == pytest.approx(1.0, abs=0.05)
    assert noise.shape == (256, 400)


def test_noise_stays_within_bounds_persists_and_repeats() -> None:
    env = EnvConfig(id=f"{MODULE}:toys/Point-v0").make(goals=False)
    episodes = []
    for seed in (0, 0, 1):
        behaviour = ColouredNoise()
        behaviour.reset(env, np.random.default_rng(seed))
        episodes.append(np.stack([behaviour.act({}) for _ in range(300)]))  # more than are drawn at once
    np.testing.assert_array_equal(episodes[0], episodes[1])
    assert not np.array_equal(episodes[0], episodes[2])
    assert np.abs(episodes[0]).max() <= np.float32(0.2)
    neighbours = np.corrcoef(episodes[0][:-1, 0], episodes[0][1:, 0])[0, 1]
    assert neighbours > 0.3


def test_choices_all_occur_and_persist() -> None:
    env = EnvConfig(id=f"{MODULE}:toys/Point-v0", kwargs={"choices": True}).make(goals=False)
    behaviour = ColouredNoise()
    behaviour.reset(env, np.random.default_rng(0))
    chosen = np.array([behaviour.act({}) for _ in range(500)])
    counts = np.bincount(chosen, minlength=5)
    assert counts.min() > 20
    assert (chosen[1:] == chosen[:-1]).mean() > 0.3  # 0.2 if they were independent


def test_a_users_function_and_its_errors() -> None:
    env = EnvConfig(id=f"{MODULE}:toys/Point-v0").make(goals=False)
    behaviour = behaviour_of(env, f"{MODULE}:diagonal", {})
    behaviour.reset(env, np.random.default_rng(0))
    np.testing.assert_array_equal(behaviour.act({}), np.full(2, 0.1, np.float32))
    behaviour = behaviour_of(env, f"{MODULE}:broken", {})
    behaviour.reset(env, np.random.default_rng(0))
    with pytest.raises(EnvironmentFailure, match=r"broken raised ZeroDivisionError at toys.py:\d+"):
        behaviour.act({})
    behaviour = behaviour_of(env, f"{MODULE}:picture", {})
    with pytest.raises(EnvironmentFailure, match=r"behaviour=.*:picture raised TypeError"):
        behaviour.reset(env, np.random.default_rng(0))


def test_a_function_that_writes_into_observations_does_not_change_the_recording() -> None:
    recorder = Recorder.of(EnvConfig(id=f"{MODULE}:toys/Point-v0", image_size=32))
    behaviour = behaviour_of(recorder.env, f"{MODULE}:erasing", {})
    episode = recorder.record(behaviour, seed=0, rng=np.random.default_rng(0), steps=2, index=0)
    assert (episode.frames([0, 1, 2], "main") == 200).any()
    assert np.abs(episode.states).max() <= 1


@pytest.mark.parametrize(
    ("function", "weights", "message"),
    [
        (f"{MODULE}:nothing", {}, r"has no function 'nothing'"),
        ("nowhere:f", {}, r"behaviour=nowhere:f: the module 'nowhere' cannot be imported"),
        (f"{MODULE}:diagonal", {"wander": 1.0}, "behaviour and behaviours are both given"),
        ("", {"wander": 1.0}, r"behaviours.wander is one of the arm's, which the environment .* is not"),
    ],
)
def test_behaviours_that_do_not_exist_are_refused(
    function: str, weights: dict[str, float], message: str
) -> None:
    env = EnvConfig(id=f"{MODULE}:toys/Point-v0").make(goals=False)
    assert isinstance(env.unwrapped, toys.Point)
    with pytest.raises(ConfigError, match=message):
        behaviour_of(env, function, weights)


def test_a_behaviour_that_does_not_suit_the_task_is_refused() -> None:
    env = EnvConfig(id="vjepa_world/Reach-v0").make(goals=False)
    with pytest.raises(
        ConfigError, match=r"behaviours.push needs an object, which the task has not; allowed: wander"
    ):
        behaviour_of(env, "", {"wander": 1.0, "push": 1.0})

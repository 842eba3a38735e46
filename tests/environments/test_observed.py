"""Any environment in one form: images, state, actions, and what happens when it misbehaves."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.environments import toys
from vjepa_world.environments.behaviours import ColouredNoise
from vjepa_world.environments.config import EnvConfig, words_of
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.observed import ObservedEnv
from vjepa_world.environments.recording import Recorder
from vjepa_world.environments.spaces import ActionMap, find_image, find_states, to_image, white_of
from vjepa_world.errors import ConfigError

MODULE = "tests.environments.toys"


def make(name: str = "Point", **options: Any) -> ObservedEnv:
    config = EnvConfig(**{"id": f"{MODULE}:toys/{name}-v0", "image_size": 0, **options})
    env = config.make(goals=False)
    assert isinstance(env, ObservedEnv)
    return env


def test_images_and_state_are_found_and_the_environment_is_followed() -> None:
    env = make()
    observation, _ = env.reset(seed=3)
    inner = env.unwrapped
    assert isinstance(inner, toys.Point)
    np.testing.assert_array_equal(observation["image"], toys.picture(inner.position))
    before = inner.position.copy()
    observation, *_ = env.step(np.array([0.1, -0.1], np.float32))
    np.testing.assert_allclose(inner.position, before + [0.1, -0.1], atol=1e-6)
    np.testing.assert_allclose(observation["state"], inner.position, atol=1e-6)
    assert env.observation_space.contains(observation)
    assert env.observation_space["image"].shape == (32, 32, 3)  # type: ignore[index]


def test_an_image_that_only_render_draws_and_an_action_of_another_shape() -> None:
    env = make("Flat")
    assert env.action_space == spaces.Box(-0.2, 0.2, (2,))
    observation, _ = env.reset(seed=0)
    assert {name: value.shape for name, value in observation.items()} == {"image": (32, 32, 3), "state": (2,)}
    moved, *_ = env.step(np.array([0.2, 0.0]))
    assert moved["state"][0] == pytest.approx(min(observation["state"][0] + 0.2, 1.0), abs=1e-6)
    assert not np.array_equal(moved["image"], observation["image"])


def test_further_cameras_sizes_and_no_state() -> None:
    env = make(kwargs={"keys": ("image", "wrist")}, cameras=("wrist",), image_size=48, image="image")
    observation, _ = env.reset(seed=0)
    assert {name: value.shape for name, value in observation.items()} == {
        "image": (48, 48, 3),
        "image_wrist": (48, 48, 3),
    }
    assert not np.array_equal(observation["image"], observation["image_wrist"])
    assert "state" not in make(state="none").reset(seed=0)[0]


def test_cameras_are_recorded_in_the_order_in_which_they_are_shown() -> None:
    keys = ("image", "above", "wrist", "state")
    for order in (("wrist", "above"), ("above", "wrist")):
        config = EnvConfig(
            id=f"{MODULE}:toys/Point-v0", kwargs={"keys": keys}, image_size=32, image="image", cameras=order
        )
        recorder = Recorder.of(config)
        episode = recorder.record(ColouredNoise(), seed=0, rng=np.random.default_rng(0), steps=2, index=0)
        assert episode.cameras == (*recorder.spec().cameras,) == ("main", *order)
        assert torch.equal(episode.frames([1], "wrist"), episode.frames([1], "main").flip(2))
        assert torch.equal(episode.frames([1], "above"), episode.frames([1], "main").flip(3))
    config = EnvConfig(id="vjepa_world/Grasp-v0", image_size=16, cameras=("main", "wrist", "side"))
    assert (*Recorder.of(config).spec().cameras,) == config.cameras


@pytest.mark.parametrize("cameras", [("wrist", "wrist"), ("image",)])
def test_a_camera_is_named_once(cameras: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"twice, or two cameras as image_\w+; the first one, image, is"):
        make(kwargs={"keys": ("image", "wrist")}, image="image", cameras=cameras)


def test_no_two_cameras_have_one_name_in_a_dataset() -> None:
    config = EnvConfig(
        id=f"{MODULE}:toys/Point-v0", kwargs={"keys": ("image", "main")}, image="image", cameras=("main",)
    )
    arm = EnvConfig(image_size=16, cameras=("wrist", "main"))
    for one in (config, arm):
        with pytest.raises(ConfigError, match=r"two cameras would be called main in the dataset"):
            Recorder.of(one)


def test_an_action_is_repeated_and_clipped() -> None:
    env = make(frame_skip=3)
    env.reset(seed=5)
    inner = env.unwrapped
    assert isinstance(inner, toys.Point)
    inner.position = np.array([-0.9, 0.0])
    env.step(np.array([9.0, 0.0]))
    np.testing.assert_allclose(inner.position, [-0.3, 0.0], atol=1e-6)
    assert inner.steps == 3


def test_choices_count_from_zero_and_may_be_given_as_scores() -> None:
    env = make(kwargs={"choices": True})
    assert env.action_space == spaces.Discrete(5)
    inner = env.unwrapped
    assert isinstance(inner, toys.Point)
    for action in (1, np.int64(1), np.array([0.1, 0.9, 0.2, 0.0, 0.3], np.float32)):
        env.reset(seed=0)
        inner.position = np.zeros(2)
        env.step(action)
        np.testing.assert_allclose(inner.position, [0.2, 0.0])
    with pytest.raises(EnvironmentFailure, match=r"the action is 5; allowed are the choices 0 to 4"):
        env.step(5)


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("raise", r"at step 2: step raised RuntimeError at toys.py:\d+: the motor is hot"),
        ("nan", r"at step 2: the state is not finite: \[nan nan\]"),
        ("size", r"at step 2: the image has shape \[30, 32, 3\], and had \[32, 32, 3\] before"),
    ],
)
def test_a_failure_names_the_step(failure: str, message: str) -> None:
    env = make(kwargs={"fails_at": 2, "failure": failure})
    seed = next(seed for seed in range(9) if env.reset(seed=seed)[0]["state"][0] > 0)
    env.reset(seed=seed)
    env.step(np.zeros(2))
    with pytest.raises(EnvironmentFailure, match=message):
        env.step(np.zeros(2))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "Blind",
            {},
            r"has no image: its observations are observation float32 \[2\], and its render modes none",
        ),
        (
            "Flat",
            {"kwargs": {"space": "dict"}},
            r"action space is Dict.*allowed are Box \(any shape\) and Discrete",
        ),
        ("Flat", {"kwargs": {"space": "unbounded"}}, r"give env.action_low=\[...\] and env.action_high"),
        (
            "Point",
            {"image": "imag"},
            r"'imag' is no image .*image uint8 \[32, 32, 3\].*did you mean 'image'\?",
        ),
        ("Point", {"state": "qpos"}, r"env.state names 'qpos', which is no vector"),
        ("Point", {"kwargs": {"size": 3}}, r"cannot be made with \(size=3\): TypeError.*Change env.kwargs"),
        (
            "Points",
            {},
            r"'tests.environments.toys:toys/Points-v0' is not registered; did you mean 'toys/Point-v0'",
        ),
        (
            "Flat",
            {"image": "render", "kwargs": {"render_mode": None}},
            r"render\(\) returned NoneType; allowed",
        ),
    ],
)
def test_what_cannot_be_inferred_is_asked_for(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, EnvironmentFailure), match=message):
        make(name, **options)


def test_bounds_can_be_given() -> None:
    env = make("Flat", kwargs={"space": "unbounded"}, action_low=(-1.0,), action_high=(1.0, 2.0, 3.0)[:1])
    assert env.action_space == spaces.Box(-1, 1, (2,))
    with pytest.raises(ConfigError, match=r"env.action_low has 3 numbers, and an action 2"):
        make(action_low=(0.0, 0.0, 0.0), action_high=(1.0, 1.0, 1.0))


def test_a_module_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(ConfigError, match=r"env.id=no_such:X-v0: the module 'no_such' cannot be imported"):
        EnvConfig(id="no_such:X-v0").make()


def test_our_tasks_pass_unchanged_with_and_without_the_module() -> None:
    for name in ("vjepa_world/Reach-v0", "envs:vjepa_world/Reach-v0"):
        env = EnvConfig(id=name, image_size=32).make()
        assert type(env.unwrapped).__module__.startswith("envs.")
        assert not isinstance(env, ObservedEnv)
        env.close()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.full((9, 8), 7, np.uint8), 7),
        (np.full((3, 9, 8), 7, np.uint8), 7),
        (np.full((9, 8, 1), 0.5, np.float32), 128),
        (np.full((9, 8, 3), 100.4), 100),
    ],
)
def test_images_of_other_layouts_become_rgb_bytes(image: np.ndarray, expected: int) -> None:
    found = to_image(image, "it", 0)
    assert found.shape == (9, 8, 3) and found.dtype == np.uint8 and bool((found == expected).all())


@pytest.mark.parametrize("image", [np.zeros(5), np.zeros((9, 8, 4), np.uint8), np.zeros((9, 8, 3), np.int64)])
def test_no_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(EnvironmentFailure, match="it is"):
        to_image(image, "it", 0)


@pytest.mark.parametrize(("high", "white"), [(1.0, 1.0), (255.0, 255.0), (np.inf, None)])
def test_the_space_says_which_real_number_is_white(high: float, white: float | None) -> None:
    assert white_of(spaces.Box(0, high, (8, 8, 3), np.float32)) == white
    assert white_of(spaces.Box(0, 255, (8, 8, 3), np.uint8)) is None
    dark = np.ones((8, 8, 3), np.float32)
    assert to_image(dark, "it", 0, white=white).max() == (1 if white == 255.0 else 255)


def test_a_dark_frame_of_real_numbers_up_to_255_stays_dark(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = toys.Point.observation

    def dark(self: toys.Point) -> dict[str, np.ndarray]:
        return {**drawn(self), "image": np.full((32, 32, 3), self.steps, np.float32)}

    monkeypatch.setattr(toys, "PIXELS", spaces.Box(0, 255, (32, 32, 3), np.float32))
    monkeypatch.setattr(toys.Point, "observation", dark)
    env = make()
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[0]["image"].max() for _ in range(3)] == [1, 2, 3]


def test_real_numbers_around_zero_are_no_image() -> None:
    with pytest.raises(EnvironmentFailure, match=r"it has real numbers from -1 to 1; allowed are 0 to 1\."):
        to_image(np.linspace(-1, 1, 192, dtype=np.float32).reshape(8, 8, 3), "it", 0)


def test_several_candidates_are_asked_for_unless_one_has_a_usual_name() -> None:
    views = spaces.Dict(left=toys.PIXELS, right=toys.PIXELS)
    with pytest.raises(ConfigError, match=r"several images \(left, right\); give env.image=KEY"):
        find_image(views)
    assert find_image(spaces.Dict(left=toys.PIXELS, pixels=toys.PIXELS)) == "pixels"
    assert find_image(spaces.Dict(pixels=spaces.Dict(top=toys.PIXELS))) == "pixels.top"
    vectors = spaces.Dict(a=toys.STATE, b=toys.STATE)
    with pytest.raises(ConfigError, match=r"several vectors \(a, b\); give env.state=KEY"):
        find_states(vectors, "auto")
    assert find_states(vectors, "b+a") == ("b", "a")
    assert find_states(spaces.Dict(observation=toys.STATE, desired_goal=toys.STATE), "auto") == (
        "observation",
    )


def test_numbers_without_a_bound_are_found_in_the_largest_of_their_type() -> None:
    largest = np.finfo(np.float32).max
    with pytest.raises(ConfigError, match="planners need finite ones"):
        ActionMap.of(spaces.Box(-largest, largest, (2,)), (), ())


def test_a_recorded_environment_is_selected_again_by_its_words() -> None:
    config = EnvConfig(
        id="mine:E-v0", kwargs={"a": 1}, image_size=64, frame_skip=2, action_low=(-1.0,), action_high=(1.0,)
    )
    assert words_of(config.identity()) == [
        "env.id=mine:E-v0",
        "env.kwargs.a=1",
        "env.image_size=64",
        "env.frame_skip=2",
        "env.action_low=[-1.0]",
        "env.action_high=[1.0]",
    ]
    assert words_of(EnvConfig(kwargs={"keys": ["a", "b"]}, cameras=("main", "wrist")).identity()) == [
        "env.kwargs.keys=[a,b]",
        "env.cameras=[main,wrist]",
    ]
    assert words_of(EnvConfig(kwargs={"crop": {"main": [0, 0, 1, 1]}}).identity()) == [
        "env.kwargs.crop.main=[0,0,1,1]"
    ]
    assert words_of(EnvConfig().identity()) == []
    assert gymnasium.spec("vjepa_world/Reach-v0").id == EnvConfig().id

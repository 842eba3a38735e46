"""Where goals come from, and what success and distance are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.environments import toys
from vjepa_world.cli.main import main
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.environments.config import EnvConfig
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.goal_env import GoalEnv
from vjepa_world.errors import ConfigError

MODULE = "tests.environments.toys"


def make(name: str = "Point", **options: Any) -> GoalEnv:
    env = EnvConfig(**{"id": f"{MODULE}:toys/{name}-v0", "image_size": 32, **options}).make()
    assert isinstance(env, GoalEnv)
    return env


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A recording of 4 episodes of 12 actions."""
    folder = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        words = [f"env.id={MODULE}:toys/Point-v0", "env.image_size=32", "episodes=4", "steps=12", "workers=1"]
        assert main(["collect", "name=points", *words]) == 0
    return str(folder / "runs" / "collect" / "points")


def test_goals_of_the_environment() -> None:
    env = make()
    _, info = env.reset(seed=4)
    inner = env.unwrapped
    assert isinstance(inner, toys.Point)
    np.testing.assert_array_equal(info["goal_image"], toys.picture(inner.goal))
    assert info["distance"] == pytest.approx(float(np.linalg.norm(inner.position - inner.goal)))
    assert (info["success"], info["solved_at_reset"], info["contact"]) == (
        False,
        False,
        inner.position[0] > 0,
    )
    inner.position = inner.goal.copy()
    assert env.step(np.zeros(2))[4]["success"]


def test_sub_goals_are_resized_as_the_goal_and_left_out_with_a_goal_from_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = np.stack([toys.picture(np.zeros(2)), toys.picture(np.ones(2))])
    drawn = toys.Point.reset

    def reset(self: toys.Point, **given: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = drawn(self, **given)
        return observation, info | {"subgoal_images": images, "subgoal_names": ("a", "b")}

    monkeypatch.setattr(toys.Point, "reset", reset)
    info = make(image_size=16).reset(seed=0)[1]
    assert info["subgoal_images"].shape == (2, *info["goal_image"].shape) == (2, 16, 16, 3)
    assert info["subgoal_names"] == ("a", "b")
    elsewhere = make("Flat", goal=f"{MODULE}:fixed_goal", success=f"{MODULE}:close")
    assert "subgoal_images" not in elsewhere.reset(seed=0)[1]


def test_an_environment_that_ends_an_episode_is_not_stepped_on_unless_it_says_so() -> None:
    assert make().metadata["ends_at_success"]


def test_an_episode_is_cut_off_after_max_steps() -> None:
    env = make(max_steps=3)
    env.reset(seed=0)
    assert [env.step(np.zeros(2))[3] for _ in range(3)] == [False, False, True]


def test_a_function_renders_goals_and_another_says_what_success_is() -> None:
    env = make("Flat", goal=f"{MODULE}:fixed_goal", success=f"{MODULE}:close")
    observation, info = env.reset(seed=1)
    np.testing.assert_array_equal(info["goal_image"], toys.picture(info["goal_state"]))
    assert info["distance"] == pytest.approx(float(np.linalg.norm(observation["state"] - info["goal_state"])))
    again = env.reset(seed=1)[1]
    np.testing.assert_array_equal(again["goal_state"], info["goal_state"])
    inner = env.unwrapped
    assert isinstance(inner, toys.Point)
    inner.position = info["goal_state"].astype(np.float64)
    assert env.step(np.zeros(2))[4]["success"]


def test_a_function_that_does_not_bring_the_environment_back_is_found() -> None:
    with pytest.raises(
        EnvironmentFailure, match=r"goal_that_moves has moved the environment .*bring .* back"
    ):
        make("Flat", goal=f"{MODULE}:goal_that_moves", success=f"{MODULE}:near_the_middle")


def test_success_within_a_distance_of_the_goals_state() -> None:
    env = make("Flat", goal=f"{MODULE}:fixed_goal", success_distance=0.25)
    _, info = env.reset(seed=1)
    inner = env.unwrapped
    assert isinstance(inner, toys.Point)
    for offset, expected in ((0.2, True), (0.3, False)):
        inner.position = info["goal_state"] * (1 - offset / np.linalg.norm(info["goal_state"]))
        assert env.step(np.zeros(2))[4]["success"] == expected


def test_the_last_frame_of_a_demonstration_in_the_same_scene(recorded: str) -> None:
    env = make(goal="demonstration", goal_data=recorded, success_distance=0.1)
    dataset = LeRobotDataset(recorded)
    for number in range(4):
        episode = dataset.episode(number)
        observation, info = env.reset(seed=99, options={"episode": number})
        np.testing.assert_allclose(observation["state"], episode.states[0], atol=1e-6)
        np.testing.assert_allclose(info["goal_state"], episode.states[-1], atol=1e-6)
        np.testing.assert_array_equal(
            info["goal_image"], episode.frames([-1 + len(episode)])[0].permute(1, 2, 0)
        )
    drawn = [env.reset(seed=seed)[1]["options"]["episode"] for seed in range(12)]
    assert len(set(drawn)) > 1 and drawn == [
        env.reset(seed=seed)[1]["options"]["episode"] for seed in range(12)
    ]


def with_wrist(**options: Any) -> GoalEnv:
    keys = ("image", "wrist", "state")
    return make(kwargs={"keys": keys}, image="image", cameras=("wrist",), success_distance=0.1, **options)


def test_each_camera_shows_the_goal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, info = with_wrist().reset(seed=2)
    np.testing.assert_array_equal(info["goal_image_wrist"], info["goal_image"][::-1])

    env = with_wrist(goal=f"{MODULE}:fixed_goal_of_cameras", success=f"{MODULE}:near_the_middle")
    _, info = env.reset(seed=2)
    np.testing.assert_array_equal(info["goal_image_wrist"], info["goal_image"][::-1])

    monkeypatch.chdir(tmp_path)
    words = [f"env.id={MODULE}:toys/Point-v0", "env.image_size=32", "episodes=2", "steps=12", "workers=1"]
    cameras = ["env.image=image", "env.cameras=[wrist]", "env.kwargs.keys=[image,wrist,state]"]
    assert main(["collect", "name=wrist", *words, *cameras]) == 0
    for goal in ("demonstration", "ahead"):
        _, info = with_wrist(goal=goal, goal_data="runs/collect/wrist", goal_steps=4).reset(seed=3)
        turned = info["goal_image"][::-1].astype(int)
        assert np.abs(info["goal_image_wrist"] - turned).max() <= 60  # recorded videos are lossy


def test_goals_are_in_the_order_of_the_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    options: dict[str, Any] = {
        "kwargs": {"keys": ("image", "wrist", "above", "state")},
        "image": "image",
        "cameras": ("wrist", "above"),
    }
    observation, info = make(**options, goal=f"{MODULE}:goal_above_first").reset(seed=2)
    shown = [key for key in observation if key.startswith("image")]
    assert shown == ["image", "image_wrist", "image_above"]
    assert [key for key in info if key.startswith("goal_image")] == [f"goal_{key}" for key in shown]

    drawn = toys.Point.reset

    def reset(self: toys.Point, **arguments: Any) -> Any:
        found, info = drawn(self, **arguments)
        image = toys.picture(self.goal)[None]
        above_first = {"subgoal_images_above": image[:, :, ::-1], "subgoal_images_wrist": image[:, ::-1]}
        return found, {**info, **above_first, "subgoal_images": image}

    monkeypatch.setattr(toys.Point, "reset", reset)
    _, info = make(**options).reset(seed=2)
    names = ["subgoal_images", "subgoal_images_wrist", "subgoal_images_above"]
    assert [key for key in info if key.startswith("subgoal_images")] == names


@pytest.mark.parametrize("images", [[], [toys.picture(np.zeros(2)), np.zeros((9, 9, 3), np.uint8)]])
def test_sub_goals_of_several_sizes_or_none_are_refused(
    images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = toys.Point.reset

    def reset(self: toys.Point, **arguments: Any) -> Any:
        observation, info = drawn(self, **arguments)
        return observation, {**info, "subgoal_images": images}

    monkeypatch.setattr(toys.Point, "reset", reset)
    with pytest.raises(
        EnvironmentFailure, match=r"has images of the shapes .*allowed is at least one sub-goal"
    ):
        make(image_size=0)


def test_a_goal_of_a_camera_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        EnvironmentFailure, match=r"returned images named image, image_top; allowed are image and"
    ):
        with_wrist(goal=f"{MODULE}:goal_of_an_unknown_camera")


@pytest.mark.parametrize("restore", ["", f"{MODULE}:put_back"])
def test_a_state_some_steps_ahead_in_a_recorded_episode(recorded: str, restore: str) -> None:
    env = make(goal="ahead", goal_data=recorded, goal_steps=5, restore=restore, success_distance=0.1)
    episode = LeRobotDataset(recorded).episode(2)
    observation, info = env.reset(seed=7, options={"episode": 2, "step": 4})
    np.testing.assert_allclose(observation["state"], episode.states[4], atol=1e-5)
    np.testing.assert_allclose(info["goal_state"], episode.states[9], atol=1e-5)
    difference = info["goal_image"].astype(int) - toys.picture(episode.states[9]).astype(int)
    assert np.abs(difference).max() <= (60 if restore else 0)  # a recorded video is lossy, a replay is not
    for action in episode.actions[4:9]:
        info = env.step(action)[4]
    assert info["distance"] < 1e-4 and info["success"]
    chosen = env.reset(seed=11)[1]["options"]
    repeated = env.reset(seed=0, options=chosen)[1]
    np.testing.assert_array_equal(repeated["goal_state"], env.reset(seed=11)[1]["goal_state"])


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Flat", {}, r"info has no goal_image after reset, only nothing.*env.goal=module:function"),
        ("Flat", {"goal": f"{MODULE}:fixed_goal"}, r"what is success\? .*give env.success"),
        ("Point", {"goal": f"{MODULE}:nowhere"}, r"has no function 'nowhere'; "),
        (
            "Point",
            {"goal": "somewhere"},
            r"env.goal is 'somewhere'; allowed: info, demonstration, ahead, or module:",
        ),
        ("Point", {"goal": "ahead"}, r"takes goals from recorded episodes; give env.goal_data=DATASET"),
    ],
)
def test_what_cannot_be_inferred_about_goals_is_asked_for(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=f"(?i){message}"):
        make(name, **options)


def test_goals_from_recordings_need_a_notion_of_success_and_existing_steps(recorded: str) -> None:
    with pytest.raises(
        ConfigError, match=r"what is success\? Goals are from recorded episodes.*env.success_distance"
    ):
        make(goal="ahead", goal_data=recorded, goal_steps=5)
    env = make(goal="ahead", goal_data=recorded, goal_steps=5, success_distance=0.1)
    with pytest.raises(ConfigError, match=r"the reset option episode is 9; allowed: 0 to 3"):
        env.reset(seed=0, options={"episode": 9})
    with pytest.raises(ConfigError, match=r"the reset option step is 8; allowed: 0 to 7"):
        env.reset(seed=0, options={"episode": 0, "step": 8})
    with pytest.raises(ConfigError, match=r"env.goal_steps is 50, and no episode of"):
        make(goal="ahead", goal_data=recorded, goal_steps=50, success_distance=0.1)


def test_goals_from_a_recording_of_other_actions_are_refused(recorded: str) -> None:
    options: dict[str, Any] = {
        "goal": "ahead",
        "goal_data": recorded,
        "goal_steps": 5,
        "success_distance": 0.1,
    }
    with pytest.raises(
        ConfigError, match=r"env.goal_data=.* has actions of 2 numbers, and the environment .* takes 1"
    ):
        make(**options, kwargs={"choices": True})


def test_a_replay_that_leads_elsewhere_is_found(recorded: str) -> None:
    with pytest.raises(
        EnvironmentFailure, match=r"replaying its actions from its seed \d+ leads to .* instead of"
    ):
        make(goal="ahead", goal_data=recorded, goal_steps=5, success_distance=0.1, frame_skip=2)

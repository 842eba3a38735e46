from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from envs import ArmEnv, EnvError
from envs.cameras import CAMERAS


def first(**arguments: Any) -> dict[str, np.ndarray]:
    made = ArmEnv("grasp", variation="none", **arguments)
    observation, _ = made.reset(seed=0)
    made.close()
    return observation


def test_each_camera_has_its_key_and_its_size() -> None:
    made = ArmEnv("grasp", cameras=("wrist", "main", "top"), image_size={"wrist": (40, 56), "top": 24})
    observation, info = made.reset(seed=0)
    shapes = {name: value.shape for name, value in observation.items() if name != "state"}
    assert shapes == {"image": (40, 56, 3), "image_main": (128, 128, 3), "image_top": (24, 24, 3)}
    assert made.observation_space.contains(observation)
    assert info["goal_image"].shape == (40, 56, 3)
    made.close()


def test_the_cameras_see_different_things_and_the_order_does_not_matter() -> None:
    seen = first(cameras=CAMERAS, image_size=64)
    pictures = [seen["image"], *(seen[f"image_{name}"] for name in CAMERAS[1:])]
    for index, picture in enumerate(pictures):
        for other in pictures[:index]:
            assert np.abs(picture.astype(int) - other).mean() > 10
    np.testing.assert_array_equal(first(cameras=("wrist", "main"), image_size=64)["image_main"], pictures[0])


def test_every_camera_shows_the_goal_as_it_observes_it() -> None:
    made = ArmEnv(
        "reach", variation="none", cameras=("main", "wrist"), image_size={"main": 64, "wrist": (32, 48)}
    )
    pose = np.array([0.5, 0.1, 0.2, np.pi, 0.0, 0.0, 0.5])
    observation, info = made.reset(seed=3, options={"start_state": pose, "goal_state": pose})
    np.testing.assert_array_equal(info["goal_image_wrist"], observation["image_wrist"])
    np.testing.assert_array_equal(info["goal_image"], observation["image"])
    made.close()


def test_a_goal_seen_by_a_further_camera_is_the_one_that_it_shows_as_the_first() -> None:
    def goals(*cameras: str) -> dict[str, np.ndarray]:
        made = ArmEnv("push", cameras=cameras, image_size=48)
        info = made.reset(seed=5)[1]
        made.close()
        return {name: value for name, value in info.items() if "goal_image" in name}

    both, main, wrist = goals("main", "wrist"), goals("main"), goals("wrist")
    assert both.keys() == main.keys() | {"goal_image_wrist", "subgoal_images_wrist"}
    for name in main:
        np.testing.assert_array_equal(both[name], main[name])
        np.testing.assert_array_equal(both[f"{name}_wrist"], wrist[name])
        assert np.abs(main[name].astype(int) - wrist[name]).mean() > 10
    assert both["subgoal_images_wrist"].shape == (2, 48, 48, 3)
    np.testing.assert_array_equal(both["subgoal_images_wrist"][-1], both["goal_image_wrist"])


def test_a_crop_is_that_part_of_the_complete_picture_at_the_same_scale() -> None:
    whole = first(image_size=128)["image"]
    np.testing.assert_array_equal(
        first(image_size=64, crop=(0.25, 0.5, 0.75, 1.0))["image"], whole[64:, 32:96]
    )
    np.testing.assert_array_equal(
        first(image_size=(64, 128), crop={"main": (0, 0.5, 1, 1)})["image"], whole[64:]
    )


def test_the_wrist_camera_sees_both_fingers_and_the_object_between_them() -> None:
    made = ArmEnv("reach_with_object", variation="none", cameras=("wrist",))
    image = made.reset(seed=0)[0]["image"].astype(int)
    made.close()
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    orange, object_blue = (red > 2 * green) & (blue < 60), blue > 2 * red
    assert orange[:, :64].sum() > 100
    assert orange[:, 64:].sum() > 100
    assert object_blue[:, 44:84].sum() > 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cameras": ("front",)}, r"cameras \('front',\) are not allowed: give one or several of"),
        ({"cameras": ()}, r"cameras \(\) are not allowed"),
        ({"cameras": ("main", "main")}, "each once"),
        ({"cameras": "main"}, "cameras 'main' are not allowed"),
        ({"image_size": (64, 64, 3)}, r"image_size \(64, 64, 3\) is not allowed"),
        ({"image_size": (64, 8)}, "image_size 8 is out of range"),
        ({"image_size": {"wrist": 64}}, r"names cameras that are not used: cameras are \('main',\)"),
        ({"crop": (0, 0, 1)}, r"crop \(0, 0, 1\) is not allowed"),
        ({"crop": (0.6, 0, 0.5, 1)}, "left < right"),
        ({"crop": (0, 0, 1, 1.5)}, "from 0 to 1"),
    ],
)
def test_bad_views_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        ArmEnv("grasp", **arguments)

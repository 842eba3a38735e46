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

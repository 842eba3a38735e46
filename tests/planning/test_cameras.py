"""Pictures of several cameras side by side."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_world.errors import ConfigError
from vjepa_world.planning.cameras import side_by_side

PICTURES = {
    name: np.full((2, 4, 5, 3), value, np.uint8) for value, name in enumerate(("goal", "goal_a", "goal_b"))
}


def test_the_first_cameras_are_side_by_side_in_their_order() -> None:
    wide = side_by_side({**PICTURES, "state": np.zeros(3)}, "goal", views=2)
    assert wide.shape == (2, 4, 10, 3) and wide.dtype == np.uint8
    assert (wide[..., :5, :] == 0).all() and (wide[..., 5:, :] == 1).all()
    np.testing.assert_array_equal(side_by_side(PICTURES, "goal"), PICTURES["goal"])


def test_one_camera_gives_a_copy_that_the_environment_cannot_draw_over() -> None:
    drawn = np.zeros((4, 4, 3), np.uint8)
    kept = side_by_side({"image": drawn})
    drawn[:] = 255
    assert (kept == 0).all()


def test_too_few_cameras_and_different_sizes_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"looks at 4 cameras side by side, and the environment shows only goal, goal_a"
    ):
        side_by_side(PICTURES, "goal", views=4)
    with pytest.raises(ConfigError, match=r"differ in size: .*goal_b.*\(2, 2, 5, 3\).*Give env.image_size"):
        side_by_side({**PICTURES, "goal_b": PICTURES["goal_b"][:, :2]}, "goal", views=3)

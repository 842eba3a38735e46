from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from envs import ArmEnv, EnvError, Variation, list_factors, list_robots, list_tasks
from envs.scenes.factors import FACTORS
from envs.scenes.scene import Scene

#: A value of each factor of scene and object that no episode has by chance.
VALUES: dict[str, Any] = {
    "camera.azimuth": 0.2,
    "camera.elevation": 0.15,
    "camera.distance": 0.25,
    "camera.look_at_x": 0.05,
    "camera.look_at_y": 0.05,
    "camera.look_at_z": 0.05,
    "light.azimuth": 2.5,
    "light.elevation": 0.3,
    "light.intensity": 1.2,
    "table.rgb": (0.1, 0.9, 0.2),
    "table.texture": "rings",
    "table.texture_seed": 77,
    "table.contrast": 0.6,
    "walls.rgb": [0.9, 0.1, 0.1],
    "arm.rgb": (0.2, 0.2, 0.9),
    "clutter.count": 1,
    "object.shape": "cup",
    "object.width": 0.049,
    "object.aspect": 1.17,
    "object.rgb": (1.0, 1.0, 1.0),
    "object.yaw": 0.38,
    "object.x": 0.5,
    "object.y": 0.05,
}


@pytest.fixture(scope="module")
def env() -> Iterator[ArmEnv]:
    made = ArmEnv("grasp", image_size=64)
    yield made
    made.close()


def flat(scene: Scene) -> dict[str, Any]:
    values = dataclasses.asdict(scene)
    handled = values.pop("object")
    return values | {f"object.{name}": value for name, value in handled.items()}


@pytest.mark.parametrize("name", VALUES)
def test_a_factor_changes_alone_and_is_seen(env: ArmEnv, name: str) -> None:
    seed = (
        7  # a checkered table, a box, and two other objects that are not in the way of the first layout drawn
    )
    plain, info = env.reset(seed=seed)
    varied, other = env.reset(seed=seed, options={"variation": {name: VALUES[name]}})
    before, after = flat(info["scene"]), flat(other["scene"])
    field = FACTORS[name].field
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {f"object.{field}" if name.startswith("object.") else field}
    assert (plain["image"] != varied["image"]).any()


def test_every_factor_of_scene_and_object_was_tried() -> None:
    assert set(VALUES) == {name for name, factor in FACTORS.items() if factor.part != "goal"}


def test_goals_are_where_they_are_told_to_be() -> None:
    made = ArmEnv("pick_place", image_size=32)
    goal = {"object.x": 0.45, "object.y": -0.1, "goal.x": 0.52, "goal.y": 0.12, "clutter.count": 0}
    for seed in range(3):
        made.reset(seed=seed, options={"variation": goal})
        state = made.get_state()
        assert state.goal.object_m is not None
        np.testing.assert_allclose(state.goal.object_m[:2], (0.52, 0.12), atol=0.02)
    made.close()


def test_a_given_camera_holds_although_the_cameras_are_fixed() -> None:
    made = ArmEnv("reach", image_size=32, camera="fixed")
    given = {"variation": {"camera.azimuth": 0.3}}
    assert made.reset(seed=0, options=given)[1]["scene"].camera_offset == (0.3, 0.0, 0.0)
    made.close()


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        ({"light.colour": 1}, r"factors \['light.colour'\] are unknown or not of this task: use some of"),
        ({"light.azimuth": "left"}, "light.azimuth 'left' is not allowed: give a number from -3.15 to 3.15"),
        ({"light.azimuth": float("nan")}, "light.azimuth nan is not allowed"),
        ({"object.width": 0.2}, "object.width 0.2 is not allowed: give a number from 0.035 to 0.06"),
        ({"table.rgb": (0.1, 0.2)}, r"table.rgb \(0.1, 0.2\) is not allowed: give red, green, blue"),
        ({"table.rgb": (0.1, 0.2, 7)}, "from 0 to 1"),
        ({"object.shape": "cone"}, "object.shape 'cone' is not allowed: use one of"),
        ({"clutter.count": 1.5}, "clutter.count 1.5 is not a whole number"),
        ("light.azimuth", "the option variation 'light.azimuth' is not a mapping"),
        (
            {"object.x": 0.5, "object.y": 0.0, "goal.x": 0.5, "goal.y": 0.01},
            "no layout of object and goal in 30 scenes is possible .* too far from it",
        ),
    ],
)
def test_bad_factors_are_refused(factors: Any, message: str) -> None:
    made = ArmEnv("pick_place", image_size=32)
    with pytest.raises(EnvError, match=message):
        made.reset(seed=0, options={"variation": factors})
    made.close()


@pytest.mark.filterwarnings("error")
def test_a_push_to_where_the_object_stands_is_refused() -> None:
    made = ArmEnv("push", image_size=32)
    factors = {"object.x": 0.5, "object.y": 0.0, "goal.x": 0.5, "goal.y": 0.0}
    with pytest.raises(EnvError, match="the goal is too near to the object"):
        made.reset(seed=0, options={"variation": factors})
    made.close()


def test_reach_has_no_factors_of_an_object() -> None:
    made = ArmEnv("reach", image_size=32)
    with pytest.raises(EnvError, match="unknown or not of this task"):
        made.reset(seed=0, options={"variation": {"object.width": 0.05}})
    made.close()


def test_listings_name_what_there_is() -> None:
    assert [task.name for task in list_tasks()] == [
        *("reach", "push", "grasp", "reach_with_object", "pick_place"),
    ]
    assert "panda" in {robot.name for robot in list_robots()}
    for factor in list_factors():
        assert factor.drawn(Variation.train())
        assert factor.drawn(Variation.test())
    held_out = {
        factor.name
        for factor in list_factors()
        if factor.drawn(Variation.train()) != factor.drawn(Variation.test())
    }
    assert {"camera.azimuth", "light.azimuth", "table.rgb", "object.width", "object.rgb"} <= held_out


def test_factors_and_ranges_of_an_environment_hold_in_all_episodes() -> None:
    """A list is what a command line gives; an option of a reset goes before."""
    env = ArmEnv("reach", factors={"camera.azimuth": 0.3}, ranges={"clutter_count": [3, 3]})
    scenes = [env.reset(seed=seed)[1]["scene"] for seed in range(2)]
    assert [scene.camera_offset[0] for scene in scenes] == [0.3, 0.3]
    assert [len(scene.clutter) for scene in scenes] == [3, 3]
    _, info = env.reset(seed=0, options={"variation": {"camera.azimuth": 0.1}})
    assert info["scene"].camera_offset[0] == 0.1
    env.close()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"factors": {"camera.roll": 0.1}}, r"factors \['camera.roll'\] are unknown or not of this task"),
        ({"ranges": {"camera": [0, 1]}}, r"ranges \['camera'\] are unknown: use some of \['camera_scale'"),
        ({"ranges": {"camera_scale": [0.1]}}, r"camera_scale \(0.1,\) is not allowed: give 3 finite numbers"),
    ],
)
def test_wrong_factors_and_ranges_of_an_environment_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        ArmEnv("reach", **given)

from __future__ import annotations

import math

import mujoco
import numpy as np
import pytest

from envs.scenes.objects import (
    MAX_PARTS,
    OBJECT_SHAPES,
    ObjectShape,
    ObjectSpec,
    Part,
    mass_properties,
    parts_of,
)


def spec_of(shape: ObjectShape, aspect: float = 1.3) -> ObjectSpec:
    return ObjectSpec(
        shape=shape, width_m=0.05, aspect=aspect, position_m=(0.5, 0.0), yaw_rad=0.0, rgb=(0.5, 0.5, 0.5)
    )


@pytest.mark.parametrize("shape", OBJECT_SHAPES)
def test_mass_and_inertia_are_those_that_mujoco_computes_of_the_same_shapes(shape: ObjectShape) -> None:
    geoms = "".join(
        f'<geom type="{part.kind}" size="{" ".join(map(str, part.size_m))}" density="500" '
        f'pos="{" ".join(map(str, part.position_m))}" euler="0 0 {part.yaw_rad}"/>'
        for part in parts_of(spec_of(shape))
    )
    model = mujoco.MjModel.from_xml_string(
        f'<mujoco><compiler angle="radian"/><worldbody><body><freejoint/>{geoms}</body></worldbody></mujoco>'
    )
    mass, centre, inertia = mass_properties(spec_of(shape))
    assert mass == pytest.approx(model.body_mass[1])
    np.testing.assert_allclose(centre, model.body_ipos[1], atol=1e-9)
    np.testing.assert_allclose(np.sort(inertia), np.sort(model.body_inertia[1]), rtol=1e-6)


@pytest.mark.parametrize("shape", OBJECT_SHAPES)
def test_an_object_fills_its_width_and_height(shape: ObjectShape) -> None:
    spec = spec_of(shape)
    parts = parts_of(spec)
    assert len(parts) <= MAX_PARTS
    tops = [
        part.position_m[2]
        + {"box": part.size_m[2], "cylinder": part.size_m[1], "sphere": part.size_m[0]}[part.kind]
        for part in parts
    ]
    assert max(tops) == pytest.approx(spec.height_m / 2)
    sides = [part.position_m[0] + part.size_m[0] for part in parts if part.yaw_rad == 0.0]
    assert max(sides) == pytest.approx(spec.width_m / 2 * (1.7 if shape == "bar" else 1.0))


def outline(part: Part, yaw_rad: float) -> np.ndarray:
    """Return points around a part, `[N, 2]`, of an object turned about z."""
    x, y, _ = part.size_m
    if part.kind == "box":
        own, turn = np.array([[x, y], [x, -y], [-x, y], [-x, -y]]), part.yaw_rad
    else:
        angles = np.linspace(0, 2 * math.pi, 720)
        own, turn = x * np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.0

    def turned(points: np.ndarray, angle: float) -> np.ndarray:
        c, s = math.cos(angle), math.sin(angle)
        return points @ np.array([[c, s], [-s, c]])

    return turned(turned(own, turn) + part.position_m[:2], yaw_rad)


@pytest.mark.parametrize("shape", OBJECT_SHAPES)
@pytest.mark.parametrize("yaw_rad", [0.0, 0.3, -2.0])
def test_an_object_reaches_as_far_as_the_farthest_point_of_its_shapes(
    shape: ObjectShape, yaw_rad: float
) -> None:
    spec = spec_of(shape)
    points = np.concatenate([outline(part, yaw_rad) for part in parts_of(spec)])
    edges = 1 / math.cos(math.pi / 8) if shape == "cup" else 1.0  # of an octagon
    for angle in np.linspace(-3.0, 3.0, 25):
        along = np.array([math.cos(angle), math.sin(angle)])
        reach = spec.reach_m(3 * along, yaw_rad)
        assert reach * (1 - 1e-4) <= (points @ along).max() <= reach * edges * (1 + 1e-4)


def test_the_fingers_close_on_the_short_side_of_a_bar() -> None:
    [bar] = parts_of(spec_of("bar"))
    assert bar.size_m[0] > bar.size_m[1] == pytest.approx(0.05 / 2)


def test_a_cup_is_hollow_and_open() -> None:
    walls = parts_of(spec_of("cup"))
    assert mass_properties(spec_of("cup"))[0] < 0.5 * mass_properties(spec_of("cylinder"))[0]
    assert not any(part.position_m[0] == 0 and part.position_m[2] > 0 for part in walls)


@pytest.mark.parametrize(
    ("shape", "yaw_rad", "expected"),
    [
        ("box", 0.3, 0.3),
        ("box", 1.5, 1.5 - math.pi / 2),
        ("box", -2.0, math.pi / 2 * 1 - 2.0),
        ("bar", 1.5, 1.5),
        ("bar", 2.0, 2.0 - math.pi),
        ("cup", 0.5, 0.5 - math.pi / 4),
        ("cylinder", 0.7, 0.0),
        ("ball", 0.7, 0.0),
    ],
)
def test_the_hand_turns_to_the_nearest_rotation_that_fits(
    shape: ObjectShape, yaw_rad: float, expected: float
) -> None:
    assert spec_of(shape).nearest_grasp_rad(yaw_rad) == pytest.approx(expected)

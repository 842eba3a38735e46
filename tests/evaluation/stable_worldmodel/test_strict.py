"""The strict criteria, against rotations and paths whose answer is known."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from vjepa_world.evaluation.stable_worldmodel import strict


def turn(axis: tuple[float, float, float], degrees: float) -> np.ndarray:
    """Return the quaternion w x y z of a turn about an axis of length 1."""
    half = np.radians(degrees) / 2
    return np.array([np.cos(half), *(np.sin(half) * np.array(axis))])


def product(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return Hamilton's product of two quaternions."""
    scalar = one[0] * two[0] - one[1:] @ two[1:]
    return np.append(scalar, one[0] * two[1:] + two[0] * one[1:] + np.cross(one[1:], two[1:]))


X, Y, Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("flags", "steps", "held"),
    [([1, 1, 0, 1], 3, False), ([0, 1, 1, 1], 3, True), ([], 1, False), ([0, 1], 1, True)],
)
def test_held(flags: list[int], steps: int, held: bool) -> None:
    assert strict.is_held(np.array(flags, bool), steps) is held


def test_a_cube_looks_the_same_after_any_of_its_rotations() -> None:
    goal = product(turn(Z, 33), turn(X, 71))
    quarters = [turn(axis, angle) for axis in (X, Y, Z) for angle in (0, 90, 180, 270)]
    symmetries = [product(one, two) for one, two in itertools.product(quarters, quarters)]
    rotations = np.array([product(goal, symmetry) for symmetry in symmetries])
    assert strict.cube_angle_deg(rotations, goal) == pytest.approx(0, abs=1e-5)
    assert len(strict._CUBE_ROTATIONS) == 24


@pytest.mark.parametrize(("angle", "expected"), [(10, 10), (45, 45), (80, 10), (-95, 5), (170, 10)])
def test_the_angle_of_a_cube_is_the_one_to_the_nearest_pose_that_looks_the_same(
    angle: float, expected: float
) -> None:
    goal = product(turn(Y, 20), turn(Z, 50))
    turned = product(goal, turn(Z, angle))
    assert strict.cube_angle_deg(turned[None], goal) == pytest.approx(expected)


def test_a_cube_is_reached_within_distance_and_angle() -> None:
    near, far, turned = (
        ([0.02, 0, 0], turn(Z, 14)),
        ([0.04, 0, 0], turn(Z, 0)),
        ([0.0, 0, 0], turn(Z, 20)),
    )
    position, rotation = strict.Cube().columns
    trace = {
        position: np.array([p for p, _ in (near, far, turned)]),
        rotation: np.array([q for _, q in (near, far, turned)]),
    }
    goal = {position: np.zeros(3), rotation: turn(Z, 0)}
    assert strict.Cube().reached({}, trace, goal, None).tolist() == [True, False, False]


def test_push_t_takes_angles_modulo_a_turn() -> None:
    goal = {"state": np.array([100, 100, 200, 200, 0.05, 0, 0.0])}
    rows = [
        [100, 100, 206, 207, 2 * np.pi - 0.05, 9, 9],  # 9.2 pixels, 5.7 degrees
        [100, 100, 208, 207, 0.05, 0, 0],  # 10.6 pixels
        [100, 100, 200, 200, 0.05 + np.radians(11), 0, 0],
    ]
    assert strict.PushT().reached({}, {"state": np.array(rows)}, goal, None).tolist() == [True, False, False]


def test_the_fingertip_is_reached_within_a_centimetre() -> None:
    trace = {"finger_pos": np.array([[0.0, 0.009], [0.0, 0.011]])}
    found = strict.Reacher().reached({}, trace, {"finger_pos": np.zeros(2)}, None)
    assert found.tolist() == [True, False]


#: A wall at x = 112 of thickness 10 with a door from y = 35 to 63.
ROOMS = SimpleNamespace(
    wall_axis=1, wall_pos=112.0, wall_thickness=10, door_positions=[49.0], door_sizes=[14.0], num_doors=1
)


@pytest.mark.parametrize(
    ("path", "lawful"),
    [
        ([[80, 49], [105, 50], [112, 48], [125, 50], [150, 100]], True),
        ([[80, 100], [106, 100], [112, 100], [120, 100]], False),
        ([[80, 49], [110, 60], [112, 70], [125, 50]], False),  # leaves the door inside of the wall
        ([[80, 100], [150, 100]], False),  # jumps over the wall
        ([[80, 49], [150, 49]], True),
        ([[20, 20], [30, 30]], True),
    ],
)
def test_two_room_is_reached_through_the_door_alone(path: list[list[float]], lawful: bool) -> None:
    positions = np.array(path, float)
    found = strict.TwoRoom().reached(
        {"state": positions[0]}, {"state": positions[1:]}, {"state": positions[-1]}, ROOMS
    )
    assert bool(found[-1]) is lawful


def test_an_unlawful_crossing_is_not_forgiven_and_a_horizontal_wall_is_turned() -> None:
    rooms = SimpleNamespace(**{**vars(ROOMS), "wall_axis": 0})
    over = np.array([[100, 80], [100, 130], [100, 80], [49, 80], [49, 130.0]])
    found = strict.TwoRoom().reached({"state": over[0]}, {"state": over[1:]}, {"state": over[-1]}, rooms)
    assert not found.any()
    through = over[[0, 3, 4]]
    found = strict.TwoRoom().reached(
        {"state": through[0]}, {"state": through[1:]}, {"state": through[-1]}, rooms
    )
    assert found.tolist() == [False, True]

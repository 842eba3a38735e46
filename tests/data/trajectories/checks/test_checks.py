"""Each check finds its problem with its location, and nothing in correct data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.data.arm_motion import FPS, arm_episodes, make_trajectory
from tests.paths import SHARED_DATA
from vjepa_world.data.trajectories.checks.run import Finding, check_images, check_numbers
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.convention import PLAIN, ROTATIONS, Convention

DELTA = Convention(actions="delta")
BRIDGE = SHARED_DATA / "robot" / "bridge_debug.tfrecord"


def quaternion(kind: str, actions: Any = "derived") -> Convention:
    return Convention(rotation=kind, rotation_at=(3, 4, 5, 6), gripper_at=(7,), actions=actions)


def spoil(
    episodes: Sequence[Trajectory], change: Callable[[np.ndarray], np.ndarray], field: str = "states"
) -> list[Trajectory]:
    changes: list[dict[str, Any]] = [{field: change(getattr(e, field).copy())} for e in episodes]
    return [replace(e, **changed) for e, changed in zip(episodes, changes, strict=True)]


def scaled(
    positions: slice | list[int], factor: float, shift: float = 0.0
) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values[:, positions] = values[:, positions] * factor + shift
        return values

    return change


def only(findings: Sequence[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize("rotation", [name for name in ROTATIONS if name != "none"])
@pytest.mark.parametrize("actions", ["delta", "derived", "target"])
def test_correct_data_has_no_findings(rotation: str, actions: Any) -> None:
    numbers = ROTATIONS[rotation]
    convention = Convention(
        rotation=rotation,
        rotation_at=tuple(range(3, 3 + numbers)),
        gripper_at=(3 + numbers,),
        actions=actions,
    )
    assert check_numbers(arm_episodes(convention), convention) == []


def test_other_declared_units_have_no_findings() -> None:
    convention = Convention(
        position_unit="mm", angle_unit="deg", gripper_open=0.08, gripper_closed=0.0, actions="delta"
    )
    assert check_numbers(arm_episodes(convention), convention) == []


def test_positions_in_millimetres() -> None:
    found = only(check_numbers(spoil(arm_episodes(Convention()), scaled(slice(0, 3), 1000)), Convention()))
    assert (found.check, found.severity, found.episode, found.row) == ("position unit", "error", 0, 0)
    assert "set position_unit=mm" in found.message


def test_positions_in_metres_declared_as_millimetres() -> None:
    found = only(check_numbers(arm_episodes(Convention()), Convention(position_unit="mm")))
    assert (found.check, found.severity) == ("position unit", "warning")
    assert "set position_unit=m" in found.message


@pytest.mark.parametrize(("rotation", "place"), [("xyz", "3 (a)"), ("ZYX", "5 (c)"), ("rotvec", "3 (a)")])
def test_angles_in_degrees(rotation: str, place: str) -> None:
    declared = Convention(rotation=rotation)
    episodes = arm_episodes(replace(declared, angle_unit="deg"))
    found = only(check_numbers(episodes, declared, state_names=("x", "y", "z", "a", "b", "c", "g")))
    assert (found.check, found.severity, found.episode, found.row) == ("angle unit", "error", 0, 0)
    assert "set angle_unit=deg" in found.message
    assert f"state {place} reads" in found.message


def test_radians_declared_as_degrees() -> None:
    findings = check_numbers(arm_episodes(Convention()), Convention(angle_unit="deg"))
    assert [f.check for f in findings if "set angle_unit=rad" in f.message] == ["angle unit"]


def test_a_continuously_turning_wrist_is_not_taken_for_degrees() -> None:
    def turn_on(states: np.ndarray) -> np.ndarray:
        states[:, 5] = np.linspace(0, 20, len(states))  # 1.7 rad/s
        return states

    assert check_numbers(spoil(arm_episodes(Convention()), turn_on), Convention()) == []


@pytest.mark.parametrize("kinds", [("quat_wxyz", "quat_xyzw"), ("quat_xyzw", "quat_wxyz")])
def test_a_wrong_quaternion_order_is_detected_from_actions(kinds: tuple[str, str]) -> None:
    written, declared = kinds
    episodes = arm_episodes(quaternion(written, "delta"))
    found = only([f for f in check_numbers(episodes, quaternion(declared, "delta")) if f.severity == "error"])
    assert found.check == "quaternion order"
    assert f"set rotation={written}" in found.message
    assert "do not follow the actions" in found.message


@pytest.mark.parametrize("kinds", [("quat_wxyz", "quat_xyzw"), ("quat_xyzw", "quat_wxyz")])
def test_a_wrong_quaternion_order_is_detected_from_signs(kinds: tuple[str, str]) -> None:
    """Without actions that turn: a writer that keeps w from being negative, and a gripper that points down."""
    written, declared = kinds
    episodes = spoil(arm_episodes(quaternion(written)), lambda actions: actions[:, :3], "actions")
    found = only(check_numbers(episodes, quaternion(declared)))
    assert (found.check, found.severity) == ("quaternion order", "error")
    assert f"set rotation={written}" in found.message
    assert check_numbers(episodes, quaternion(written)) == []


def test_the_quaternion_order_is_unknown_without_sign_jumps() -> None:
    def continuous(states: np.ndarray) -> np.ndarray:
        for row in range(1, len(states)):
            if states[row, 3:7] @ states[row - 1, 3:7] < 0:
                states[row, 3:7] *= -1
        return states

    episodes = spoil(arm_episodes(quaternion("quat_xyzw")), lambda actions: actions[:, :3], "actions")
    assert check_numbers(spoil(episodes, continuous), quaternion("quat_xyzw")) == []


def test_four_numbers_that_are_not_a_quaternion() -> None:
    convention = replace(quaternion("quat_xyzw"), rotation_at=(1, 2, 3, 4))
    findings = check_numbers(arm_episodes(quaternion("quat_xyzw")), convention)
    lengths = [f for f in findings if f.check == "quaternion"]
    assert [f.episode for f in lengths] == [0, 1, 2, 3, 4, 5]
    assert "entries 1, 2, 3, 4 of the state have norm" in lengths[0].message


def test_a_gripper_in_percent() -> None:
    found = only(check_numbers(spoil(arm_episodes(Convention()), scaled([6], 100)), Convention()))
    assert (found.check, found.severity, found.episode) == ("gripper unit", "error", 0)
    assert "reads 0 to 100 (percent?)" in found.message


def test_a_gripper_in_metres() -> None:
    width = spoil(arm_episodes(Convention()), scaled([6], -0.08, 0.08))
    found = only(check_numbers(width, Convention()))
    assert (found.check, found.severity) == ("gripper unit", "warning")
    assert "set gripper_open=0.08 gripper_closed=0" in found.message


def test_an_inverted_gripper() -> None:
    swapped = spoil(arm_episodes(DELTA), scaled([6], -1, 1))
    found = only(check_numbers(swapped, DELTA))
    assert (found.check, found.severity) == ("gripper direction", "error")
    assert "set gripper_open=1 gripper_closed=0" in found.message
    assert check_numbers(swapped, replace(DELTA, gripper_open=1.0, gripper_closed=0.0)) == []
    hint = only(check_numbers(swapped, Convention()))
    assert (hint.check, hint.severity, hint.episode, hint.row) == ("gripper direction", "note", 0, 0)
    assert "closed at the start of 100%" in hint.message


@pytest.mark.parametrize(("shift", "words"), [(1, "row t+1"), (-1, "row t-1")])
@pytest.mark.parametrize("convention", [Convention(actions="given"), Convention(), PLAIN])
def test_actions_one_row_off(shift: int, words: str, convention: Convention) -> None:
    late = spoil(arm_episodes(DELTA), lambda actions: np.roll(actions, shift, axis=0), "actions")
    found = only([f for f in check_numbers(late, convention) if f.check == "action lag"])
    assert found.severity == ("note" if convention.actions == "derived" else "error")
    assert f"best by the action of {words}" in found.message


@pytest.mark.parametrize("convention", [Convention(actions="given"), PLAIN])
def test_actions_unrelated_to_the_motion(convention: Convention) -> None:
    rng = np.random.default_rng(0)
    noise = spoil(arm_episodes(DELTA), lambda actions: rng.normal(size=actions.shape), "actions")
    found = only(check_numbers(noise, convention))
    assert (found.check, found.severity) == ("actions", "warning")
    assert "actions explain nothing of how the state changes" in found.message


def test_actions_in_another_frame_explain_the_motion_too() -> None:
    turned = spoil(arm_episodes(DELTA), lambda actions: actions[:, [1, 2, 0, 4, 5, 3, 6]] * -3, "actions")
    assert check_numbers(turned, Convention(actions="given")) == []


def test_deltas_that_are_not_in_metres() -> None:
    found = only(check_numbers(spoil(arm_episodes(DELTA), scaled(slice(0, 3), 20), "actions"), DELTA))
    assert (found.check, found.severity) == ("action scale", "error")
    assert "moves 0.05 m for an action of 1" in found.message


def test_columns_of_different_length() -> None:
    episodes = arm_episodes(DELTA)
    episodes[3] = replace(episodes[3], columns={"reward": np.zeros(59)})
    found = only(check_numbers(episodes, DELTA))
    assert (found.check, found.episode) == ("lengths", 3)
    assert "60 states and 59 rows of reward, expected 60" in found.message


def test_clocks() -> None:
    episodes = arm_episodes(DELTA)
    jumped, backwards = (episodes[0].timestamps_s.copy() for _ in range(2))
    jumped[20:] += 1.0
    backwards[30:] -= 0.5
    episodes[1] = replace(episodes[1], timestamps_s=jumped)
    episodes[4] = replace(episodes[4], timestamps_s=backwards)
    back, jump = check_numbers(episodes, DELTA)
    assert (back.check, back.severity, back.episode, back.row) == ("clock", "error", 4, 29)
    assert (jump.check, jump.severity, jump.episode, jump.row) == ("clock", "warning", 1, 19)
    assert "1.2 s, expected 0.2 s" in jump.message
    slow = spoil(arm_episodes(DELTA), lambda times: times * 3, "timestamps_s")
    rate = only(check_numbers(slow, DELTA))
    assert rate.check == "rate"
    assert f"fps is {FPS:g}, and the interval between rows is 0.6 s" in rate.message


def test_columns_that_never_change() -> None:
    still = spoil(arm_episodes(DELTA), scaled([4, 5], 0, 0.5))
    findings = [
        f for f in check_numbers(still, PLAIN, state_names=list("xyzabcg")) if f.check == "constant columns"
    ]
    assert "state 4 (b) = 0.5, 5 (c) = 0.5 in every row" in only(findings).message


def test_a_position_that_jumps() -> None:
    def cut(states: np.ndarray) -> np.ndarray:
        states[40:, 0] += 1.0
        return states

    episodes = arm_episodes(Convention())
    episodes[2:3] = spoil(episodes[2:3], cut)
    found = only(check_numbers(episodes, Convention()))
    assert (found.check, found.severity, found.episode, found.row) == ("jump", "warning", 2, 39)


def test_a_convention_that_does_not_fit_is_found_and_the_rest_is_checked() -> None:
    episodes = spoil(arm_episodes(DELTA), lambda states: states[:, :6])
    findings = check_numbers(episodes, DELTA)
    assert {f.check for f in findings} == {"convention"}
    assert [f.episode for f in findings] == list(range(6))
    assert "gripper_at names index 6" in findings[0].message


def with_frames(rows: int, **cameras: np.ndarray) -> Trajectory:
    states = np.linspace(0, 1, rows)[:, None].repeat(3, axis=1)
    return make_trajectory(7, states, np.diff(states, axis=0), frames=cameras)


def noise(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).integers(0, 255, (rows, 3, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize(
    ("first", "count", "severity"), [(5, 1, "warning"), (62, 4, "error"), (1, 99, "error")]
)
def test_a_camera_that_is_stuck(first: int, count: int, severity: str) -> None:
    frames = noise(100)
    frames[first : first + count] = frames[first - 1]
    found = only(check_images([with_frames(100, good=noise(100), bad=frames)], ("good", "bad")))
    assert (found.check, found.severity, found.episode, found.row) == ("stuck frames", severity, 7, first)
    assert f"in {count} of 99 rows, {count} in a row at most" in found.message
    assert "camera bad" in found.message


def test_identical_frames_are_allowed_while_nothing_moves() -> None:
    frames = noise(100)
    frames[20:40] = frames[20]
    episode = with_frames(100, main=frames)
    still = episode.states.copy()
    still[20:40] = still[20]
    assert check_images([replace(episode, states=still)], ("main",)) == []


def test_a_camera_that_shows_nothing() -> None:
    blank = np.full((100, 3, 8, 8), 7, np.uint8)
    found = only(check_images([with_frames(100, main=blank)], ("main",)))
    assert (found.check, found.severity) == ("blank camera", "error")
    found = only(check_images([with_frames(100, main=blank), with_frames(100, main=noise(100))], ("main",)))
    assert (found.check, found.severity) == ("blank camera", "warning")
    assert "in 1 of 2 episodes" in found.message


def test_fewer_frames_than_rows() -> None:
    found = only(check_images([with_frames(100, main=noise(90))], ("main",)))
    assert (found.check, found.severity, found.episode) == ("frames", "error", 7)
    assert "main.mp4 ends before row" in found.message


def test_findings_are_sorted_by_severity() -> None:
    episodes = spoil(arm_episodes(DELTA), scaled(slice(0, 3), 1000))
    episodes[0] = replace(episodes[0], states=episodes[0].states * math.nan)
    severities = [f.severity for f in check_numbers(episodes, replace(DELTA, actions="derived"))]
    assert severities == sorted(severities, key=("error", "warning", "note").index)
    assert len(severities) >= 2


def test_real_robot_data() -> None:
    """Bridge: the numbers are right; its fourth camera was not there, which shows where it is asked for."""
    if not BRIDGE.is_file():
        pytest.skip(f"real trajectories are not here: {BRIDGE}")
    from vjepa_world.data.trajectories.registry import open_trajectories

    dataset = open_trajectories(BRIDGE)
    episodes = [dataset.episode(index) for index in range(dataset.num_episodes)]
    assert check_numbers(episodes, dataset.convention) == []
    swapped = check_numbers(episodes, replace(dataset.convention, gripper_open=0.0, gripper_closed=1.0))
    assert [(f.check, f.severity) for f in swapped] == [("gripper direction", "note")]
    degrees = check_numbers(episodes, replace(dataset.convention, angle_unit="deg"))
    assert "angle unit" in {f.check for f in degrees}
    assert check_images(episodes, dataset.cameras) == []
    dataset.close()
    dataset = open_trajectories(BRIDGE, cameras=tuple(f"image_{place}" for place in range(4)))
    episodes = [dataset.episode(index) for index in range(dataset.num_episodes)]
    found = only(check_images(episodes, dataset.cameras))
    assert (found.check, found.severity) == ("blank camera", "error")
    assert "camera image_3" in found.message
    dataset.close()

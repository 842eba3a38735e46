"""States of other conventions are converted to our poses and back."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import pytest
import torch

from vjepa_world.errors import ConfigError
from vjepa_world.ops.convention import LENGTHS_M, PLAIN, ROTATIONS, Convention, is_joint_name, resolve_joints
from vjepa_world.ops.pose import PoseError, euler_to_matrix, from_pose, to_pose, unwrap_angles

PI = math.pi


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def random_poses(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    angles = (torch.rand(count, 3, generator=generator, dtype=torch.float64) * 2 - 1) * tensor(PI, 1.5, PI)
    position = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return torch.cat([position, angles, torch.rand(count, 1, generator=generator, dtype=torch.float64)], 1)


def test_our_own_convention_is_the_identity() -> None:
    states = random_poses(50)
    states[:, 4] += 3  # angles that we write otherwise are not rewritten
    assert torch.equal(to_pose(states, Convention()), states)
    assert torch.equal(from_pose(states, Convention()), states)


@pytest.mark.parametrize(
    ("convention", "state", "pose"),
    [
        (
            {"position_unit": "mm", "angle_unit": "deg", "gripper_open": 100, "gripper_closed": 0},
            (400, -50, 300, 180, 0, -90, 25),
            (0.4, -0.05, 0.3, PI, 0, -PI / 2, 0.75),
        ),
        # A gripper that points down, turned by a quarter about the vertical: (c, s, 0, 0) with c = s = sqrt(1/2).
        (
            {"rotation": "quat_xyzw", "rotation_at": (3, 4, 5, 6), "gripper_at": (7,)},
            (0.1, 0.2, 0.3, 0.5**0.5, 0.5**0.5, 0, 0, 1),
            (0.1, 0.2, 0.3, PI, 0, PI / 2, 1),
        ),
        (
            {"rotation": "quat_wxyz", "rotation_at": (3, 4, 5, 6), "gripper_at": ()},
            (0.1, 0.2, 0.3, 0.5**0.5, 0, 0, 0.5**0.5),
            (0.1, 0.2, 0.3, 0, 0, PI / 2, 0),
        ),
        # Two fingers of 4 cm each, indices in any order, other numbers between those of the pose.
        (
            {
                "position_at": (5, 4, 3),
                "rotation": "none",
                "rotation_at": (),
                "gripper_at": (0, 1),
                "gripper_open": 0.08,
                "gripper_closed": 0.0,
            },
            (0.02, 0.02, 9, 3, 2, 1),
            (1, 2, 3, 0, 0, 0, 0.5),
        ),
        # The dataset's frame lies at (1, 0, 0.5) in the base, turned by a quarter about z: its x is the base's y.
        (
            {"frame": (1, 0, 0.5, 0, 0, PI / 2)},
            (0.2, 0.3, 0.1, 0, 0, 0.1, 0),
            (0.7, 0.2, 0.6, 0, 0, PI / 2 + 0.1, 0),
        ),
    ],
)
def test_worked_cases(convention: dict[str, Any], state: tuple[float, ...], pose: tuple[float, ...]) -> None:
    declared = Convention(**convention)
    found = to_pose(tensor(*state), declared)
    torch.testing.assert_close(found[[0, 1, 2, 6]], tensor(*pose)[[0, 1, 2, 6]], atol=1e-12, rtol=0)
    torch.testing.assert_close(
        euler_to_matrix(found[3:6]), euler_to_matrix(tensor(*pose[3:6])), atol=1e-12, rtol=0
    )
    back = from_pose(found, declared)
    used = [*declared.position_at, *declared.rotation_at]
    torch.testing.assert_close(back[used], tensor(*state)[used], atol=1e-9, rtol=0)


@pytest.mark.parametrize("rotation", list(ROTATIONS))
@pytest.mark.parametrize("unit", list(LENGTHS_M))
@pytest.mark.parametrize("angle_unit", ["rad", "deg"])
@pytest.mark.parametrize("frame", [(0.0,) * 6, (0.3, -1.0, 0.2, 0.4, -0.7, 2.5)])
def test_from_pose_and_to_pose_are_inverses(
    rotation: str, unit: Any, angle_unit: Any, frame: tuple[float, ...]
) -> None:
    numbers = ROTATIONS[rotation]
    convention = Convention(
        position_at=(2, 0, 1),
        position_unit=unit,
        rotation=rotation,
        rotation_at=tuple(range(4, 4 + numbers)),
        angle_unit=angle_unit,
        gripper_at=(4 + numbers, 5 + numbers),
        gripper_open=0.04,
        gripper_closed=-0.01,
        frame=frame,  # type: ignore[arg-type]
    )
    poses = random_poses(40, 1)
    if rotation == "none":
        poses[:, 3:6] = tensor(*frame[3:])  # the only values that can be recovered
    states = from_pose(poses, convention)
    assert states.shape == (40, 6 + numbers)
    assert not states[:, 3].any()
    found = to_pose(states, convention)
    torch.testing.assert_close(found[:, [0, 1, 2, 6]], poses[:, [0, 1, 2, 6]], atol=1e-12, rtol=0)
    torch.testing.assert_close(
        euler_to_matrix(found[:, 3:6]), euler_to_matrix(poses[:, 3:6]), atol=1e-9, rtol=0
    )
    again = to_pose(states.view(4, 10, -1).float(), convention)
    assert again.shape == (4, 10, 7)
    assert again.dtype == torch.float32


def test_a_closure_is_clipped_only_within_rounding_error() -> None:
    states = torch.zeros(4, 7)
    states[:, 6] = torch.tensor([-5e-5, 1.00005, -0.2, 1.3])
    torch.testing.assert_close(to_pose(states, Convention())[:, 6], torch.tensor([0.0, 1.0, -0.2, 1.3]))


def test_unwrapped_angles_never_jump_and_mean_the_same() -> None:
    generator = torch.Generator().manual_seed(2)
    steps = torch.randn(2, 300, 3, generator=generator, dtype=torch.float64)
    smooth = torch.tensor([3.0, 0.0, -3.0]) + (0.4 * steps).cumsum(1)
    wrapped = torch.remainder(smooth + PI, 2 * PI) - PI
    assert (wrapped.diff(dim=1).abs() > PI).any()
    poses = torch.cat([torch.randn(2, 300, 3, generator=generator), wrapped, torch.rand(2, 300, 1)], dim=-1)
    found = unwrap_angles(poses)
    first_turns = (wrapped - smooth)[:, :1]
    torch.testing.assert_close(found[..., 3:6], smooth + first_turns, atol=1e-9, rtol=0)
    assert torch.equal(found[..., [0, 1, 2, 6]], poses[..., [0, 1, 2, 6]])
    assert torch.equal(found[:, 0], poses[:, 0])
    assert torch.equal(unwrap_angles(poses[:, :1]), poses[:, :1])


@pytest.mark.parametrize(
    ("convention", "states", "message"),
    [
        (PLAIN, torch.zeros(2, 7), "has no pose.*name the indices of x, y and z"),
        (Convention(), torch.zeros(2, 6), "gripper_at names index 6, and a state has 6 numbers"),
        (Convention(), torch.zeros(2, 7, dtype=torch.int64), "states are torch.int64"),
        (Convention(), torch.full((2, 7), math.nan), "holds a NaN or an infinity"),
        (
            Convention(rotation="quat_xyzw", rotation_at=(3, 4, 5, 6), gripper_at=()),
            torch.zeros(2, 7),
            r"a quaternion has length 0 at \[0\]",
        ),
    ],
)
def test_states_that_do_not_fit_the_convention_are_reported(
    convention: Convention, states: torch.Tensor, message: str
) -> None:
    with pytest.raises(PoseError, match=message):
        to_pose(states, convention)


def test_writing_a_pose_needs_position_indices() -> None:
    with pytest.raises(PoseError, match="has no pose"):
        from_pose(torch.zeros(7), PLAIN)
    with pytest.raises(PoseError, match="pose has 6 entries"):
        from_pose(torch.zeros(6), Convention())


def test_a_convention_survives_a_json_round_trip() -> None:
    declared = Convention(rotation="quat_wxyz", rotation_at=(3, 4, 5, 6), gripper_at=())
    from_json: dict[str, Any] = {
        key: list(value) if isinstance(value, tuple) else value for key, value in asdict(declared).items()
    }
    assert Convention(**from_json) == declared


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rotation": "quat"}, "rotation 'quat' is not known; did you mean 'quat_"),
        ({"position_at": (0, 1)}, "position_at has 2 indices; give 3"),
        ({"rotation": "rot6d"}, "rotation_at has 3 indices, and rotation rot6d is written in 6"),
        ({"gripper_closed": 0.0}, "gripper_open and gripper_closed are both 0"),
        ({"position_at": ()}, "actions 'derived' are made from poses"),
    ],
)
def test_an_inconsistent_convention_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Convention(**changes)


SO100 = (
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
)
POSE = ("x", "y", "z", "roll", "pitch", "yaw", "closure")


def test_joint_names_are_recognised() -> None:
    for name in (
        *SO100,
        "left_waist",
        "joint_3",
        "panda_joint1",
        "motor_0",
        "robot0_joint_pos_3",
        "left_hip",
        "j4",
    ):
        assert is_joint_name(name), name
    for name in (
        *POSE,
        "wrist_x",
        "gripper.z",
        "joint_vel_0",
        "elbow.torque",
        "qpos_3",
        "state_0",
        "eef_pos",
        "chip",
    ):
        assert not is_joint_name(name), name


def test_a_state_of_joints_is_never_read_as_a_pose() -> None:
    for declared in (PLAIN, Convention(), Convention(actions="target"), Convention(actions="delta")):
        found = resolve_joints(declared, SO100, SO100)
        assert found.has_joints
        assert not found.has_pose
        assert found.joints == tuple(range(6))
    assert resolve_joints(Convention(), SO100, SO100).actions == "derived"
    assert resolve_joints(PLAIN, SO100, SO100).actions == "target"  # positions of the same names
    assert resolve_joints(PLAIN, SO100, [f"delta_{name}" for name in SO100]).actions == "given"
    assert resolve_joints(PLAIN, ("waist", "elbow"), ("waist", "elbow")).actions == "given"


def test_axes_that_are_not_joints_are_unchanged() -> None:
    mixed = (*SO100, "object_x")
    for names in (POSE, mixed, ("state_0", "state_1")):
        assert resolve_joints(Convention(), names, names) == Convention()
        assert resolve_joints(PLAIN, names, names) == PLAIN
    apart = Convention(position_at=(3, 4, 5), rotation="none", rotation_at=(), gripper_at=())
    assert resolve_joints(apart, SO100, SO100) == apart  # the indices of the pose are declared
    none = Convention(
        position_at=(), rotation="none", rotation_at=(), gripper_at=(), joints="none", actions="given"
    )
    assert resolve_joints(none, SO100, SO100) == none


def test_units_and_speeds_are_shared_or_given_per_joint() -> None:
    one = Convention(joints=(0, 1, 2), joint_units="deg", joint_speeds=30)
    assert one.units_of_joints(3) == ("deg",) * 3
    assert one.speeds_of_joints(3) == (30.0,) * 3
    each = Convention(joints=(0, 1, 2), joint_units=("deg", "deg", "percent"))
    assert each.units_of_joints(3) == ("deg", "deg", "percent")
    assert each.speeds_of_joints(3) == (math.inf,) * 3
    assert Convention(**asdict(each)) == each


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"joints": (0, 0)}, r"joints is \[0, 0\]; give the indices"),
        ({"joints": ()}, r"joints is \[\]; give the indices"),
        ({"joints": "every"}, r"joints is 'every'; give the indices"),
        ({"joints": "all", "joint_units": "degree"}, r"joint_units has 'degree', which is not known; .*deg"),
        ({"joints": (0, 1), "joint_units": ("deg",) * 3}, r"joint_units has 3 entries for 2 joints"),
        ({"joints": "all", "joint_speeds": -1.0}, r"joint_speeds is \[-1.0\]; give speeds above 0"),
        ({"joints": "none", "joint_units": "deg"}, r"joints is none, and joint_units"),
        ({"joints": "all", "position_at": (3, 4, 5)}, r"read as joints or as a pose"),
        ({"position_at": (), "joints": "none", "actions": "derived"}, r"made from poses or joints"),
        ({"joints": "none", "actions": "derived_target"}, r"are the next positions of joints"),
    ],
)
def test_invalid_joint_options_are_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Convention(**words)


def test_units_without_joints_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"neither joints nor the names of the states \(x, y"):
        resolve_joints(Convention(joint_units="deg"), POSE, POSE)
    with pytest.raises(ConfigError, match=r"joints names index 7, and a state has 6 numbers"):
        resolve_joints(Convention(joints=(0, 7)), SO100, SO100)

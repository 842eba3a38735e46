"""The Franka Research 3 with the visual meshes of the package `franky-sim`; hand and fingers touch as the Panda's do.

Source: kinematics, inertias, joint limits and friction are the package's; the speed limits are Franka Robotics'.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import mujoco

from envs.arm.robots.base import Gripper, Robot, add_contact
from envs.arm.robots.packages import Package, packaged_spec
from envs.arm.robots.panda import (
    FINGER_FORCE_N,
    FINGER_TRAVEL_M,
    HOME_JOINTS_RAD,
    JOINT_KP,
    JOINT_KV,
    TCP_FROM_FLANGE_M,
    TORQUE_LIMIT_NM,
    WRIST_CAMERA,
)

PACKAGE: Final = Package(module="franky_sim", requirement="franky-sim==1.0.4", xml="assets/fr3.xml")
_CELL_M: Final = 0.014
_HALF_FINGER_M: Final = (0.014, 0.009, 0.027)


def make_spec() -> mujoco.MjSpec:
    """Return a new spec of the arm.

    Raises:
        EnvError: If the package is not installed.
    """
    return _spec().copy()


@cache
def _spec() -> mujoco.MjSpec:
    spec = packaged_spec(PACKAGE, _CELL_M)
    spec.material("white").name = "arm"
    for geom in spec.geoms:
        geom.material = "arm" if geom.material == "white" else geom.material
    for body in spec.bodies:
        body.gravcomp = 1.0
    for joint in spec.joints[:7]:
        joint.actgravcomp = True
    for actuator, kp, kv in zip(spec.actuators[:7], JOINT_KP, JOINT_KV, strict=True):
        actuator.set_to_position(kp=kp, kv=kv)
    spec.delete(spec.actuator("hand"))
    hand = spec.body("hand")
    hand.add_site(name="tcp", group=5, pos=[0.0, 0.0, TCP_FROM_FLANGE_M])
    add_contact(hand, (0.0, 0.0, 0.033), (0.032, 0.102, 0.033))
    for side, number in (("left", 1), ("right", 2)):
        finger = spec.body(f"{side}_finger")
        finger.name = f"finger_{side}"
        add_contact(finger, (0.0, _HALF_FINGER_M[1], _HALF_FINGER_M[2]), _HALF_FINGER_M)
        joint = spec.joint(f"finger_joint{number}")
        joint.damping = [2.0, 0.0, 0.0]
        motor = spec.add_actuator(
            name=joint.name,
            target=joint.name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            ctrlrange=[0.0, FINGER_TRAVEL_M],
            forcerange=[-FINGER_FORCE_N, FINGER_FORCE_N],
        )
        motor.set_to_position(kp=400.0, kv=20.0)
    return spec


FR3: Final = Robot(
    name="fr3",
    summary="Franka Research 3, meshes",
    make_spec=make_spec,
    package=PACKAGE,
    joint_low_rad=(-2.7437, -1.7837, -2.9007, -3.0421, -2.8065, 0.5445, -3.0159),
    joint_high_rad=(2.7437, 1.7837, 2.9007, -0.1518, 2.8065, 4.5169, 3.0159),
    torque_limit_nm=TORQUE_LIMIT_NM,
    speed_limit_rad_s=(2.62, 2.62, 2.62, 2.62, 5.26, 4.18, 5.26),
    home_rad=HOME_JOINTS_RAD,
    wrist_camera=WRIST_CAMERA,
    gripper=Gripper(open=(FINGER_TRAVEL_M, FINGER_TRAVEL_M), closed=(0.0, 0.0)),
)

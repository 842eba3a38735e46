"""The Franka Panda, of primitive shapes: capsules, cylinders and boxes, so that a frame is cheap in software rendering.

Units: m, kg, rad, N m.

Source: kinematics (modified Denavit-Hartenberg parameters), joint, speed and torque limits as Franka Emika publishes
them in the robot's control documentation.
"""

from __future__ import annotations

import math
from typing import Final

import mujoco
import numpy as np

from envs.arm.robots.base import Gripper, Robot, WristCamera

JOINT_LOW_RAD: Final = (-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973)
JOINT_HIGH_RAD: Final = (2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973)
TORQUE_LIMIT_NM: Final = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)
SPEED_LIMIT_RAD_S: Final = (2.175, 2.175, 2.175, 2.175, 2.61, 2.61, 2.61)
FINGER_FORCE_N: Final = 40.0
FINGER_TRAVEL_M: Final = 0.04
#: The hand points straight down over the workspace.
HOME_JOINTS_RAD: Final = (0.0, -0.10, 0.0, -2.25, 0.0, 2.15, math.pi / 4)
#: On the side of the hand that looks forward, turned towards the tips of the fingers.
WRIST_CAMERA: Final = WristCamera(
    position_m=(0.09, 0.0, 0.02), right_and_up=(0.0, 1.0, 0.0, 0.883, 0.0, 0.469)
)

#: Modified (Craig) Denavit-Hartenberg rows a [m], d [m], alpha [rad] of the seven joints.
DH_PARAMETERS: Final = (
    (0.0, 0.333, 0.0),
    (0.0, 0.0, -math.pi / 2),
    (0.0, 0.316, math.pi / 2),
    (0.0825, 0.0, math.pi / 2),
    (-0.0825, 0.384, -math.pi / 2),
    (0.0, 0.0, math.pi / 2),
    (0.088, 0.0, math.pi / 2),
)
FLANGE_M: Final = 0.107
HAND_YAW_RAD: Final = -math.pi / 4
TCP_FROM_FLANGE_M: Final = 0.1034

#: Stiffness [N m/rad] and damping [N m s/rad] of the joint position servos.
JOINT_KP: Final = (4500.0, 4500.0, 3500.0, 3500.0, 1200.0, 1200.0, 800.0)
JOINT_KV: Final = (180.0, 180.0, 110.0, 110.0, 24.0, 24.0, 12.0)

#: Shapes of each link in its joint's frame: type, geometry attributes, mass [kg], material.
_LINK_SHAPES: Final = (
    (
        ("capsule", 'fromto="0 0 -0.20 0 0 -0.02" size="0.062"', 2.9, "arm"),
        ("capsule", 'fromto="0 -0.05 0 0 0.05 0" size="0.064"', 2.0, "arm"),
    ),
    (("capsule", 'fromto="0 -0.02 0 0 -0.17 0" size="0.060"', 0.7, "arm"),),
    (
        ("capsule", 'fromto="0 0 -0.13 0 0 -0.01" size="0.056"', 1.8, "arm"),
        ("capsule", 'fromto="0.0825 -0.045 0 0.0825 0.045 0" size="0.058"', 1.4, "joint"),
    ),
    (
        ("capsule", 'fromto="0 0 0 -0.0825 0.07 0" size="0.052"', 1.6, "arm"),
        ("capsule", 'fromto="-0.0825 0.07 0 -0.0825 0.16 0" size="0.054"', 2.0, "arm"),
    ),
    (
        ("capsule", 'fromto="0 0 -0.22 0 0.04 -0.10" size="0.047"', 0.7, "arm"),
        ("capsule", 'fromto="0 0.05 -0.08 0 0.01 0" size="0.045"', 0.5, "arm"),
    ),
    (
        ("capsule", 'fromto="0 0 -0.04 0 0 0.04" size="0.050"', 0.9, "joint"),
        ("capsule", 'fromto="0.02 0 0 0.088 0 0" size="0.045"', 0.7, "arm"),
    ),
    (("cylinder", 'fromto="0 0 -0.05 0 0 0.107" size="0.046"', 0.75, "arm"),),
)


def dh_transform(a_m: float, d_m: float, alpha_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a link frame's fixed position `[3]` and quaternion `[4]` (wxyz) in its parent's frame.

    Modified convention, at joint angle zero: Rot_x(alpha) Trans_x(a) Trans_z(d).
    """
    position = np.array([a_m, -math.sin(alpha_rad) * d_m, math.cos(alpha_rad) * d_m])
    quaternion = np.array([math.cos(alpha_rad / 2), math.sin(alpha_rad / 2), 0.0, 0.0])
    return position, quaternion


def make_spec() -> mujoco.MjSpec:
    """Return a new spec of the arm."""
    return mujoco.MjSpec.from_string(f"""
<mujoco model="panda">
  <compiler angle="radian" autolimits="true"/>
  <asset>
    <material name="arm" rgba="0.92 0.92 0.92 1" specular="0.2" shininess="0.3"/>
    <material name="joint" rgba="0.60 0.62 0.65 1" specular="0.2" shininess="0.3"/>
    <material name="hand" rgba="0.13 0.13 0.15 1" specular="0.1" shininess="0.2"/>
    <material name="finger" rgba="0.95 0.35 0.10 1" specular="0.1" shininess="0.2"/>
  </asset>
  <default>
    <geom contype="0" conaffinity="0"/>
    <default class="touching"><geom contype="2" conaffinity="1"/></default>
  </default>
  <worldbody>
    <geom name="base" type="cylinder" fromto="0 0 0 0 0 0.14" size="0.085" material="arm"/>
    {_link_xml(0)}
  </worldbody>
  <actuator>{_actuator_xml()}</actuator>
</mujoco>""")


def _link_xml(index: int) -> str:
    """Return the body of joint `index` and of everything attached to it."""
    if index == len(DH_PARAMETERS):
        return _hand_xml()
    position, quaternion = dh_transform(*DH_PARAMETERS[index])
    geoms = "".join(
        f'<geom type="{kind}" {geometry} mass="{mass}" material="{material}"/>'
        for kind, geometry, mass, material in _LINK_SHAPES[index]
    )
    torque = TORQUE_LIMIT_NM[index]
    return f"""
<body name="link{index + 1}" pos="{_numbers(position)}" quat="{_numbers(quaternion)}" gravcomp="1">
  <joint name="joint{index + 1}" axis="0 0 1" range="{JOINT_LOW_RAD[index]} {JOINT_HIGH_RAD[index]}"
    armature="0.1" damping="1" actuatorfrcrange="{-torque} {torque}" actuatorgravcomp="true"/>
  {geoms}
  {_link_xml(index + 1)}
</body>"""


def _hand_xml() -> str:
    quaternion = np.array([math.cos(HAND_YAW_RAD / 2), 0.0, 0.0, math.sin(HAND_YAW_RAD / 2)])
    return f"""
<body name="hand" pos="0 0 {FLANGE_M}" quat="{_numbers(quaternion)}" gravcomp="1">
  <geom type="box" pos="0 0 0.033" size="0.032 0.102 0.033" mass="0.73" material="hand" class="touching"/>
  <site name="tcp" pos="0 0 {TCP_FROM_FLANGE_M}" group="5"/>
  {_finger_xml("left", 1)}
  {_finger_xml("right", -1)}
</body>"""


def _finger_xml(side: str, sign: int) -> str:
    return f"""
<body name="finger_{side}" pos="0 0 0.0584" gravcomp="1">
  <joint name="finger_{side}" type="slide" axis="0 {sign} 0" range="0 {FINGER_TRAVEL_M}" armature="0.1"
    damping="2"/>
  <geom type="box" pos="0 {sign * 0.009} 0.027" size="0.014 0.009 0.027" mass="0.05" material="finger"
    class="touching"/>
</body>"""


def _actuator_xml() -> str:
    joints = "".join(
        f'<position name="joint{index + 1}" joint="joint{index + 1}" kp="{JOINT_KP[index]}" '
        f'kv="{JOINT_KV[index]}" ctrlrange="{JOINT_LOW_RAD[index]} {JOINT_HIGH_RAD[index]}"/>'
        for index in range(len(DH_PARAMETERS))
    )
    fingers = "".join(
        f'<position name="finger_{side}" joint="finger_{side}" kp="400" kv="20" '
        f'ctrlrange="0 {FINGER_TRAVEL_M}" forcerange="{-FINGER_FORCE_N} {FINGER_FORCE_N}"/>'
        for side in ("left", "right")
    )
    return joints + fingers


def _numbers(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)


PANDA: Final = Robot(
    name="panda",
    summary="Franka Panda, primitive shapes",
    make_spec=make_spec,
    joint_low_rad=JOINT_LOW_RAD,
    joint_high_rad=JOINT_HIGH_RAD,
    torque_limit_nm=TORQUE_LIMIT_NM,
    speed_limit_rad_s=SPEED_LIMIT_RAD_S,
    home_rad=HOME_JOINTS_RAD,
    gripper=Gripper(open=(FINGER_TRAVEL_M, FINGER_TRAVEL_M), closed=(0.0, 0.0)),
    wrist_camera=WRIST_CAMERA,
    keeps_speeds=False,  # so that episodes of Reach are those of its first release
)

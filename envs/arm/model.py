"""The arm, its table and its surroundings as one MuJoCo model of primitive shapes.

The kinematics are the Franka Panda's (published modified Denavit-Hartenberg parameters); the shapes are
capsules, cylinders and boxes so that a frame is cheap in software rendering. Everything that may differ
between episodes (colours, lights, camera, clutter) is edited in place later; the model compiles once.

Frames: the robot base is the world frame, x forward, y left, z up; the table's top is z = 0. Units: m, kg,
rad, N m.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np

from envs.arm.limits import FINGER_FORCE_N, FINGER_TRAVEL_M, JOINT_HIGH_RAD, JOINT_LOW_RAD, TORQUE_LIMIT_NM
from envs.cameras import FIXED_CAMERAS
from envs.objects import MAX_HALF_EXTENT_M, MAX_PARTS

TIMESTEP_S: Final = 0.005
NUM_JOINTS: Final = 7
NUM_CLUTTER: Final = 4
#: The compiled bounding volumes hold for every shape that is drawn within it.
MAX_CLUTTER_HALF_SIZE_M: Final = 0.08
TEXTURE_SIZE: Final = 64
#: Absent clutter floats here, out of sight and out of reach.
PARKING_POSITION: Final = (0.0, 0.0, -2.0)
MAX_IMAGE_SIZE: Final = 1024

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

#: On the side of the hand that looks forward, turned towards the tips of the fingers.
_WRIST_CAMERA: Final = 'pos="0.075 0 0.0" xyaxes="0 1 0 0.85 0 0.53" fovy="75"'

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


@dataclass(frozen=True, kw_only=True)
class _Contacts:
    """MuJoCo's attributes of contacts: of the solver, of table and objects, of hand and fingers."""

    options: str
    solid: str
    touching: str


_PLAIN_CONTACTS: Final = _Contacts(
    options="", solid='friction="0.8 0.005 0.0005"', touching='friction="0.8 0.005 0.0005"'
)
#: Rubber fingers on smooth objects. Of two surfaces the larger friction counts, so objects slide on the table before
#: they tip, and do not slip from the fingers. Elliptic cones with a high impedance ratio stop the creep of pyramids.
_HOLDING_CONTACTS: Final = _Contacts(
    options='cone="elliptic" impratio="100"',
    solid='friction="0.35 0.003 0.006" solref="0.01 1" solimp="0.97 0.995 0.001"',
    touching='friction="1.2 0.02 0.006" solref="0.01 1" solimp="0.97 0.995 0.001"',
)


def build_model(height: int, width: int, *, with_object: bool = False) -> mujoco.MjModel:
    """Compile the arm in its scene.

    Args:
        height: Height of the largest picture to be rendered [pixels].
        width: Width of the largest picture to be rendered [pixels].
        with_object: Whether there is an object to be handled, and contacts that can hold it.

    Returns:
        The model: joints `joint1..7`, `finger_left`, `finger_right`, a free joint for each of
        `clutter0..3` and maybe one for `object`; actuators in the joints' order; site `tcp`; a camera for each of
        `envs.cameras.CAMERAS`.

    Source:
        Kinematics: Franka Emika Panda, published in the robot's control documentation.
    """
    return mujoco.MjModel.from_xml_string(_scene_xml(height, width, with_object))


def dh_transform(a_m: float, d_m: float, alpha_rad: float) -> tuple[np.ndarray, np.ndarray]:
    """Return a link frame's fixed position `[3]` and quaternion `[4]` (wxyz) in its parent's frame.

    Modified convention, at joint angle zero: Rot_x(alpha) Trans_x(a) Trans_z(d).
    """
    position = np.array([a_m, -math.sin(alpha_rad) * d_m, math.cos(alpha_rad) * d_m])
    quaternion = np.array([math.cos(alpha_rad / 2), math.sin(alpha_rad / 2), 0.0, 0.0])
    return position, quaternion


def _scene_xml(height: int, width: int, with_object: bool) -> str:
    contacts = _HOLDING_CONTACTS if with_object else _PLAIN_CONTACTS
    return f"""
<mujoco model="vjepa_world_arm">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" sleep_tolerance="0.005" {contacts.options}>
    <flag sleep="enable"/>
  </option>
  <visual>
    <quality shadowsize="0" offsamples="0" numslices="10" numstacks="4"/>
    <global offwidth="{width}" offheight="{height}"/>
    <map znear="0.1" zfar="6"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.2 0.2 0.2" specular="0 0 0"/>
  </visual>
  <statistic extent="1" center="0.45 0 0.2"/>
  <asset>
    <texture name="table" type="2d" builtin="flat" width="{TEXTURE_SIZE}" height="{TEXTURE_SIZE}"/>
    <material name="table" texture="table" texrepeat="2 2" specular="0" shininess="0"/>
    <material name="arm" rgba="0.92 0.92 0.92 1" specular="0.2" shininess="0.3"/>
    <material name="joint" rgba="0.60 0.62 0.65 1" specular="0.2" shininess="0.3"/>
    <material name="hand" rgba="0.13 0.13 0.15 1" specular="0.1" shininess="0.2"/>
    <material name="finger" rgba="0.95 0.35 0.10 1" specular="0.1" shininess="0.2"/>
    <material name="wall" rgba="0.7 0.7 0.7 1" specular="0" shininess="0"/>
  </asset>
  <default>
    <geom contype="0" conaffinity="0"/>
    <default class="solid"><geom contype="1" conaffinity="1" {contacts.solid}/></default>
    <default class="touching"><geom contype="2" conaffinity="1" {contacts.touching}/></default>
  </default>
  <worldbody>
    <light name="sun" directional="true" pos="0 0 2" dir="0 0 -1" diffuse="0.6 0.6 0.6" specular="0.1 0.1 0.1"
      castshadow="false"/>
    {"".join(f'<camera name="{name}" pos="1.2 -0.8 0.9" fovy="45"/>' for name in FIXED_CAMERAS)}
    <geom name="wall_back" type="box" pos="-0.75 0 0.6" size="0.01 2.5 1.4" material="wall"/>
    <geom name="wall_side" type="box" pos="0.3 1.15 0.6" size="2.5 0.01 1.4" material="wall"/>
    <geom name="table" class="solid" type="box" pos="0.50 -0.05 -0.02" size="0.75 0.85 0.02" material="table"/>
    <geom name="base" type="cylinder" fromto="0 0 0 0 0 0.14" size="0.085" material="arm"/>
    {_link_xml(0)}
    {"".join(_clutter_xml(index) for index in range(NUM_CLUTTER))}
    {_object_xml() if with_object else ""}
  </worldbody>
  <actuator>{_actuator_xml()}</actuator>
</mujoco>"""


def _link_xml(index: int) -> str:
    """Return the body of joint `index` and of everything attached to it."""
    if index == NUM_JOINTS:
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
  <camera name="wrist" {_WRIST_CAMERA}/>
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


def _clutter_xml(index: int) -> str:
    half = MAX_CLUTTER_HALF_SIZE_M
    return f"""
<body name="clutter{index}" pos="{_numbers(PARKING_POSITION)}">
  <freejoint name="clutter{index}"/>
  <geom name="clutter{index}" class="solid" type="box" size="{half} {half} {half}" mass="0.2" condim="4"
    rgba="0.5 0.5 0.5 0"/>
</body>"""


def _object_xml() -> str:
    """Return the body of the object: shapes of which a scene edits some and hides the others.

    All are compiled off the body's centre and as large as any can be, so that MuJoCo derives neither frames that
    coincide nor bounding volumes that are too small.
    """
    half = MAX_HALF_EXTENT_M
    geoms = "".join(
        f'<geom name="object{index}" class="solid" type="box" pos="0.001 0.002 0.003" size="{half} {half} {half}" '
        f'condim="6" rgba="0.5 0.5 0.5 0"/>'
        for index in range(MAX_PARTS)
    )
    return f"""
<body name="object" pos="{_numbers(PARKING_POSITION)}">
  <freejoint name="object"/>
  <inertial pos="0.001 0.002 0.003" mass="0.1" diaginertia="1e-4 1.1e-4 1.2e-4"/>
  {geoms}
</body>"""


def _actuator_xml() -> str:
    joints = "".join(
        f'<position name="joint{index + 1}" joint="joint{index + 1}" kp="{JOINT_KP[index]}" '
        f'kv="{JOINT_KV[index]}" ctrlrange="{JOINT_LOW_RAD[index]} {JOINT_HIGH_RAD[index]}"/>'
        for index in range(NUM_JOINTS)
    )
    fingers = "".join(
        f'<position name="finger_{side}" joint="finger_{side}" kp="400" kv="20" '
        f'ctrlrange="0 {FINGER_TRAVEL_M}" forcerange="{-FINGER_FORCE_N} {FINGER_FORCE_N}"/>'
        for side in ("left", "right")
    )
    return joints + fingers


def _numbers(values: np.ndarray | tuple[float, ...]) -> str:
    return " ".join(repr(float(value)) for value in values)

"""A robot, its table and its surroundings as one MuJoCo model.

Everything that may differ between episodes (colours, lights, camera, clutter, the object) is edited in place later; the
model compiles once.

Frames: the robot's base is the world frame, x forward, y left, z up; the table's top is z = 0. Units: m, kg, rad, N m.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import mujoco

from envs.arm.robots.base import ROBOT_PREFIX, TOUCHING_CONTYPE, Robot, WristCamera
from envs.arm.robots.panda import PANDA
from envs.cameras import FIXED_CAMERAS
from envs.scenes.objects import MAX_HALF_EXTENT_M, MAX_PARTS

TIMESTEP_S: Final = 0.005
NUM_CLUTTER: Final = 4
#: The compiled bounding volumes hold for every shape that is drawn within it.
MAX_CLUTTER_HALF_SIZE_M: Final = 0.08
TEXTURE_SIZE: Final = 64
#: Absent clutter floats here, out of sight and out of reach.
PARKING_POSITION: Final = (0.0, 0.0, -2.0)

_SOLID_CONTYPE: Final = 1


@dataclass(frozen=True, kw_only=True)
class _Surface:
    """MuJoCo's numbers of a contact: friction, and how stiff it is."""

    friction: tuple[float, float, float]
    solref: tuple[float, float] = (0.02, 1.0)
    solimp: tuple[float, float, float, float, float] = (0.9, 0.95, 0.001, 0.5, 2.0)


#: Surfaces by contact type: of table and objects, of hand and fingers.
_PLAIN_SURFACES: Final = {
    _SOLID_CONTYPE: _Surface(friction=(0.8, 0.005, 0.0005)),
    TOUCHING_CONTYPE: _Surface(friction=(0.8, 0.005, 0.0005)),
}
#: Rubber fingers on smooth objects. Of two surfaces the larger friction counts, so objects slide on the table before
#: they tip, and do not slip from the fingers.
_HOLDING_SURFACES: Final = {
    kind: _Surface(friction=friction, solref=(0.01, 1.0), solimp=(0.97, 0.995, 0.001, 0.5, 2.0))
    for kind, friction in (
        (_SOLID_CONTYPE, (0.35, 0.003, 0.006)),
        (TOUCHING_CONTYPE, (1.2, 0.02, 0.006)),
    )
}


def build_model(
    height: int, width: int, robot: Robot = PANDA, *, with_object: bool = False
) -> mujoco.MjModel:
    """Compile a robot in its scene.

    Args:
        height: Height of the largest picture to be rendered [pixels].
        width: Width of the largest picture to be rendered [pixels].
        robot: The robot.
        with_object: Whether there is an object to be handled, and contacts that can hold it.

    Returns:
        The model: what the robot's spec has, under names that begin with `robot/` and with its joints first; a free
        joint for each of `clutter0..3` and maybe one for `object`; a camera for each of `envs.cameras.CAMERAS`.

    Raises:
        EnvError: If the robot's package is not installed.
    """
    spec = mujoco.MjSpec.from_string(_room_xml(height, width, robot.scale))
    spec.attach(robot.make_spec(), frame=spec.worldbody.add_frame(), prefix=ROBOT_PREFIX)
    _add_wrist_camera(spec, robot.wrist_camera)
    for index in range(NUM_CLUTTER):
        _add_clutter(spec, index)
    if with_object:
        _add_object(spec)
        # Elliptic cones with a high impedance ratio stop the creep of pyramids.
        spec.option.cone, spec.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 100.0
    surfaces = _HOLDING_SURFACES if with_object else _PLAIN_SURFACES
    for geom in spec.geoms:
        if geom.contype:
            surface = surfaces[geom.contype]
            geom.friction, geom.solref, geom.solimp = surface.friction, surface.solref, surface.solimp
    return spec.compile()


def _room_xml(height: int, width: int, scale: float) -> str:
    def scaled(*values_m: float) -> str:
        return " ".join(repr(value * scale) for value in values_m)

    return f"""
<mujoco model="vjepa_world_arm">
  <compiler angle="radian" autolimits="true"/>
  <option timestep="{TIMESTEP_S}" integrator="implicitfast" sleep_tolerance="0.005">
    <flag sleep="enable"/>
  </option>
  <visual>
    <quality shadowsize="0" offsamples="0" numslices="10" numstacks="4"/>
    <global offwidth="{width}" offheight="{height}"/>
    <map znear="0.1" zfar="6"/>
    <headlight ambient="0.35 0.35 0.35" diffuse="0.2 0.2 0.2" specular="0 0 0"/>
  </visual>
  <statistic extent="{scale}" center="{scaled(0.45, 0, 0.2)}"/>
  <asset>
    <texture name="table" type="2d" builtin="flat" width="{TEXTURE_SIZE}" height="{TEXTURE_SIZE}"/>
    <material name="table" texture="table" texrepeat="2 2" specular="0" shininess="0"/>
    <material name="wall" rgba="0.7 0.7 0.7 1" specular="0" shininess="0"/>
  </asset>
  <default><geom contype="0" conaffinity="0"/></default>
  <worldbody>
    <light name="sun" directional="true" pos="0 0 2" dir="0 0 -1" diffuse="0.6 0.6 0.6" specular="0.1 0.1 0.1"
      castshadow="false"/>
    {"".join(f'<camera name="{name}" pos="1.2 -0.8 0.9" fovy="45"/>' for name in FIXED_CAMERAS)}
    <geom name="wall_back" type="box" pos="{scaled(-0.75, 0, 0.6)}" size="{scaled(0.01, 2.5, 1.4)}" material="wall"/>
    <geom name="wall_side" type="box" pos="{scaled(0.3, 1.15, 0.6)}" size="{scaled(2.5, 0.01, 1.4)}" material="wall"/>
    <geom name="table" type="box" contype="{_SOLID_CONTYPE}" conaffinity="1" pos="{scaled(0.50, -0.05, -0.02)}"
      size="{scaled(0.75, 0.85, 0.02)}" material="table"/>
  </worldbody>
</mujoco>"""


def _add_wrist_camera(spec: mujoco.MjSpec, mount: WristCamera) -> None:
    camera = spec.body("robot/hand").add_camera(name="wrist", pos=mount.position_m, fovy=mount.fovy_deg)
    camera.alt.type = mujoco.mjtOrientation.mjORIENTATION_XYAXES
    camera.alt.xyaxes = mount.right_and_up


def _add_clutter(spec: mujoco.MjSpec, index: int) -> None:
    name = f"clutter{index}"
    body = spec.worldbody.add_body(name=name, pos=PARKING_POSITION)
    body.add_freejoint(name=name)
    _add_solid(body, name, MAX_CLUTTER_HALF_SIZE_M, condim=4, mass=0.2)


def _add_object(spec: mujoco.MjSpec) -> None:
    """Add the body of the object: shapes of which a scene edits some and hides the others.

    All are compiled off the body's centre and as large as any can be, so that MuJoCo derives neither frames that
    coincide nor bounding volumes that are too small.
    """
    centre = (0.001, 0.002, 0.003)
    body = spec.worldbody.add_body(
        name="object",
        pos=PARKING_POSITION,
        explicitinertial=True,
        mass=0.1,
        ipos=centre,
        inertia=(1e-4, 1.1e-4, 1.2e-4),
    )
    body.add_freejoint(name="object")
    for index in range(MAX_PARTS):
        _add_solid(body, f"object{index}", MAX_HALF_EXTENT_M, condim=6, pos=centre)


def _add_solid(body: mujoco.MjsBody, name: str, half_size_m: float, **attributes: Any) -> None:
    """Add an invisible cube that touches things, to be edited."""
    body.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half_size_m] * 3,
        contype=_SOLID_CONTYPE,
        conaffinity=1,
        rgba=[0.5, 0.5, 0.5, 0.0],
        **attributes,
    )

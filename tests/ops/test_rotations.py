"""Every representation of a rotation, against matrix exponentials and the algebra of quaternions, in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

from vjepa_world.ops.convention import ROTATIONS
from vjepa_world.ops.rotations import PoseError, rotation_matrix, write_rotation

EULER = [name for name in ROTATIONS if sorted(name.lower()) == ["x", "y", "z"]]
KINDS = [name for name in ROTATIONS if name != "none"]


def exponential(vector: Tensor) -> Tensor:
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


def random_rotations(count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return exponential(2 * torch.randn(count, 3, generator=generator, dtype=torch.float64))


def turn(axis: str, angle: Tensor) -> Tensor:
    return exponential(angle[..., None] * torch.eye(3, dtype=torch.float64)["xyz".index(axis)])


def half_turns() -> Tensor:
    """Half turns about axes of all kinds, where quaternions have w = 0 and rotation vectors their largest length."""
    axes = torch.tensor(
        [v for v in itertools.product((-1.0, 0.0, 1.0, 0.3), repeat=3) if any(v)], dtype=torch.float64
    )
    return exponential(math.pi * axes / axes.norm(dim=1, keepdim=True))


@pytest.mark.parametrize("order", EULER)
def test_euler_angles_are_turns_in_the_order_of_their_letters(order: str) -> None:
    angles = torch.rand(100, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 12 - 6
    expected = torch.eye(3, dtype=torch.float64).expand(100, 3, 3)
    for letter, angle in zip(order, angles.unbind(1), strict=True):
        about = turn(letter.lower(), angle)
        # About fixed axes each turn comes to the left of those before, about the moving ones to the right.
        expected = about @ expected if order.islower() else expected @ about
    found = rotation_matrix(angles, order)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(
        rotation_matrix(torch.rad2deg(angles), order, degrees=True), expected, atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("order", EULER)
def test_moving_axes_are_the_fixed_ones_in_reverse(order: str) -> None:
    other = order[::-1].swapcase()
    matrix = random_rotations(50, 2)
    torch.testing.assert_close(
        write_rotation(matrix, order), write_rotation(matrix, other).flip(-1), atol=1e-12, rtol=0
    )


@pytest.mark.parametrize("order", EULER)
@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("offset", [0.0, 1e-12, 1e-9, 1e-6, 1e-3])
def test_rotations_are_exact_at_and_near_the_gimbal_lock(order: str, side: float, offset: float) -> None:
    for first, last in itertools.product((-3.0, -0.4, 0.0, 1.1), (-2.0, 0.0, 0.7)):
        angles = torch.tensor([first, side * (math.pi / 2 - offset), last], dtype=torch.float64)
        matrix = rotation_matrix(angles, order)
        found = write_rotation(matrix, order)
        torch.testing.assert_close(rotation_matrix(found, order), matrix, atol=1e-12, rtol=0)
        small = write_rotation(matrix.float(), order).double()
        torch.testing.assert_close(rotation_matrix(small, order), matrix, atol=3e-5, rtol=0)


def test_a_rotation_vector_is_an_exponential_at_every_length() -> None:
    direction = torch.randn(40, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    direction /= direction.norm(dim=1, keepdim=True)
    for length in (0.0, 1e-12, 1e-8, 1e-4, 0.1, 1.0, math.pi, 5.0, 2 * math.pi):
        vector = length * direction
        torch.testing.assert_close(rotation_matrix(vector, "rotvec"), exponential(vector), atol=1e-12, rtol=0)
        back = write_rotation(rotation_matrix(vector, "rotvec"), "rotvec")
        assert (back.norm(dim=1) <= math.pi + 1e-9).all()
        if length < 3:
            torch.testing.assert_close(back, vector, atol=1e-12, rtol=1e-9)
    degrees = torch.tensor([0.0, 0.0, 90.0], dtype=torch.float64)
    quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(rotation_matrix(degrees, "rotvec", degrees=True), quarter)
    torch.testing.assert_close(write_rotation(quarter, "rotvec", degrees=True), degrees)


def product(p: Tensor, q: Tensor) -> Tensor:
    """Hamilton's product of quaternions w x y z."""
    (a, b), (c, d) = (q.split([1, 3], dim=-1) for q in (p, q))
    vector = a * d + c * b + torch.linalg.cross(b, d)
    return torch.cat([a * c - (b * d).sum(-1, keepdim=True), vector], dim=-1)


def test_quaternions_turn_vectors_by_their_own_algebra() -> None:
    generator = torch.Generator().manual_seed(4)
    q = torch.randn(60, 4, generator=generator, dtype=torch.float64)
    unit = q / q.norm(dim=1, keepdim=True)
    vector = torch.randn(60, 3, generator=generator, dtype=torch.float64)
    conjugate = unit * torch.tensor([1.0, -1, -1, -1])
    turned = product(product(unit, torch.cat([torch.zeros(60, 1), vector], 1)), conjugate)[:, 1:]
    matrix = rotation_matrix(q, "quat_wxyz")
    torch.testing.assert_close((matrix @ vector[..., None])[..., 0], turned, atol=1e-12, rtol=0)
    assert torch.equal(rotation_matrix(q.roll(-1, dims=1), "quat_xyzw"), matrix)
    back = write_rotation(matrix, "quat_wxyz")
    torch.testing.assert_close(back, unit * unit[:, :1].sign(), atol=1e-12, rtol=0)
    torch.testing.assert_close(write_rotation(matrix, "quat_xyzw"), back.roll(-1, dims=1))


def test_a_product_of_quaternions_is_a_product_of_matrices() -> None:
    p, q = (
        torch.randn(30, 4, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in (5, 6)
    )
    left, right = rotation_matrix(p, "quat_wxyz"), rotation_matrix(q, "quat_wxyz")
    torch.testing.assert_close(rotation_matrix(product(p, q), "quat_wxyz"), left @ right, atol=1e-12, rtol=0)


def test_two_columns_are_orthogonalised_and_the_first_is_unchanged() -> None:
    matrix = random_rotations(30, 7)
    columns = torch.cat([3 * matrix[..., 0], 0.5 * matrix[..., 1] + 2 * matrix[..., 0]], dim=-1)
    torch.testing.assert_close(rotation_matrix(columns, "rot6d"), matrix, atol=1e-12, rtol=0)
    written = write_rotation(matrix, "rot6d")
    assert torch.equal(written, torch.cat([matrix[..., :, 0], matrix[..., :, 1]], dim=-1))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degrees", [False, True])
def test_write_and_read_are_inverses(kind: str, degrees: bool) -> None:
    matrix = torch.cat([random_rotations(200, 8), half_turns(), torch.eye(3, dtype=torch.float64)[None]])
    written = write_rotation(matrix, kind, degrees)
    assert written.shape == (len(matrix), ROTATIONS[kind])
    found = rotation_matrix(written, kind, degrees)
    torch.testing.assert_close(found, matrix, atol=1e-9, rtol=0)
    torch.testing.assert_close(found @ found.mT, torch.eye(3).expand_as(found).double(), atol=1e-9, rtol=0)
    assert (torch.linalg.det(found) > 0).all()
    batched = rotation_matrix(written[:200].view(20, 10, -1), kind, degrees)
    assert torch.equal(batched.view(200, 3, 3), found[:200])
    assert rotation_matrix(written.float(), kind, degrees).dtype == torch.float32


def test_the_representation_none_has_no_numbers() -> None:
    assert torch.equal(rotation_matrix(torch.zeros(4, 0), "none"), torch.eye(3).expand(4, 3, 3))
    assert write_rotation(random_rotations(4), "none").shape == (4, 0)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (torch.zeros(3, 4), "xyz", r"shape \(3, 4\), and xyz is written in 3 numbers"),
        (torch.zeros(3), "xxz", "rotation 'xxz' is not known; did you mean"),
        (torch.eye(4)[:, :4] * torch.tensor([1, 1, 0, 1]), "quat_xyzw", r"quaternion has length 0 at \[2\]"),
        (torch.tensor([1.0, 0, 0, 2, 0, 0]), "rot6d", "second column.* has length 0"),
    ],
)
def test_invalid_rotations_are_reported(values: Tensor, kind: str, message: str) -> None:
    with pytest.raises(PoseError, match=message):
        rotation_matrix(values, kind)


def test_invalid_matrices_are_reported() -> None:
    with pytest.raises(PoseError, match=r"shape \(3, 2\), expected \[..., 3, 3\]"):
        write_rotation(torch.zeros(3, 2), "xyz")

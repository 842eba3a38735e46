"""Which attention kernel is used, and that both compute the same."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_world.ops import attention as module
from vjepa_world.ops.attention import attention, products_attention


@pytest.fixture(autouse=True)
def _nothing_measured() -> None:
    module._products_are_faster.cache_clear()


def _fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v)


def _inputs(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, count, 16, generator=generator).to(dtype) for count in (5, 7, 7))
    return q.requires_grad_(), k.requires_grad_(), v.requires_grad_()


def test_products_and_fused_attention_have_the_same_values_and_gradients() -> None:
    inputs = _inputs(torch.float64)
    products, fused = products_attention(*inputs), _fused(*inputs)
    torch.testing.assert_close(products, fused)
    weights = torch.randn_like(fused)
    torch.testing.assert_close(
        torch.autograd.grad(products, inputs, weights), torch.autograd.grad(fused, inputs, weights)
    )


@pytest.mark.parametrize(("products_s", "kept"), [(1.0, products_attention), (3.0, _fused), (1.9, _fused)])
def test_the_faster_kernel_is_kept(
    products_s: float, kept: module.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []

    def seconds(kernel: module.Kernel, *tensors: Tensor) -> float:
        measured.append(tensors[0].shape)
        return products_s if kernel is products_attention else 2.0

    monkeypatch.setattr(module, "_seconds", seconds)
    inputs = _inputs(torch.bfloat16)
    for _ in range(2):
        assert torch.equal(attention(*inputs), kept(*inputs))
    assert measured == [(8, 1, 8, 16)] * 2


def test_nothing_is_measured_in_float32_or_without_a_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds", lambda *_: pytest.fail("measured"))
    exact, rounded = _inputs(torch.float32), _inputs(torch.bfloat16)
    assert torch.equal(attention(*exact), _fused(*exact))
    with torch.no_grad():
        assert torch.equal(attention(*rounded), _fused(*rounded))


def test_measuring_leaves_the_random_numbers_as_they_were() -> None:
    inputs = _inputs(torch.bfloat16)
    before = torch.get_rng_state()
    attention(*inputs)
    assert torch.equal(before, torch.get_rng_state())

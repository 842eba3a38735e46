"""Linear maps for inference: weights in one number format, packed once into the layout of the CPU's matrix product.

Legend: I inputs, O outputs.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Rows that the layout is chosen for; oneDNN's is the same for all but very few.
_TYPICAL_ROWS = 1024


class PackedLinear(nn.Module):
    """A frozen copy of a linear map.

    On a CPU oneDNN packs the weight once: measured 1.1 to 1.4 times the speed of `F.linear` at 192 to 1,536 inputs in
    bfloat16. (It could apply the GELU that follows too, but its own took three times as long as `F.gelu`.) Where torch
    was built without it, on other devices, and in functions that are to be compiled (`pack=False`), it is `F.linear`.

    Attributes:
        weight: `[O, I]`, packed or not.
        bias: `[O]`.

    Args:
        linear: The map that is copied.
        dtype: Number format of weights, inputs and outputs.
        rows: Order of the outputs, int64 `[O]`; None keeps it.
        pack: Whether to pack.
    """

    weight: Tensor
    bias: Tensor

    def __init__(
        self,
        linear: nn.Linear,
        dtype: torch.dtype,
        *,
        rows: Tensor | None = None,
        pack: bool = True,
    ) -> None:
        super().__init__()
        weight, bias = frozen_copy(linear.weight, dtype, rows), frozen_copy(linear.bias, dtype, rows)
        self.packed = pack and weight.device.type == "cpu" and _can_pack(dtype)
        if self.packed:
            weight = torch.ops.mkldnn._reorder_linear_weight(weight, _TYPICAL_ROWS)
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [..., I]` to `[..., O]`."""
        if self.packed:
            packed: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
            return packed
        return F.linear(x, self.weight, self.bias)


class FrozenLayerNorm(nn.Module):
    """A frozen copy of a LayerNorm over the last axis, of width W.

    Attributes:
        weight: `[W]`; None without one.
        bias: `[W]`; None without one.

    Args:
        norm: The LayerNorm that is copied.
        dtype: Number format of weights, inputs and outputs.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.Module | Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(norm, nn.LayerNorm)
        self.shape, self.eps = norm.normalized_shape, norm.eps
        for name, value in (("weight", norm.weight), ("bias", norm.bias)):
            self.register_buffer(name, None if value is None else frozen_copy(value, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Return `x [..., W]` normalised, the same shape."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


def frozen_copy(tensor: Tensor, dtype: torch.dtype, rows: Tensor | None = None) -> Tensor:
    """Return a contiguous copy, `[O, ...]`, that shares no memory with a tensor.

    Args:
        tensor: `[O, ...]`.
        dtype: Number format of the copy.
        rows: Order of the rows in the copy, int64 `[O]`; None keeps it.
    """
    if rows is not None:
        return tensor.detach()[rows].to(dtype).contiguous()  # indexing copies
    return tensor.detach().to(dtype, copy=True, memory_format=torch.contiguous_format)


def _can_pack(dtype: torch.dtype) -> bool:
    if not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_linear_pointwise"):
        return False
    if dtype == torch.bfloat16:  # refused where the processor has no instructions for it
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32

"""Whether tensors have changed since they were copied."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence

import torch
from torch import Tensor
from xxhash import xxh3_64

#: Numbers that are summed at once in a checksum: their factors stay in the processor's cache.
_CHUNK = 2**18


def version(tensor: Tensor) -> tuple[Hashable, ...]:
    """Return a value that differs after a tensor (any shape) was replaced, or written to by an ordinary operation.

    Writes through `.data` or a NumPy view are not detected; see :func:`checksums`.
    """
    return tensor.data_ptr(), tensor.dtype, 0 if tensor.is_inference() else tensor._version


def checksums(tensors: Sequence[Tensor]) -> bytes:
    """Return a checksum of the values of tensors of any shape.

    On a CPU it is a hash of their bytes. On other devices it is two sums of each tensor: one in float64, which changes
    with the least change of one number, and one weighted by random factors, which changes with the order of numbers.
    """
    flat = [tensor.detach().reshape(-1) for tensor in tensors]
    if all(numbers.device.type == "cpu" for numbers in flat):
        digest = xxh3_64()
        for numbers in flat:
            digest.update(numbers.view(torch.uint8).numpy().data)
        return digest.digest()
    sums = []
    for numbers in flat:
        factors = _factors(_CHUNK, numbers.device)
        sums.append(numbers.sum(dtype=torch.float64))
        for part in numbers.split(_CHUNK):
            sums.append(torch.dot(part.float(), factors[: len(part)]).double())
    return torch.stack(sums).cpu().numpy().tobytes()


@functools.cache
def _factors(count: int, device: torch.device) -> Tensor:
    """Return the random factors of a checksum, always the same, float32 `[count]`."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False):
        return torch.rand(count, generator=generator, dtype=torch.float32).to(device)

"""Device, precision and number of threads, as users select them."""

from __future__ import annotations

import ctypes
import os
import platform

import torch

from vjepa_world.errors import ConfigError
from vjepa_world.system.cpu import available_cores


def resolve_device(name: str) -> torch.device:
    """Return the device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        ConfigError: If the name is not one of these, or the GPU is not found.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device '{name}' is not known; allowed: auto, cpu, cuda, cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"device '{name}' is not supported; allowed: auto, cpu, cuda, cuda:N.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device '{name}' was requested, but torch finds no GPU; use device=auto or device=cpu."
        )
    if device.type == "cuda" and device.index is not None and device.index >= torch.cuda.device_count():
        raise ConfigError(
            f"device '{name}' was requested, but there are {torch.cuda.device_count()} GPUs, counted from 0."
        )
    return device


def training_device(name: str) -> torch.device:
    """Return the device to train on: of several processes on one machine, each takes the GPU of its local rank.

    Raises:
        ConfigError: As :func:`resolve_device`.
    """
    device = resolve_device(name)
    if device.type != "cuda" or device.index is not None or "LOCAL_RANK" not in os.environ:
        return device
    return torch.device("cuda", int(os.environ["LOCAL_RANK"]))


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether the hardware has bfloat16 matrix units (elsewhere bfloat16 is emulated, and slower)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities()
    return bool(
        capabilities.get("amx_bf16") or capabilities.get("avx512_bf16") or capabilities.get("sve_bf16")
    )


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the autocast type for `auto`, `float32` or `bfloat16`."""
    if name == "auto":
        return torch.bfloat16 if multiplies_bfloat16(device) else torch.float32
    return torch.bfloat16 if name == "bfloat16" else torch.float32


def in_precision(device: torch.device, dtype: torch.dtype) -> torch.autocast:
    """Return the context in which matrix products on `device` are computed in `dtype`; float32 changes nothing."""
    return torch.autocast(device.type, dtype=dtype, enabled=dtype != torch.float32)


def set_threads(threads: int) -> None:
    """Use `threads` torch threads; 0 takes one for each core that this process may run on."""
    torch.set_num_threads(threads or available_cores())


def keep_freed_memory() -> bool:
    """Let the process keep the memory of freed tensors; return whether the C library supports it (glibc does).

    By default the memory is returned to the system, and every page is faulted in again for the next tensor, which takes
    10 to 20 % of the time of a plan on a CPU.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(parameter, value) for parameter, value in _KEEP)


#: glibc's M_MMAP_THRESHOLD at its largest allowed value, and M_TRIM_THRESHOLD at the largest int.
_KEEP = ((-3, 32 * 2**20), (-1, 2**31 - 1))

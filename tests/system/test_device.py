"""Devices and precisions by name."""

from __future__ import annotations

import pytest
import torch

from vjepa_world.errors import ConfigError
from vjepa_world.system.device import multiplies_bfloat16, resolve_device, resolve_precision, set_threads

CPU = torch.device("cpu")


def test_devices_by_name() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="device 'gpu' is not known; allowed: auto, cpu, cuda, cuda:N"):
        resolve_device("gpu")
    for name in ("mps", "meta", "xla"):
        with pytest.raises(ConfigError, match=f"device '{name}' is not supported; allowed: auto, cpu, cuda"):
            resolve_device(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_reported() -> None:
    with pytest.raises(
        ConfigError, match="device 'cuda:1' was requested, but torch finds no GPU; use device=auto"
    ):
        resolve_device("cuda:1")


def test_precision_by_name() -> None:
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16
    expected = torch.bfloat16 if multiplies_bfloat16(CPU) else torch.float32
    assert resolve_precision("auto", CPU) == expected


def test_threads() -> None:
    set_threads(1)
    assert torch.get_num_threads() == 1

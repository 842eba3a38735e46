"""`encoder=module:function`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from vjepa_world.errors import ConfigError
from vjepa_world.models.encoders.registered import ENCODERS, RegisteredEncoder
from vjepa_world.pretrained import load_encoder
from vjepa_world.pretrained.probes import weights_digest

CODE = """
import torch
from torch import nn

SCALE = 1.0

def areas(images):
    assert images.dtype == torch.uint8
    cells = nn.functional.avg_pool2d(images.float(), 8)
    return (SCALE * cells[:, :2]).flatten(2).transpose(1, 2)

areas.image_size = 32

def pooled(images):
    return areas(images).mean(dim=1)

def two(images, size):
    return images

def random(images):
    return areas(images) + 100 * torch.rand(1, 16, 2)

random.image_size = 32

batch_norm = nn.BatchNorm2d(3)

def forgotten_eval(images):
    return areas((255 * batch_norm(images.float()).sigmoid()).to(torch.uint8))

def over_the_batch(images):
    return areas(images) - areas(images).mean(dim=0)

forgotten_eval.image_size = over_the_batch.image_size = 32

def failing(images):
    return areas(images.reshape(len(images), 7, -1))

failing.image_size = 32

class Module(nn.Module):
    image_size, num_frames, width = 32, 1, 4

    def __init__(self):
        super().__init__()
        self.project = nn.Conv2d(3, self.width, 8, stride=8)

    def forward(self, video):
        return self.project(video[:, 0]).flatten(2).transpose(1, 2)

class Odd(Module):
    width = 3

class Unmade(Module):
    def __init__(self):
        raise OSError("no weights")

class Failing(Module):
    def forward(self, video):
        return self.project(video[:, 0, :2])
"""


def line_of(text: str) -> int:
    return CODE[: CODE.index(text)].count("\n") + 1


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Write a module into the current folder, which forgets it afterwards."""
    (tmp_path / "my_encoders.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(ENCODERS, "_own", dict(ENCODERS._own))
    yield
    sys.modules.pop("my_encoders", None)


def test_a_function_reads_bytes() -> None:
    encoder = load_encoder("my_encoders:areas")
    frames = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    tokens = encoder(encoder.preprocessing(frames).unsqueeze(1))
    expected = (
        frames[:, :2].float().unfold(2, 8, 8).unfold(3, 8, 8).mean(dim=(4, 5)).flatten(2).transpose(1, 2)
    )
    torch.testing.assert_close(tokens, expected, atol=1e-3, rtol=1e-4)


def test_a_class_is_used_as_a_registered_encoder_is() -> None:
    encoder = load_encoder("my_encoders:Module")
    assert encoder(torch.zeros(1, 1, 3, 32, 32)).shape == (1, 16, 4)
    assert encoder.preprocessing.mean == (0.485, 0.456, 0.406)


def test_a_function_that_has_changed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_encoder("my_encoders:areas")
    monkeypatch.setattr(sys.modules["my_encoders"], "SCALE", 2.0)
    after = load_encoder("my_encoders:areas")
    assert weights_digest(before) != weights_digest(after)  # features that were cached are not used
    with pytest.raises(
        ConfigError, match="returns other features of a test image than when the model was trained"
    ):
        after.load_state_dict(before.state_dict())


def test_a_checkpoint_does_not_import_code_unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="if you trust it, set VJEPA_WORLD_PLUGINS=my_encoders"):
        RegisteredEncoder("my_encoders:areas")
    assert "my_encoders" not in sys.modules
    monkeypatch.setenv("VJEPA_WORLD_PLUGINS", "other,my_encoders")
    assert RegisteredEncoder("my_encoders:areas").config.embed_dim == 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_encoders:missing", "cannot be imported .*has no attribute 'missing'"),
        ("no_such_module:f", "cannot be imported .*No module named 'no_such_module'"),
        ("my_encoders:pooled", r"returned torch.float32 \[1, 2\] for uint8 images .*; return a float tensor"),
        ("my_encoders:random", "returned other features for the same image .* it is not deterministic"),
        ("my_encoders:over_the_batch", r"for an image next to another one than alone; .* call .eval\(\)"),
        ("my_encoders:forgotten_eval", r"for an image next to another one than alone"),
        ("my_encoders:Odd", "'my_encoders:Odd' returns features of width D = 3; allowed are even widths"),
        (
            "my_encoders:failing",
            rf"encoder my_encoders:failing raised RuntimeError at my_encoders.py:{line_of('images.reshape')}: shape .* "
            r"is invalid for input of size 3072, for uint8 images \[1, 3, 32, 32\]; correct it",
        ),
        ("my_encoders:Unmade", r"Unmade raised OSError at my_encoders.py:\d+: no weights, when it was made"),
        (
            "my_encoders:Failing",
            rf"RuntimeError at my_encoders.py:{line_of('project(video[:, 0, :')}: .*, for video \[1, 1, 3, 32, 32\]",
        ),
        ("my_encoders:two", "needs 2 arguments; give a function of one, uint8 images"),
    ],
)
def test_code_that_is_no_encoder_is_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_encoder(name)

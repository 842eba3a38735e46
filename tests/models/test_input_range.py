"""Warnings for inputs unlike those of training: which number, how far, and the likely cause."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from tests.models.test_world_model import tiny_model
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig, ImageStatistics
from vjepa_world.models.embodiment import Embodiment
from vjepa_world.models.input_range import appearance, image_statistics, image_warnings, state_warnings
from vjepa_world.pretrained import load_world_model, save_pretrained, shipped_checkpoint

POSE = torch.tensor([0.5, 0.1, 0.25, 3.1, 0.0, 0.2, 0.5])


def robot(config: EmbodimentConfig | None = None, mean: Tensor = POSE, spread: float = 0.1) -> Embodiment:
    made = Embodiment(config or EmbodimentConfig(), 8)
    generator = torch.Generator().manual_seed(0)
    states = mean + spread * torch.randn(2000, len(mean), generator=generator)
    made.set_statistics(torch.zeros(2000, made.config.action_dim), states)
    return made


def test_states_of_training_are_not_warned_of() -> None:
    assert state_warnings(robot(), POSE + 0.3) == []
    assert state_warnings(Embodiment(EmbodimentConfig(), 8), 1000 * POSE) == [], (
        "nothing is known of training"
    )


@pytest.mark.parametrize(
    ("factors", "named", "cause"),
    [
        ([1000] * 3 + [1] * 4, ["x is 500", "y is 100", "z is 250"], "millimetres instead of metres"),
        ([100] * 3 + [1] * 4, ["x is 50", "z is 25"], "centimetres instead of metres"),
        ([1] * 3 + [180 / math.pi] * 3 + [1], ["roll is 177.6"], "degrees instead of radians"),
        (
            [1000] * 3 + [180 / math.pi] * 3 + [1],
            ["x is 500", "roll is 177.6"],
            "millimetres instead of metres and degrees instead of radians",
        ),
        ([1] * 6 + [100], ["closure is 50"], "Check its units and the order"),
    ],
)
def test_other_units_are_reported(factors: list[float], named: list[str], cause: str) -> None:
    [warning] = state_warnings(robot(), (POSE * torch.tensor(factors))[None])
    assert all(word in warning for word in named), warning
    assert cause in warning
    assert "standard deviations" in warning
    assert "closure" in warning or factors[6] == 1


def test_states_in_another_order_are_not_explained_by_a_unit() -> None:
    [warning] = state_warnings(robot(), POSE[torch.tensor([3, 1, 2, 0, 4, 5, 6])])
    assert "x is 3.1" in warning
    assert "Check its units and the order of its numbers" in warning


@pytest.mark.parametrize(
    ("unit", "factor", "cause"),
    [
        ("rad", 180 / math.pi, "degrees instead of radians"),
        ("deg", math.pi / 180, "radians instead of degrees"),
    ],
)
def test_joints_are_called_by_their_names_and_units(unit: str, factor: float, cause: str) -> None:
    names = ("waist", "elbow")
    config = EmbodimentConfig(
        action_dim=2, state_dim=2, numbers="joints", state_names=names, state_units=(unit, unit)
    )
    mean = torch.tensor([1.2, -0.8]) * (1 if unit == "rad" else 180 / math.pi)
    [warning] = state_warnings(robot(config, mean, spread=0.02 * float(mean.abs().max())), mean * factor)
    assert f"waist [{unit}] is {float(mean[0] * factor):g}" in warning
    assert f"elbow [{unit}]" in warning
    assert f"Likely cause: {cause}." in warning


def test_nan_counts_as_far_from_the_training_states() -> None:
    assert "y is nan" in state_warnings(robot(), POSE.clone().index_fill_(0, torch.tensor(1), torch.nan))[0]


def scenes(count: int = 32) -> Tensor:
    """Smooth pictures of changing brightness, uint8 `[M, 3, 96, 128]`."""
    generator = torch.Generator().manual_seed(0)
    coarse = 0.35 + 0.3 * torch.rand(count, 3, 4, 5, generator=generator)
    light = 0.1 * torch.rand(count, 1, 1, 1, generator=generator)
    fine = torch.nn.functional.interpolate(coarse + light, (96, 128), mode="bilinear")
    return (255 * fine).round().to(torch.uint8)


def test_statistics_are_those_of_the_pixels() -> None:
    half = torch.zeros(2, 3, 64, 64, dtype=torch.uint8)
    half[:, :, :, 32:] = 255  # left black, right white
    half[1, 2] = 255
    found = image_statistics(half)
    assert found.mean == (0.5, 0.5, 0.75)
    assert found.mean_spread == (0.0, 0.0, 0.25)
    assert found.contrast == (0.5, 0.5, 0.25)
    assert found.detail == pytest.approx((0.5 / 63, 0.5 / 63, 0.25 / 63), abs=1e-6)
    assert all(part.shape == (2, 3) for part in appearance(half))


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (lambda f: (f / 255).round().to(torch.uint8), "pixels from 0 to 1 that were turned into bytes"),
        (lambda f: torch.full_like(f, 255), "of one colour all over"),
        (lambda f: (0.2 * f).to(torch.uint8), "another exposure"),
        (lambda f: torch.randint_like(f.int(), 256).to(torch.uint8), "noise"),
    ],
)
def test_pictures_unlike_those_of_training_are_warned_of(spoil: object, cause: str) -> None:
    pictures = scenes()
    trained = image_statistics(pictures)
    assert callable(spoil)
    assert all(image_warnings(trained, picture) == [] for picture in pictures)
    assert image_warnings(trained, torch.nn.functional.interpolate(pictures[:1], (48, 64))) == [], (
        "another size"
    )
    torch.manual_seed(0)
    [warning] = image_warnings(trained, spoil(pictures[0]), "the goal picture")
    assert "the goal picture is unlike those that this model was trained on" in warning
    assert cause in warning
    assert image_warnings(ImageStatistics(), spoil(pictures[0])) == [], "nothing is known of training"


def test_the_least_fitting_view_counts() -> None:
    pictures = scenes()[..., :96]
    model = tiny_model(views=2, images=image_statistics(pictures))
    model.predictor.robot().set_statistics(torch.randn(9, 7), torch.randn(9, 7))
    good, dark = pictures[0], pictures[1] // 8
    assert model.input_warnings(torch.cat([good, good], dim=-1), torch.zeros(1, 7)) == []
    assert len(model.input_warnings(torch.cat([good, dark], dim=-1), torch.zeros(1, 7))) == 1
    assert len(model.input_warnings(torch.cat([good, dark], dim=-1), torch.full((1, 7), 99.0))) == 2


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mean": (0.5, 0.5)}, "mean of images is .*; give three numbers from 0 to 1, or none"),
        ({"mean": (0.5, 0.5, 2.0)}, "give three numbers from 0 to 1"),
        ({"mean": (0.5, 0.5, float("nan"))}, "give three numbers from 0 to 1"),
        ({"mean": ("a", "b", "c")}, "give three numbers from 0 to 1"),
        ({"mean": (0.5, 0.5, 0.5)}, "give all or none"),
    ],
)
def test_invalid_statistics_are_refused(values: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ImageStatistics(**values)


def test_statistics_are_stored_with_the_model(tmp_path: object) -> None:
    model = tiny_model(images=image_statistics(scenes()))
    save_pretrained(model, f"{tmp_path}/a")
    assert load_world_model(f"{tmp_path}/a").config.images == model.config.images
    assert load_world_model(shipped_checkpoint()).config.images.known
    save_pretrained(tiny_model(), f"{tmp_path}/b")
    assert dataclasses.replace(load_world_model(f"{tmp_path}/b").config) == tiny_model().config

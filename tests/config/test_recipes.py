"""Every recipe composes, is built as published, and trains for one step if it is small enough."""

from __future__ import annotations

import pytest
import torch

from tests.paths import REPO
from vjepa_world.cli.pretrain import Config
from vjepa_world.config import compose
from vjepa_world.errors import ConfigError
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.training.engine.optimizer import learning_rate, weight_decay

CONFIGS = REPO / "configs"
RECIPES = sorted(path.stem for path in (CONFIGS / "recipe").glob("*.yaml"))
OBJECTIVES = sorted(path.stem for path in (CONFIGS / "objective").glob("*.yaml"))

# Parameters in millions: encoder, of REFERENCE and the papers.
SIZES = {"vitl": 304, "vith": 632, "vitg": 1012, "vitgigantic": 1844}


def config_of(*words: str) -> Config:
    return compose("pretrain", Config, ["data.path=clips", *words])


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_builds_the_encoder_that_it_names(recipe: str) -> None:
    config = config_of(f"recipe={recipe}")
    with torch.device("meta"):
        encoder = VideoEncoder(config.model)
        MaskedPredictor(config.predictor, config.model.embed_dim)
    millions = sum(p.numel() for p in encoder.parameters() if p.requires_grad) / 1e6
    sizes = [size for word in recipe.split("_") for name, size in SIZES.items() if word == name]
    assert sizes == [] or millions == pytest.approx(sizes[0], rel=0.03)
    assert sizes or recipe.startswith(("small", "none", "ijepa"))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_an_objective_is_one_word(objective: str) -> None:
    assert config_of(f"objective={objective}").objective.kind in ("jepa", "pixels", "contrastive")


def test_the_rates_are_those_published() -> None:
    first, cooldown = (config_of(f"recipe=vjepa2_vitl{end}").trainer for end in ("", "_cooldown"))
    assert learning_rate(first, 0) == pytest.approx(1e-4, rel=0.01)
    assert [learning_rate(first, step) for step in (12_000, 100_000, 239_999)] == pytest.approx([5.25e-4] * 3)
    assert learning_rate(cooldown, 6000) == pytest.approx((5.25e-4 + 1e-6) / 2, rel=1e-3)
    assert learning_rate(cooldown, 11_999) == pytest.approx(1e-6, rel=0.1)
    assert cooldown.steps == 12_000
    old = config_of("recipe=vjepa1_vitl").trainer
    assert weight_decay(old, 0) == pytest.approx(0.04, rel=1e-3)
    assert weight_decay(old, old.steps - 1) == pytest.approx(0.4)
    assert learning_rate(old, old.steps - 1) == pytest.approx(1e-6)
    assert weight_decay(first, 5000) == 0.04


def test_command_line_arguments_override_a_recipe() -> None:
    config = config_of("recipe=vjepa2_vitl", "model=vit_tiny", "trainer.steps=5")
    assert (config.model.embed_dim, config.trainer.steps, config.trainer.lr) == (192, 5, 5.25e-4)


def test_a_mixture_asks_for_each_path() -> None:
    with pytest.raises(ConfigError, match=r"data.sources.k710.path"):
        compose("pretrain", Config, ["data=vjepa2_mix"])
    words = [f"data.sources.{name}.path={name}" for name in ("k710", "ssv2", "howto", "imagenet")]
    sources = compose("pretrain", Config, ["data=vjepa2_1_mix", *words]).data.sources
    assert sum(source.weight for source in sources.values()) == pytest.approx(1.0)
    assert sources["imagenet"].frames_per_clip == 1

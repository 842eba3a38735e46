"""`train_probe` as a function: in-memory features and their splits."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError, DataError
from vjepa_world.pretrained.probes import load_probe
from vjepa_world.training.probe.config import ProbeRunConfig, ProbeShape, ProbeTrainerConfig
from vjepa_world.training.probe.data import PARTS, probe_data
from vjepa_world.training.probe.train_probe import train_probe

CONFIG = ProbeRunConfig(
    lrs=(3e-2,),
    weight_decays=(0.01,),
    device="cpu",
    probe=ProbeShape(kind="linear"),
    trainer=ProbeTrainerConfig(steps=300, batch_size=32, precision="float32", threads=1),
)


def tokens(count: int = 120) -> Tensor:
    return torch.randn(count, 3, 8, generator=torch.Generator().manual_seed(0))


def test_numbers_are_regressed_from_features_in_memory(tmp_path: Path) -> None:
    features = tokens()
    targets = features.mean(dim=1)[:, :2] * 3 + 1
    before = torch.random.get_rng_state()
    data = probe_data(features, targets, labels=("x", "y"))
    result = train_probe(CONFIG, data=data, folder=tmp_path / "run")
    assert torch.equal(torch.random.get_rng_state(), before)
    test = result.metrics["test"]
    assert test["euclidean_error"] < 0.25 * test["baseline"]["euclidean_error"]
    torch.testing.assert_close(result.probe(features), targets, atol=0.5, rtol=0)
    saved = load_probe(result.folder)
    assert saved.labels == ("x", "y")
    torch.testing.assert_close(saved.probe(features), result.probe(features))


def test_classes_are_predicted_from_features_in_memory(tmp_path: Path) -> None:
    features = tokens()
    classes = ["up" if value > 0 else "down" for value in features[:, :, 0].mean(dim=1).tolist()]
    result = train_probe(CONFIG, data=probe_data(features, classes), folder=tmp_path / "run")
    assert result.metrics["labels"] == ["down", "up"]
    assert result.metrics["test"]["accuracy"] > 0.85


def test_splits_share_no_video() -> None:
    groups = torch.arange(30).repeat_interleave(4)
    for targets in (tokens()[:, 0, :2], ["a" if group % 2 else "b" for group in groups.tolist()]):
        data = probe_data(tokens(), targets, groups=groups)
        parts = [set(groups[data.clips[part]].tolist()) for part in PARTS]
        assert sum(len(part) for part in parts) == len(set.union(*parts)) == 30
        assert sum(len(data.clips[part]) for part in PARTS) == 120
    pooled = probe_data(tokens()[:, 0], tokens()[:, 0, :1])
    assert pooled.features.shape == (120, 1, 8)


def test_targets_of_another_number_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"got features of shape \[120, 3, 8\] with 119 targets and 120 groups"
    ):
        probe_data(tokens(), tokens()[:119, 0])


@pytest.mark.parametrize(
    ("config", "key"), [(CONFIG, "encoder"), (ProbeRunConfig(encoder="runs/pretrain/first"), "data.path")]
)
def test_missing_data_is_reported_with_what_to_give(config: ProbeRunConfig, key: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"'{key}' is not given and has no default: give {key}="):
        train_probe(config, folder=tmp_path / "run")

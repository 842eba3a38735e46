"""Probes trained together equal those trained alone; selection and test data are separate."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny import CPU, metrics, run_folder
from vjepa_world.errors import CheckpointError, ConfigError, DataError, TrainingError
from vjepa_world.models.config import ProbeConfig
from vjepa_world.models.probe import Probe
from vjepa_world.pretrained.probes import CLASSIFICATION, SavedProbe, load_probe, probe_files
from vjepa_world.training.probe.config import ProbeTrainerConfig, Setting, settings
from vjepa_world.training.probe.data import (
    ProbeData,
    class_numbers,
    clips_of,
    split_classes,
    split_episodes,
)
from vjepa_world.training.probe.loop import train_sweep
from vjepa_world.training.probe.sweep import ProbeSweep, Trial, video_classes, video_values

VIDEOS, TOKENS, WIDTH = 150, 3, 8
TRAINER = ProbeTrainerConfig(
    steps=6, batch_size=8, precision="float32", checkpoint_every=2, log_every=1, workers=0, threads=1
)


def probe_config(kind: str, outputs: int) -> ProbeConfig:
    return ProbeConfig(kind=kind, embed_dim=WIDTH, num_heads=2, depth=2, mlp_ratio=2.0, num_outputs=outputs)


def data(*, classes: bool, seed: int = 0) -> ProbeData:
    """Two clips of each video; the targets are written into the first channels of each token."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2 * VIDEOS, TOKENS, WIDTH, generator=generator)
    groups = torch.arange(2 * VIDEOS) // 2
    numbers = torch.randn(VIDEOS, 2, generator=generator)[groups]
    features[..., :2] = 3 * numbers.unsqueeze(1)
    targets = (numbers[:, 0] > 0).long() if classes else numbers * torch.tensor([0.01, 5.0]) + 100
    split = split_episodes(VIDEOS, 0.2, 0.2, seed)
    return ProbeData(features.half(), targets, groups, ("first", "second"), clips_of(groups, split, []))


def sweep(pairs: list[tuple[float, float]], kind: str = "attentive", classes: bool = True) -> ProbeSweep:
    chosen = [Setting(*pair) for pair in pairs]
    return ProbeSweep(
        probe_config(kind, 2), chosen, data(classes=classes), seed=0, device=CPU, precision="float32"
    )


def files(probe: Probe) -> dict[str, Any]:
    return probe_files(SavedProbe(probe=probe, task=CLASSIFICATION, labels=("first", "second")), {})


def fit(trained: ProbeSweep, folder: Path, *, resume: bool = False, **changes: Any) -> list[Trial]:
    config = ProbeTrainerConfig(**{**TRAINER.__dict__, **changes})
    return train_sweep(trained, config, folder, files, seed=0, resume=resume)


@pytest.mark.parametrize("kind", ["attentive", "linear"])
def test_probes_trained_together_equal_those_trained_alone(tmp_path: Path, kind: str) -> None:
    pairs = [(1e-3, 0.01), (1e-2, 0.01), (1e-2, 0.5)]
    together = sweep(pairs, kind)
    trials = fit(together, run_folder(tmp_path, "all"))
    for number, pair in enumerate(pairs):
        alone = sweep([pair], kind)
        assert fit(alone, run_folder(tmp_path, f"{number}")) == [trials[number]]
        ours, theirs = together.probes[number].state_dict(), alone.probes[0].state_dict()
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    weights = [probe.state_dict()["linear.weight"] for probe in together.probes]
    assert not torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])


def test_weight_decay_applies_to_matrices_only() -> None:
    for group in sweep([(1e-3, 0.5)]).optimizer.param_groups:
        assert {parameter.ndim > 1 for parameter in group["params"]} == {group["weight_decay"] == 0.5}


@pytest.mark.parametrize("kind", ["attentive", "linear"])
@pytest.mark.parametrize("classes", [True, False])
def test_a_probe_learns_targets_that_the_features_contain(tmp_path: Path, kind: str, classes: bool) -> None:
    trained = sweep([(1e-2, 0.0)], kind, classes)
    (before,) = trained.trials(16)
    (after,) = fit(
        trained, run_folder(tmp_path), steps=200, batch_size=16, checkpoint_every=200, log_every=50
    )
    assert (after.score >= 0.8) if classes else (after.score < 0.4 * before.score)
    assert after.loss < 0.6 * before.loss


def test_a_diverged_setting_is_dropped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="vjepa_world")
    together, alone = sweep([(1e30, 0.01), (1e-3, 0.01)]), sweep([(1e-3, 0.01)])
    trials = fit(together, run_folder(tmp_path, "both"))
    fit(alone, run_folder(tmp_path, "one"))
    assert together.alive == [False, True]
    assert together.best(trials) == 1
    assert caplog.messages == ["the probe of lr1e+30_wd0.01 diverged and is no longer trained"]
    ours, theirs = together.probes[1].state_dict(), alone.probes[0].state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    with pytest.raises(TrainingError, match="probes of all settings diverged; give smaller lrs"):
        fit(sweep([(1e30, 0.01)]), run_folder(tmp_path, "none"))


def test_the_best_is_chosen_by_score_and_then_by_loss() -> None:
    setting = Setting(1e-3, 0.1)
    trials = [
        Trial(setting, score, loss) for score, loss in ((0.5, 0.1), (0.8, 0.9), (0.8, 0.7), (math.nan, 0.0))
    ]
    pairs = [(1e-3, float(decay)) for decay in range(4)]
    assert sweep(pairs).best(trials) == 2
    assert sweep(pairs, classes=False).best(trials) == 0


def test_a_resumed_sweep_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    pairs = [(1e-3, 0.01), (1e-2, 0.1)]
    whole = sweep(pairs)
    expected = fit(whole, run_folder(tmp_path, "whole"))
    broken = run_folder(tmp_path, "broken")
    fit(sweep(pairs), broken)
    shutil.rmtree(broken / "checkpoints" / "step_00000006")
    again = sweep(pairs)
    assert fit(again, broken, resume=True) == expected
    assert metrics(broken) == metrics(tmp_path / "whole")
    assert all(
        torch.equal(a, b) for a, b in zip(whole.probes.parameters(), again.probes.parameters(), strict=True)
    )
    finished = sweep(pairs)
    assert fit(finished, broken, resume=True) == expected


def test_a_sweep_of_other_settings_is_not_resumed(tmp_path: Path) -> None:
    folder = run_folder(tmp_path)
    fit(sweep([(1e-3, 0.01)]), folder)
    with pytest.raises(
        CheckpointError, match="another sweep: its settings are lr0.001_wd0.01, now they are lr0.01_"
    ):
        fit(sweep([(1e-2, 0.01)]), folder, resume=True)


def test_the_checkpoint_is_the_best_probe_in_the_units_of_the_data(tmp_path: Path) -> None:
    trained = sweep([(1e-4, 0.0), (1e-2, 0.0)], classes=False)
    trials = fit(trained, run_folder(tmp_path), steps=60, checkpoint_every=30)
    best = trained.best(trials)
    clips = trained.data.clips["test"]
    saved = load_probe(tmp_path / "run")
    outputs = saved.probe(trained.data.features[clips].float())
    torch.testing.assert_close(outputs, trained.outputs(best, clips, 4), atol=1e-4, rtol=1e-5)
    assert (outputs - trained.outputs(1 - best, clips, 4)).abs().max() > 1e-2
    error = (
        trained.outputs(best, trained.data.clips["val"], 4) - trained.data.targets[trained.data.clips["val"]]
    )
    assert trials[best].score == pytest.approx(error.norm(dim=1).mean().item(), rel=1e-5)


def test_the_log_has_every_setting(tmp_path: Path) -> None:
    fit(sweep([(1e-3, 0.01), (1e-2, 0.1)]), run_folder(tmp_path))
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == list(range(6))
    names = ("lr0.001_wd0.01", "lr0.01_wd0.1")
    assert all({f"loss_{name}" for name in names} <= set(line) for line in lines)
    validated = [line["step"] for line in lines if {f"val_accuracy_{name}" for name in names} <= set(line)]
    assert validated == [1, 3, 5]


def test_a_videos_prediction_is_the_mean_of_its_clips() -> None:
    logits = torch.tensor([[9.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])
    groups = torch.tensor([7, 7, 7, 3])
    # One sure clip outweighs two unsure ones: probabilities are averaged, votes are not counted.
    assert video_classes(logits, groups).tolist() == [1, 0]
    assert video_values(torch.tensor([4, 4, 4, 5]), groups).tolist() == [5, 4]


def part_of(split: dict[str, Tensor]) -> dict[int, str]:
    return {int(video): part for part, videos in split.items() for video in videos}


def test_each_class_is_split_and_splits_share_no_video() -> None:
    classes = torch.tensor([0] * 20 + [1] * 10 + [2] * 3)
    split = split_classes(classes, ("a", "b", "c"), 0.2, 0.3, seed=0)
    assert sorted(torch.cat(list(split.values())).tolist()) == list(range(33))
    counts = {part: torch.bincount(classes[videos], minlength=3).tolist() for part, videos in split.items()}
    assert counts == {"train": [10, 5, 1], "val": [4, 2, 1], "test": [6, 3, 1]}
    assert part_of(split) == part_of(split_classes(classes, ("a", "b", "c"), 0.2, 0.3, seed=0))
    assert part_of(split) != part_of(split_classes(classes, ("a", "b", "c"), 0.2, 0.3, seed=1))


def test_every_split_has_an_episode_however_small_its_fraction() -> None:
    for fractions in ((0.01, 0.01), (0.49, 0.49), (0.01, 0.98)):
        split = split_episodes(3, *fractions, seed=0)
        assert {part: len(episodes) for part, episodes in split.items()} == {"train": 1, "val": 1, "test": 1}


def test_data_that_cannot_be_split_is_reported() -> None:
    with pytest.raises(DataError, match="all 4 videos are of the class 'a'; a classifier needs at least two"):
        class_numbers(["a"] * 4)
    classes, names = class_numbers(["b", "a", "b", "c", "b", "c"])
    assert (classes.tolist(), names) == ([1, 0, 1, 2, 1, 2], ("a", "b", "c"))
    with pytest.raises(
        DataError, match="too few videos in 2 classes: 'a' has 1, 'c' has 2. Each class needs at l"
    ):
        split_classes(classes, names, 0.2, 0.2, seed=0)
    with pytest.raises(DataError, match="2 episodes are too few; a probe needs at least 3"):
        split_episodes(2, 0.2, 0.2, seed=0)


def test_clips_of_bad_videos_are_left_out() -> None:
    groups = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    split = {"train": torch.tensor([0, 3]), "val": torch.tensor([1]), "test": torch.tensor([2])}
    clips = clips_of(groups, split, [3])
    assert {part: numbers.tolist() for part, numbers in clips.items()} == {
        "train": [0, 1],
        "val": [2, 3],
        "test": [4, 5],
    }
    with pytest.raises(DataError, match="no readable video is left for the part 'val'"):
        clips_of(groups, split, [1])


@pytest.mark.parametrize(
    ("lrs", "decays", "message"),
    [
        ((), (0.1,), r"lrs is \[\]; give at least one"),
        ((1e-3, 1e-3), (0.1,), "lrs is .*each once"),
        ((-1e-3,), (0.1,), "lrs has -0.001; a learning rate is positive"),
        ((1e-3,), (-0.1,), "weight_decays has -0.1; a weight decay is at least 0"),
    ],
)
def test_settings_are_checked(lrs: tuple[float, ...], decays: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        settings(lrs, decays)

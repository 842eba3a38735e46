"""`evaluate_open_loop` on in-memory episodes; which episodes are held out from a checkpoint's training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vjepa_world as vw
from planners import GoalL1, RandomShooting
from vjepa_world.data.training_record import pack
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.data.trajectories.windows import read_episodes
from vjepa_world.errors import CheckpointError, DataError
from vjepa_world.evaluation.open_loop.training_data import held_out_episodes, trained_convention, trained_fps


def dataset(numbers: int = 2, kind: type[vw.InMemoryDataset] = vw.InMemoryDataset) -> vw.InMemoryDataset:
    rng = np.random.default_rng(0)
    episodes = [
        vw.EpisodeArrays(
            frames=rng.integers(256, size=(5, 32, 32, 3), dtype=np.uint8),
            states=rng.normal(size=(5, numbers)),
            actions=rng.uniform(-1, 1, size=(4, numbers)),
        )
        for _ in range(4)
    ]
    return kind(episodes, fps=4.0)


def world_model() -> vw.LatentWorldModel:
    config = vw.WorldModelConfig(
        encoder=vw.EncoderConfig(
            image_size=32, patch_size=16, num_frames=2, embed_dim=24, depth=1, num_heads=2
        ),
        predictor=vw.ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
        latents=vw.LatentsConfig(kind="none"),
        embodiments=(vw.EmbodimentConfig(action_dim=2, state_dim=2),),
        inverse=vw.InverseConfig(horizon=0),
        decoder=vw.DecoderConfig(image_size=0),
    )
    return vw.build_world_model(config, seed=0).eval().requires_grad_(False)


def evaluated(model: vw.LatentWorldModel, data: vw.InMemoryDataset, started: list[bool]) -> vw.OpenLoopResult:
    energy = GoalL1()
    return vw.evaluate_open_loop(
        model,
        data,
        RandomShooting(model, energy=energy, num_samples=8),
        energy,
        config=vw.OpenLoopConfig(horizon=2, samples=5, points=3, pictures=1),
        windows=6,
        seed=1,
        on_start=lambda: started.append(True),
    )


def test_the_same_seed_gives_the_same_metrics_and_a_report() -> None:
    model, started = world_model(), list[bool]()
    model.action_low.copy_(torch.tensor([-1.0, -1.0]))
    model.action_high.copy_(torch.tensor([1.0, 1.0]))
    result = evaluated(model, dataset(), started)
    metrics = result.metrics()
    assert (metrics["windows"], metrics["fps"], metrics["bad_episodes"]) == (6, 4.0, 0)
    assert json.loads(json.dumps(metrics)) == metrics
    assert metrics == evaluated(model, dataset(), started).metrics()
    assert started == [True, True]
    assert len(result.assessments()) == 5
    assert any("is not one of them" in note for note in metrics["notes"])
    assert "<html" in vw.open_loop_report(result, "a model on arrays")


def test_data_of_other_sizes_is_refused_at_once() -> None:
    started: list[bool] = []
    with pytest.raises(
        CheckpointError, match="the actions of .* have 3 numbers, those of the checkpoint's robot"
    ):
        evaluated(world_model(), dataset(numbers=3), started)
    assert started == []


@pytest.mark.parametrize("is_packed", [True, False])
def test_episodes_are_identified_by_their_content(is_packed: bool) -> None:
    data = dataset()
    prints = [episode.fingerprint for episode in read_episodes(data, max_bad_fraction=0.0)[0]]

    def stored(fingerprints: list[str]) -> object:  # older checkpoints have lists
        return pack(int(text, 16) for text in fingerprints) if is_packed else fingerprints

    known = {"episodes": {"trained": stored(prints[:2]), "held_out": stored(prints[2:3])}}
    found, bad, notes = held_out_episodes(data, known, max_bad_fraction=0.0)
    assert [episode.index for episode in found] == [2, 3]
    assert len(bad) == 0
    assert notes == [
        "2 of 4 episodes were taken: 1 that were held out of training, and 1 that the checkpoint does not know; the "
        "others were trained on."
    ]
    with pytest.raises(DataError, match="all 4 episodes of .* were trained on"):
        held_out_episodes(data, {"episodes": {"trained": stored(prints)}}, max_bad_fraction=0.0)
    _, _, [note] = held_out_episodes(
        data, {"episodes": {"trained": stored(["0123456789abcdef"])}}, max_bad_fraction=0.0
    )
    assert note.startswith("All episodes were taken: the checkpoint was trained on none of those of")


def test_episodes_of_scenes_that_the_training_knew_are_reported() -> None:
    data = dataset()
    about: dict[str, Any] = {"environment": {"id": "toys/Point-v0"}, "episode_seeds": [5, 6, 7, 8]}
    data.about = about
    known = {
        "environments": [{"id": "toys:toys/Point-v0", "trained": pack([6, 8, 9]), "held_out": pack([5])}],
        "held_out": {str(data.path): [0, 1, 2, 3]},
    }
    _, _, notes = held_out_episodes(data, known, max_bad_fraction=0.0)
    assert notes[-1].startswith("LEAKAGE: 2 of 4 episodes were recorded with seeds of toys/Point-v0 that")
    about["episode_seeds"] = [5, 10, 11, 12]
    assert not any("LEAKAGE" in note for note in held_out_episodes(data, known, max_bad_fraction=0.0)[2])


def test_older_checkpoints_identify_episodes_by_path() -> None:
    data = dataset()
    found, _, [note] = held_out_episodes(data, {"held_out": {str(data.path): [1]}}, max_bad_fraction=0.0)
    assert [episode.index for episode in found] == [1]
    assert "does not know its episodes by their content" in note


def test_the_convention_of_the_training_is_used_where_the_data_declares_none(tmp_path: Path) -> None:
    settings = {
        "data.convention.closed": 1.0,
        "data.sources.a.embodiment": "one",
        "data.sources.a.convention.actions": "target",
        "data.fps": 5.0,
    }
    convention, [note] = trained_convention(tmp_path, {"config": settings}, "one")
    assert convention is not None and convention.actions == "target"
    assert note.startswith("Numbers are read as in training")
    assert trained_convention(tmp_path, {"config": {"data.fps": 5.0}}) == (None, [])
    assert trained_convention(tmp_path, {"config": {"data.convention.no_such_key": 1}}) == (None, [])
    assert trained_convention(tmp_path, {}) == (None, [])
    assert (trained_fps({"config": settings}), trained_fps({})) == (5.0, 0.0)


def test_what_moves_is_read_from_the_columns_of_a_dataset() -> None:
    class Labelled(vw.InMemoryDataset):
        def episode(self, index: int) -> Trajectory:
            recorded = super().episode(index)
            contact = np.arange(len(recorded)) >= (3 if index % 2 else len(recorded))
            return replace(recorded, columns={"contact": contact, "object_moving": contact.reshape(-1, 1)})

    result = evaluated(world_model(), dataset(kind=Labelled), [])
    contact = result.windows.labels["contact"]
    assert contact.shape == (6, 3)
    assert torch.equal(contact, result.windows.labels["object_moving"])
    groups = result.metrics()["worth"]["groups"]
    expected = int(contact.any(dim=1).sum())
    assert 0 < expected < 6
    assert (groups["object moves"]["windows"], groups["arm alone"]["windows"]) == (expected, 6 - expected)
    page = vw.open_loop_report(result)
    assert "object moves" in page and "Is this model worth planning with?" in page

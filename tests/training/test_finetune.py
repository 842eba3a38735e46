"""Action-conditioned prediction of a bump that the actions push."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.bump_world import LENGTH, bump_features, bump_model
from tests.training.tiny import CPU, assert_same_state, fit, metrics, run_folder, trainer_config
from vjepa_world.errors import DataError
from vjepa_world.pretrained import load_world_model
from vjepa_world.training.config import FinetuneObjective, TrainerConfig
from vjepa_world.training.finetune import FinetuneTask
from vjepa_world.training.frozen_features import FrozenFeatures

PLAIN = FinetuneObjective(rollout=2, motion_share=0.0)


def finetune_task(
    config: TrainerConfig | None = None, data: FrozenFeatures | None = None, **changes: Any
) -> FinetuneTask:
    settings: dict[str, Any] = {"frames": 3, "val_fraction": 0.1, "objective": FinetuneObjective(), "seed": 0}
    return FinetuneTask(
        bump_model(),
        data or bump_features(20, seed=0),
        trainer=config or trainer_config(),
        device=CPU,
        provenance={"made": "by a test"},
        **{**settings, **changes},
    )


def test_it_learns_what_actions_do(tmp_path: Path) -> None:
    """Better than copying the last frame on unseen episodes, and because of the actions."""
    config = trainer_config(steps=200, batch_size=24, lr=5e-3, log_every=50, checkpoint_every=200)
    task = finetune_task(config, bump_features(120, seed=1))
    before = {name: tensor.clone() for name, tensor in task.model.encoder.state_dict().items()}
    fit(task, config, run_folder(tmp_path))
    first, *_, last = metrics(tmp_path / "run")
    assert last["val_error"] < 0.75 * last["val_copy_last_frame"]
    assert last["val_shuffled_actions"] > 1.25 * last["val_error"]
    assert last["loss"] < 0.75 * first["loss"]
    loaded = load_world_model(tmp_path / "run")
    assert_same_state(loaded, task.model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.encoder.state_dict().items())


def test_at_the_start_it_copies_the_last_frame() -> None:
    task = finetune_task()
    figures = task.monitor(next(task.batches(0)), step=0)
    assert figures["val_error"] == pytest.approx(figures["val_copy_last_frame"])
    assert figures["val_shuffled_actions"] == pytest.approx(figures["val_copy_last_frame"])
    assert figures["val_error"] > 0.01


def test_the_first_loss_is_that_of_a_copy() -> None:
    task = finetune_task(objective=PLAIN)
    features, actions, states = next(task.batches(0))
    losses = task._loss((features, actions, states))
    teacher = (features[:, 1:] - features[:, :-1]).abs().mean()
    rollout = (features[:, 2] - features[:, 0]).abs().mean()
    torch.testing.assert_close(losses["loss_teacher"], teacher)
    torch.testing.assert_close(losses["loss_rollout"], rollout)
    torch.testing.assert_close(losses["loss"], teacher + rollout)
    alone = finetune_task(objective=dataclasses.replace(PLAIN, rollout=1))._loss((features, actions, states))
    assert set(alone) == {"loss", "loss_teacher"}
    torch.testing.assert_close(alone["loss"], teacher)


def test_weight_on_motion_raises_the_share_of_what_moves() -> None:
    """Token weights proportional to the change: the copy's loss is mean(c^2) / mean(c)."""
    task = finetune_task(objective=FinetuneObjective(rollout=1, motion_share=1.0))
    batch = next(task.batches(0))
    change = (batch[0][:, 1:] - batch[0][:, :-1]).abs().mean(dim=-1)
    torch.testing.assert_close(task._loss(batch)["loss"], change.square().mean() / change.mean())


def test_bounds_and_statistics_are_those_of_the_training_episodes_actions() -> None:
    """Neither the held-out episodes' actions nor the zeros that end an episode count."""
    data = bump_features(20, seed=0)
    data.actions[:] = data.actions.abs() + 0.1
    data.actions[-2 * LENGTH :] = 50.0
    task = finetune_task(data=data)
    taken = torch.cat([data.actions[e * LENGTH : (e + 1) * LENGTH - 1] for e in range(18)])
    assert torch.equal(task.model.action_low, taken.min(dim=0).values)
    assert torch.equal(task.model.action_high, taken.max(dim=0).values)
    torch.testing.assert_close(task.model.predictor.action_mean, taken.mean(dim=0))
    torch.testing.assert_close(task.model.predictor.action_std, taken.std(dim=0))


def test_the_last_episodes_are_held_out_and_no_window_crosses_two() -> None:
    task = finetune_task(frames=4)
    held_out = {e * LENGTH + i for e in (18, 19) for i in range(LENGTH - 3)}
    training = {e * LENGTH + i for e in range(18) for i in range(LENGTH - 3)}
    assert set(task.held_out.tolist()) == held_out
    assert set(task.train.tolist()) == training
    assert len(task.train) == len(training)


def test_batches_depend_on_seed_and_step_alone() -> None:
    config = trainer_config(steps=5)
    task, other = finetune_task(config), finetune_task(config, seed=1)
    batches = list(task.batches(0))
    assert len(batches) == 5
    torch.manual_seed(7)
    for again, batch in zip(task.batches(2), batches[2:], strict=True):
        assert all(torch.equal(a, b) for a, b in zip(again, batch, strict=True))
    assert not torch.equal(next(other.batches(0))[0], batches[0][0])
    assert not torch.equal(batches[0][0], batches[1][0])
    assert [tensor.shape for tensor in batches[0]] == [(4, 3, 16, 8), (4, 3, 2), (4, 3, 2)]


def test_a_resumed_finetuning_is_bit_equal(tmp_path: Path) -> None:
    config = trainer_config(steps=6, checkpoint_every=3)
    straight = finetune_task(config)
    fit(straight, config, run_folder(tmp_path, "straight"))
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    kept = folder / "checkpoints" / "step_00000003"
    (tmp_path / "straight" / "checkpoints" / "step_00000003").rename(kept)
    resumed = finetune_task(config)
    fit(resumed, config, folder, resume=True)
    assert_same_state(straight.model, resumed.model)
    assert metrics(folder) == metrics(tmp_path / "straight")[3:]


def test_only_the_predictor_is_trained() -> None:
    task = finetune_task()
    task._loss(next(task.batches(0)))["loss"].backward()
    assert all(p.grad is None for p in task.model.encoder.parameters())
    assert any(p.grad is not None and p.grad.any() for p in task.model.predictor.parameters())


@pytest.mark.parametrize(("episodes", "frames"), [(1, 3), (20, LENGTH + 1)])
def test_too_little_data_is_refused(episodes: int, frames: int) -> None:
    message = (
        f"{episodes} episodes leave 0 windows of {frames} frames to train on.*give more or longer episodes"
    )
    with pytest.raises(DataError, match=message):
        finetune_task(data=bump_features(episodes, seed=0), frames=frames)

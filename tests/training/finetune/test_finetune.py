"""Action-conditioned prediction of a bump that the actions push."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.bump_world import LENGTH, BumpWorld, bump_model, cached
from tests.training.tiny import CPU, assert_same_state, fit, metrics, run_folder, trainer_config
from vjepa_world.errors import DataError
from vjepa_world.models.config import DecoderConfig, EmbodimentConfig, InverseConfig, LatentsConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained import load_world_model
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.finetune.config import FinetuneObjective
from vjepa_world.training.finetune.task import FinetuneTask
from vjepa_world.training.finetune.window_batches import WindowBatch

PLAIN = FinetuneObjective(rollout=2, motion_share=0.0)


def finetune_task(
    config: TrainerConfig | None = None,
    world: BumpWorld | None = None,
    model: LatentWorldModel | None = None,
    source: dict[str, Any] | None = None,
    **changes: Any,
) -> FinetuneTask:
    settings: dict[str, Any] = {"objective": FinetuneObjective(), "seed": 0}
    world, model = world or BumpWorld(20, seed=0), model or bump_model()
    sources = [world.source(**(source or {}))]
    return FinetuneTask(
        model,
        sources,
        cached([world], sources, model),
        trainer=config or trainer_config(),
        device=CPU,
        provenance={"made": "by a test"},
        **{**settings, **changes},
    )


def losses(task: FinetuneTask, batch: WindowBatch | None = None, step: int = 0) -> dict[str, torch.Tensor]:
    (forward_pass,) = task.forward_passes(batch or next(task.batches(0)), step)
    return forward_pass()


def test_finetuning_learns_the_effect_of_actions(tmp_path: Path) -> None:
    """Better than copying the last frame on unseen episodes, at one step and at the last, thanks to the actions."""
    config = trainer_config(steps=200, batch_size=24, lr=5e-3, log_every=50, checkpoint_every=200)
    task = finetune_task(config, BumpWorld(120, seed=1))
    before = {name: tensor.clone() for name, tensor in task.model.encoder.state_dict().items()}
    fit(task, config, run_folder(tmp_path))
    first, *_, last = metrics(tmp_path / "run")
    for end in ("", "_rollout"):
        assert last[f"val_error{end}"] < 0.75 * last[f"val_copy_last_frame{end}"]
        assert last[f"val_shuffled_actions{end}"] > 1.25 * last[f"val_error{end}"]
    assert last["loss"] < 0.75 * first["loss"]
    loaded = load_world_model(tmp_path / "run")
    assert_same_state(loaded, task.model)
    assert all(torch.equal(tensor, before[name]) for name, tensor in loaded.encoder.state_dict().items())


def test_an_untrained_predictor_copies_the_last_frame() -> None:
    task = finetune_task()
    logged = task.monitor(next(task.batches(0)), step=0)
    for end in ("", "_rollout"):
        assert logged[f"val_error{end}"] == pytest.approx(logged[f"val_copy_last_frame{end}"])
        assert logged[f"val_shuffled_actions{end}"] == pytest.approx(logged[f"val_copy_last_frame{end}"])
    assert logged["val_error"] > 0.01


def test_the_first_loss_is_that_of_copy_last_frame() -> None:
    task = finetune_task(objective=PLAIN)
    batch = next(task.batches(0))
    assert batch.features is not None
    found = losses(task, batch)
    teacher = (batch.features[:, 1:] - batch.features[:, :-1]).abs().mean()
    rollout = (batch.features[:, 1:] - batch.features[:, :1]).abs().mean()
    torch.testing.assert_close(found["loss_teacher"], teacher)
    torch.testing.assert_close(found["loss_rollout"], rollout)
    torch.testing.assert_close(found["loss"], teacher + rollout)
    alone = losses(finetune_task(objective=dataclasses.replace(PLAIN, rollout=1)), batch)
    assert set(alone) == {"loss", "loss_teacher"}
    torch.testing.assert_close(alone["loss"], teacher)


@pytest.mark.parametrize("context_frames", [0, 1])
def test_the_rollout_feeds_its_own_predictions_back(context_frames: int) -> None:
    """Against the published loop: the complete past is recomputed for every step, with true states."""
    model = bump_model(predictor={"context_frames": context_frames, "residual": False, "normalize": True})
    task = finetune_task(model=model, source={"frames": 5}, objective=dataclasses.replace(PLAIN, rollout=4))
    batch = next(task.batches(0))
    z, a, s = batch.features, batch.actions, batch.states
    assert z is not None
    seen = z[:, :1]
    for step in range(4):
        out = model.predictor(seen.flatten(1, 2), a[:, : step + 1], s[:, : step + 1])
        newest = out.unflatten(1, (step + 1, -1))[:, -1:]
        seen = torch.cat([seen, torch.nn.functional.layer_norm(newest, newest.shape[-1:])], dim=1)
    torch.testing.assert_close(losses(task, batch)["loss_rollout"], (seen[:, 1:] - z[:, 1:]).abs().mean())


def test_the_rollout_grows_over_the_ramp() -> None:
    objective = FinetuneObjective(rollout=4, rollout_ramp=0.5)
    found = [objective.rollout_at(share) for share in (0.0, 0.16, 0.17, 0.34, 0.49, 0.5, 1.0)]
    assert found == [1, 1, 2, 3, 3, 4, 4]
    task = finetune_task(trainer_config(steps=10), source={"frames": 5}, objective=objective)
    batch = next(task.batches(0))
    assert "loss_rollout" not in losses(task, batch, step=0)
    assert "loss_rollout" in losses(task, batch, step=2)


def test_motion_weights_raise_the_share_of_moving_tokens() -> None:
    """Token weights proportional to the change: the copy's loss is mean(c^2) / mean(c)."""
    task = finetune_task(objective=FinetuneObjective(rollout=1, motion_share=1.0))
    batch = next(task.batches(0))
    assert batch.features is not None
    change = (batch.features[:, 1:] - batch.features[:, :-1]).abs().mean(dim=-1)
    torch.testing.assert_close(losses(task, batch)["loss"], change.square().mean() / change.mean())


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("l2", lambda p, z: (p - z).square().mean()),
        ("cosine", lambda p, z: (1 - (p * z).sum(-1) / (p.norm(dim=-1) * z.norm(dim=-1))).mean()),
        (
            "smooth_l1",
            lambda p, z: torch.where((p - z).abs() < 1, (p - z) ** 2 / 2, (p - z).abs() - 0.5).mean(),
        ),
    ],
)
def test_other_distances(kind: Any, expected: Any) -> None:
    task = finetune_task(objective=FinetuneObjective(loss=kind, rollout=1, motion_share=0.0))
    batch = next(task.batches(0))
    assert batch.features is not None
    torch.testing.assert_close(
        losses(task, batch)["loss"], expected(batch.features[:, :-1], batch.features[:, 1:])
    )


def test_micro_batches_give_the_gradients_of_the_batch() -> None:
    """One graph at a time: gradients and metrics of three micro-batches equal those of the batch up to rounding."""
    whole, sliced = (
        finetune_task(trainer_config(batch_size=7, accumulate=pieces), model=everything())
        for pieces in (1, 3)
    )
    batch = next(whole.batches(0))
    found: list[dict[str, torch.Tensor]] = []
    for task in (whole, sliced):
        total: dict[str, torch.Tensor] = {}
        for forward_pass in task.forward_passes(batch, 0):
            logged = forward_pass()
            logged["loss"].backward()
            total = {
                name: total.get(name, torch.zeros(())) + value.detach() for name, value in logged.items()
            }
        found.append(total)
    assert len(sliced.forward_passes(batch, 0)) == 3
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name])
    pairs = zip(whole.model.predictor.parameters(), sliced.model.predictor.parameters(), strict=True)
    assert all(p.grad is not None for p in whole.model.predictor.parameters())
    for one, other in pairs:
        torch.testing.assert_close(one.grad, other.grad)


def everything(**changes: Any) -> LatentWorldModel:
    """A model with all auxiliary modules that can be trained next to the predictor."""
    parts: dict[str, Any] = {
        "predictor": {"predict_state": True, "use_extrinsics": True, "extrinsics_dim": 6},
        "latents": LatentsConfig(kind="queries", side=2, embed_dim=32, num_heads=2),
        "inverse": InverseConfig(horizon=2, embed_dim=32, num_heads=2, depth=1),
        "decoder": DecoderConfig(image_size=4, embed_dim=32, num_heads=2, depth=1),
    }
    return bump_model(**{**parts, **changes})


def test_auxiliary_modules_learn_too(tmp_path: Path) -> None:
    config = trainer_config(steps=400, batch_size=24, lr=2e-3, log_every=50, checkpoint_every=400)
    model = everything(latents=LatentsConfig(kind="none"))
    objective = FinetuneObjective(state=1.0)
    task = finetune_task(config, BumpWorld(60, seed=1, clutter=0.0), model=model, objective=objective)
    fit(task, config, run_folder(tmp_path))
    first, *_, last = metrics(tmp_path / "run")
    for name in ("state", "inverse", "decoder"):
        assert last[f"loss_{name}"] < 0.7 * first[f"loss_{name}"], name
    assert_same_state(load_world_model(tmp_path / "run"), task.model)


@pytest.mark.parametrize("condition", ["tokens", "adaln"])
def test_learned_tokens_do_not_collapse(condition: str, tmp_path: Path) -> None:
    """With a reconstruction they encode what differs between frames; the prediction error is measured in them."""
    model = bump_model(
        latents=LatentsConfig(kind="queries", side=2, embed_dim=32, num_heads=2),
        predictor={"condition": condition},
    )
    config = trainer_config(steps=150, batch_size=24, lr=5e-3, log_every=50, checkpoint_every=150)
    task = finetune_task(config, BumpWorld(60, seed=1), model=model)
    fit(task, config, run_folder(tmp_path))
    batch = next(task.batches(0))
    assert batch.features is not None
    tokens = model.compact(batch.features.flatten(0, 1))
    assert tokens.shape[1] == 4
    assert tokens.std(dim=0).mean() > 0.1  # without the map back: 0.001
    *_, last = metrics(tmp_path / "run")
    assert last["val_error"] < last["val_copy_last_frame"]


def test_two_robots_with_actions_of_different_sizes_share_the_predictor(tmp_path: Path) -> None:
    class Turned(BumpWorld):
        """The same world, moved by a number more: the last one does nothing."""

        def __init__(self, episodes: int, seed: int) -> None:
            super().__init__(episodes, seed)
            padded = [
                torch.nn.functional.pad(torch.from_numpy(e.actions), (0, 1)).numpy() for e in self.numbers
            ]
            pairs = zip(self.numbers, padded, strict=True)
            self.numbers = [dataclasses.replace(e, actions=actions) for e, actions in pairs]

    worlds = [BumpWorld(40, seed=1), Turned(40, seed=2)]
    sizes = (("two", 2), ("three", 3))
    robots = tuple(EmbodimentConfig(name=name, action_dim=size, state_dim=2) for name, size in sizes)
    model = bump_model(embodiments=robots)
    sources = [
        worlds[0].source(name="a", embodiment="two", weight=3.0),
        worlds[1].source(name="b", embodiment="three", weight=1.0),
    ]
    config = trainer_config(steps=160, batch_size=8, lr=5e-3, log_every=80, checkpoint_every=160)
    task = FinetuneTask(
        model,
        sources,
        cached(worlds, sources, model),
        objective=PLAIN,
        trainer=config,
        seed=0,
        device=CPU,
        provenance={},
    )
    drawn = [batch.embodiment for batch in task.batches(0)]
    assert 104 <= drawn.count("two") <= 136
    fit(task, config, run_folder(tmp_path))
    logged = metrics(tmp_path / "run")[-1]
    assert logged["val_error_a"] < logged["val_copy_last_frame_a"]
    assert logged["val_error_b"] < logged["val_copy_last_frame_b"]
    loaded = load_world_model(tmp_path / "run", embodiment="three")
    assert loaded.action_low.shape == (3,)
    assert loaded.action_high[2] == 0


def test_bounds_and_statistics_are_those_of_the_training_windows_actions() -> None:
    """The held-out episodes' actions do not count."""
    world = BumpWorld(20, seed=0)
    held_out = world.source().held_out_episodes
    for episode in held_out:
        world.numbers[episode].actions[:] = 50.0
    task = finetune_task(world=world, source={"frames": 2})
    taken = torch.cat([torch.from_numpy(e.actions) for e in world.numbers if e.index not in held_out])
    assert len(held_out) == 2
    assert torch.equal(task.model.action_low, taken.min(dim=0).values)
    assert torch.equal(task.model.action_high, taken.max(dim=0).values)
    torch.testing.assert_close(task.model.predictor.robot().action_mean, taken.mean(dim=0))
    torch.testing.assert_close(task.model.predictor.robot().action_std, taken.std(dim=0))
    assert task.provenance["held_out"] == {"bumps": list(held_out)}


def test_batches_depend_only_on_seed_and_step() -> None:
    config = trainer_config(steps=5)
    task, other = finetune_task(config), finetune_task(config, seed=1)
    batches = [seen(batch) for batch in task.batches(0)]
    assert len(batches) == 5
    torch.manual_seed(7)
    for again, batch in zip(task.batches(2), batches[2:], strict=True):
        assert torch.equal(seen(again), batch)
    assert not torch.equal(seen(next(other.batches(0))), batches[0])
    assert not torch.equal(batches[0], batches[1])
    first = next(task.batches(0))
    assert (seen(first).shape, first.actions.shape, first.states.shape) == (
        (4, 3, 16, 8),
        (4, 2, 2),
        (4, 3, 2),
    )


def seen(batch: WindowBatch) -> torch.Tensor:
    assert batch.features is not None
    return batch.features


def test_a_resumed_finetuning_is_bit_equal(tmp_path: Path) -> None:
    config = trainer_config(steps=6, checkpoint_every=3)
    straight = finetune_task(config, model=everything())
    fit(straight, config, run_folder(tmp_path, "straight"))
    folder = tmp_path / "stopped"
    (folder / "checkpoints").mkdir(parents=True)
    kept = folder / "checkpoints" / "step_00000003"
    (tmp_path / "straight" / "checkpoints" / "step_00000003").rename(kept)
    resumed = finetune_task(config, model=everything())
    fit(resumed, config, folder, resume=True)
    assert_same_state(straight.model, resumed.model)
    assert metrics(folder) == metrics(tmp_path / "straight")[3:]


def test_the_encoder_is_not_trained() -> None:
    task = finetune_task(model=everything())
    losses(task)["loss"].backward()
    assert all(p.grad is None for p in task.model.encoder.parameters())
    assert all(p.grad is not None for p in task.modules.parameters())


@pytest.mark.parametrize(("episodes", "frames"), [(1, 3), (20, LENGTH + 1)])
def test_too_little_data_is_refused(episodes: int, frames: int) -> None:
    message = (
        f"{episodes} episodes leave 0 windows of {frames} frames to train on.*give more or longer episodes"
    )
    with pytest.raises(DataError, match=message):
        finetune_task(world=BumpWorld(episodes, seed=0), source={"frames": frames})

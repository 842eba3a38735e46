"""A world model with a goal reader: trained, stored, and planned with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.cli.commands import COLLECT, EVALUATE, FINETUNE, run
from vjepa_world.planning.build import load_planner
from vjepa_world.planning.config import GoalStateConfig, PlanningConfig
from vjepa_world.pretrained.loading import load_world_model

TINY = ["encoder=untrained", "latents.side=2", "model.image_size=32", "model.embed_dim=24", "model.depth=1"]
READ = ["goal_reader.depth=1", "goal_reader.embed_dim=8"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that has a goal reader, and one that has none."""
    home = tmp_path_factory.mktemp("reader")
    assert run(home, *COLLECT, "name=arm", "episodes=4") == 0
    words = [*FINETUNE, "data.path=runs/collect/arm", *TINY]
    assert run(home, *words, *READ, "name=reads") == 0
    assert run(home, *words, "name=blind") == 0
    return home


def test_it_is_trained_and_measured_on_held_out_episodes_beside_a_robot_that_stays(home: Path) -> None:
    lines = (home / "runs/finetune/reads/metrics.jsonl").read_text().splitlines()
    found = {key: value for line in lines for key, value in json.loads(line).items()}
    assert found["loss_goal_reader"] > 0 and found["val_goal_reader"] > 0
    assert found["val_goal_reader_no_motion"] > 0


def test_states_are_read_from_goals_in_the_units_of_the_data(home: Path) -> None:
    model = load_world_model(home / "runs/finetune/reads")
    frames = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 1, 3, 32, 32), np.uint8))
    states = torch.tensor([[0.5, 0.0, 0.2, 3.1, 0.0, 0.0, 0.5], [0.4, 0.1, 0.2, 3.1, 0.0, 0.0, 0.0]])
    context, goal = model.encode(frames, states[:, None]), model.encode_goal(frames[:, 0].flip(-1))
    read = model.read_goal_states(context, goal)
    assert read.shape == (2, 7) and model.goal_reader is not None
    robot = model.predictor.robot()
    change = model.goal_reader(context.features[:, -1], goal, robot.standard_states(states), "default")
    torch.testing.assert_close(read, states + change * robot.state_std)


def test_plans_go_to_the_state_that_is_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = [*EVALUATE, "controls.simulator=1"]
    words = [*plan, "checkpoint=runs/finetune/reads", "goal_state.weight=10"]
    assert run(home, *words, "name=reads", "penalties.smoothness=0.1") == 0
    assert (home / "runs/evaluate/reads/result.json").is_file()

    assert run(home, *plan, "checkpoint=runs/finetune/blind", "goal_state.weight=10", "name=none") == 2
    message = capsys.readouterr().err
    assert (
        "runs/finetune/blind has no goal reader; fine-tune with goal_reader.depth=4, or leave it out"
        in message
    )
    assert not (home / "runs/evaluate/none").exists()


def test_a_checkpoint_with_a_goal_reader_plans_with_it_unless_the_weight_is_zero(home: Path) -> None:
    """The weight has a default for it, so that a model is used with all that it was trained with."""

    def energy(checkpoint: str, weight: float | None) -> str:
        config = PlanningConfig(goal_state=GoalStateConfig(weight=weight))
        return repr(load_planner(home / f"runs/finetune/{checkpoint}", config, torch.device("cpu")).energy)

    assert "5 * ReadStateGoal" in energy("reads", None)
    assert "ReadStateGoal" not in energy("reads", 0.0)
    assert "ReadStateGoal" not in energy("blind", None)

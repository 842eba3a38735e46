"""A robot with joint states, from its dataset to a plan: inspect, finetune, evaluate, plan, convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.cli.commands import NETWORK, TRAINER, run
from tests.data.joint_robot import FPS, JOINTS, MOST, SIZE, joint_episode, write_joint_dataset
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.convention import PLAIN, Convention
from vjepa_world.pretrained import load_world_model

FINETUNE = ["finetune", "device=cpu", "encoder=pixels", "model.image_size=32", "model.patch_size=8", *TRAINER]
FINETUNE += [f"predictor.{word}" for word in NETWORK]
FINETUNE += [
    "inverse.horizon=0",
    "decoder.image_size=0",
    "data.val_fraction=0.4",
    "data.convention.joint_units=deg",
]
OPEN_LOOP = ["evaluate-open-loop", "device=cpu", "open_loop.horizon=3", "open_loop.samples=4"]
OPEN_LOOP += [
    "open_loop.points=3",
    "open_loop.pictures=1",
    "planner.num_samples=8",
    "planner.num_iterations=1",
]
OPEN_LOOP += ["planner.num_elites=2", "data.windows=1000"]
NAMES = [name.removesuffix(".pos") for name in JOINTS]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joints")
    dataset = write_joint_dataset(folder / "arm")
    (dataset / "meta" / "vjepa_world.json").unlink()  # as LeRobot writes it
    for name, actions in (("target", "target"), ("delta", "derived")):
        words = [f"name={name}", "data.path=arm", f"data.convention.actions={actions}"]
        assert run(folder, *FINETUNE, *words) == 0
    frames, *_ = joint_episode(0)
    Image.fromarray(frames[0]).save(folder / "now.png")
    Image.fromarray(frames[8]).save(folder / "goal.png")
    return folder


def model_of(home: Path, name: str) -> LatentWorldModel:
    return load_world_model(home / "runs" / "finetune" / name)


def trained_on(home: Path, name: str) -> list[int]:
    config = json.loads(next((home / "runs" / "finetune" / name).rglob("config.json")).read_text())
    [held_out] = config["provenance"]["held_out"].values()
    return [index for index in range(6) if index not in held_out]


def test_inspect_reads_the_names_as_joints(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(home, "inspect", "arm", "--json", "--no-picture", "--convention", "joint_units=deg") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["convention"]["joints"] == list(range(6))
    assert found["convention"]["position_at"] == []
    assert found["convention"]["actions"] == "target"  # of the states' own names, which are positions
    assert [feature["name"] for feature in found["state"]] == list(JOINTS)
    assert not [finding for finding in found["findings"] if finding["severity"] == "error"]
    assert run(home, "inspect", "arm", "--no-picture", "--convention", "joint_units=deg") == 0
    text = capsys.readouterr().out
    assert "shoulder_pan.pos [deg]" in text
    assert "the joints to reach" in text


def test_the_checkpoint_stores_names_units_and_the_action_type(home: Path) -> None:
    for name, meaning in (("target", "target"), ("delta", "delta")):
        robot = model_of(home, name).robot
        assert (robot.numbers, robot.actions) == ("joints", meaning)
        assert robot.state_names == robot.action_names == JOINTS
        assert robot.state_units == robot.action_units == ("deg",) * 6


def test_targets_are_the_next_joints_and_their_largest_step_is_stored(home: Path) -> None:
    model = model_of(home, "target")
    assert model.action_type == "absolute"
    episodes = [joint_episode(index) for index in trained_on(home, "target")]
    targets = np.concatenate([part[:-1] for _, _, part in episodes])
    steps = np.concatenate([(part - joints)[:-1] for _, joints, part in episodes])
    np.testing.assert_allclose(model.action_low.numpy(), targets.min(axis=0), atol=1e-5)
    np.testing.assert_allclose(model.action_high.numpy(), targets.max(axis=0), atol=1e-5)
    assert model.action_step is not None
    np.testing.assert_allclose(model.action_step.numpy(), np.abs(steps).max(axis=0), atol=1e-4)


def test_derived_actions_are_joint_changes_in_joint_units(home: Path) -> None:
    model = model_of(home, "delta")
    assert model.action_type == "delta"
    assert model.action_step is None
    steps = np.concatenate(
        [np.diff(joints, axis=0) for _, joints, _ in map(joint_episode, trained_on(home, "delta"))]
    )
    np.testing.assert_allclose(model.action_low.numpy(), steps.min(axis=0), atol=1e-5)
    np.testing.assert_allclose(model.action_high.numpy(), steps.max(axis=0), atol=1e-5)


def evaluated(home: Path, name: str, *words: str, checkpoint: str = "") -> dict[str, Any]:
    assert (
        run(
            home,
            *OPEN_LOOP,
            f"name={name}",
            f"checkpoint=runs/finetune/{checkpoint or name}",
            "data.path=arm",
            *words,
        )
        == 0
    )
    result: dict[str, Any] = json.loads(
        (home / "runs" / "evaluate_open_loop" / name / "result.json").read_text()
    )
    return result


@pytest.mark.parametrize("name", ["target", "delta"])
def test_the_no_motion_target_is_the_current_joint_state(home: Path, name: str) -> None:
    actions = {"target": "target", "delta": "derived"}[name]
    words = ["data.convention.joint_units=deg", f"data.convention.actions={actions}"]
    result = evaluated(home, name, *words)
    untold = evaluated(home, f"{name}_untold", checkpoint=name)  # as in training, where the data says nothing
    assert untold["recovered"] == result["recovered"]
    held_out = [index for index in range(6) if index not in trained_on(home, name)]
    assert result["episodes"] == len(held_out)
    moved = [np.diff(joint_episode(index)[1], axis=0)[:-2] for index in held_out]  # windows of four frames
    distances = np.linalg.norm(np.concatenate(moved), axis=1)
    hold = result["recovered"]["hold"]["distance"]
    assert hold["median"] == pytest.approx(float(np.median(distances)), rel=1e-4)
    assert result["recovered"]["hold"]["elbow_flex.pos [deg]"]["median"] < MOST[2]
    assert result["camera_rotation"] is None
    page = (home / "runs" / "evaluate_open_loop" / name / "report.html").read_text()
    assert "wrist_roll.pos [deg]" in page
    assert "none of their numbers is a direction in space" in page


def planned(home: Path, capsys: pytest.CaptureFixture[str], name: str, *words: str) -> dict[str, Any]:
    state = [f"{value:.4f}" for value in joint_episode(0)[1][0]]
    capsys.readouterr()
    arguments = ["--image", "now.png", "--goal", "goal.png", "--state", *state, "--device", "cpu", "--json"]
    assert run(home, "plan", "--checkpoint", f"runs/finetune/{name}", *arguments, *words) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def test_planned_targets_do_not_jump(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(home, capsys, "target", "--planner.horizon", "3", "--html", "plan.html")
    assert found["action_type"] == "target"
    assert found["names"] == list(JOINTS)
    assert found["units"] == ["deg"] * 6
    start = joint_episode(0)[1][:1]
    steps = np.abs(np.diff(np.concatenate([start, np.array(found["actions"])]), axis=0))
    limit = model_of(home, "target").action_step
    assert limit is not None
    assert (steps <= limit.numpy() + 1e-3).all()
    assert steps.max() > 0.05
    page = (home / "plan.html").read_text()
    assert "gripper.pos [deg]" in page
    assert "joints are not positions in space" in page


def test_planned_changes_are_within_those_of_the_data(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = planned(home, capsys, "delta", "--planner.horizon", "2")
    assert found["action_type"] == "delta"
    assert (np.abs(found["actions"]) <= MOST + 1e-3).all()


def test_declared_speeds_take_the_place_of_the_datas_largest_step(home: Path) -> None:
    words = ["data.path=arm", "data.convention.joint_speeds=[5,5,5,5,5,20]"]
    assert run(home, *FINETUNE, *words, "data.convention.actions=target", "name=slow") == 0
    limit = model_of(home, "slow").action_step
    assert limit is not None
    assert limit.tolist() == pytest.approx([0.5] * 5 + [2.0])  # ten rows per second
    assert run(home, *FINETUNE, *words, "data.convention.actions=derived", "name=slow_delta") == 0
    model = model_of(home, "slow_delta")
    assert float(model.action_high[0]) == pytest.approx(0.5)
    assert float(model.action_low[5]) == pytest.approx(-2.0)


def test_next_joints_may_be_the_targets(home: Path) -> None:
    words = ["data.path=arm", "data.convention.actions=derived_target", "name=next", "data.fps=5"]
    assert run(home, *FINETUNE, *words) == 0
    model = model_of(home, "next")
    joints = [joint_episode(index)[1] for index in trained_on(home, "next")]
    assert model.action_type == "absolute"
    # Every second row: a target is where the joints are two rows later, and no sum of two.
    assert float(model.action_high[0]) <= max(part[:, 0].max() for part in joints) + 1e-5
    two = max(np.abs(part[2:] - part[:-2])[:, 0].max() for part in joints)
    assert model.action_step is not None
    assert float(model.action_step[0]) == pytest.approx(two, abs=1e-4)


def test_a_converted_copy_keeps_the_joints_and_is_recognised(home: Path) -> None:
    words = ["--convention", "joint_units=deg", "actions=derived"]
    assert run(home, "convert", "arm", "copy", *words) == 0
    declared = json.loads((home / "copy" / "meta" / "vjepa_world.json").read_text())["convention"]
    assert (declared["joints"], declared["actions"]) == (list(range(6)), "derived")
    assert run(home, *OPEN_LOOP, "name=copy", "checkpoint=runs/finetune/delta", "data.path=copy") == 0
    result = json.loads((home / "runs" / "evaluate_open_loop" / "copy" / "result.json").read_text())
    assert result["episodes"] == 6 - len(trained_on(home, "delta"))
    assert result["notes"] == []


def test_other_data_at_the_same_path_is_not_taken_for_the_same(tmp_path: Path) -> None:
    write_joint_dataset(
        tmp_path / "set", episodes=3, convention=Convention(joints="all", actions="delta"), deltas=True
    )
    assert run(tmp_path, *FINETUNE, "data.path=set", "data.convention.actions=delta", "name=x") == 0
    (tmp_path / "set").rename(tmp_path / "moved")
    words = [*OPEN_LOOP, "checkpoint=runs/finetune/x", "data.convention.actions=delta"]
    assert run(tmp_path, *words, "data.path=moved", "name=moved") == 0
    result = json.loads((tmp_path / "runs" / "evaluate_open_loop" / "moved" / "result.json").read_text())
    assert (result["episodes"], result["notes"]) == (1, [])
    write_joint_dataset(tmp_path / "set", episodes=5, deltas=True)  # the first three as before, and two more
    assert run(tmp_path, *words, "data.path=set", "name=again") == 0
    result = json.loads((tmp_path / "runs" / "evaluate_open_loop" / "again" / "result.json").read_text())
    assert result["episodes"] == 3
    assert "2 that the checkpoint does not know" in result["notes"][0]


def test_the_size_of_targets_is_not_penalised(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["name=penalty", "checkpoint=runs/finetune/target", "data.path=arm", "penalties.actions=1"]
    assert run(home, *OPEN_LOOP, *words) == 2
    assert "are targets, whose size is not a motion" in capsys.readouterr().err


def test_without_a_state_rule_only_one_step_is_evaluated(tmp_path: Path) -> None:
    names = ("joint_1", "joint_2", "joint_3")
    spec = DatasetSpec(
        fps=FPS,
        state_names=names,
        action_names=names[:2],
        robot_type="arm",
        cameras={"front": VideoSpec.encoded(SIZE, SIZE, FPS)},
        convention=PLAIN,
    )
    writer = LeRobotWriter(tmp_path / "arm", spec)
    with writer.shard(0) as shard:
        for index in range(6):
            frames, joints, targets = joint_episode(index)
            shard.add_episode(frames, joints[:, :3], targets[:-1, :2], task="reach")
    writer.finalize()
    words = [word for word in FINETUNE if not word.startswith("data.convention")]
    assert run(tmp_path, *words, "name=short", "data.path=arm") == 0
    result = evaluated(tmp_path, "short")
    assert [line["horizon"] for line in result["horizons"]] == [1]
    assert any("predict_state=true" in note for note in result["notes"])

"""A world model that looks at several cameras, from the recording to the closed loop."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import pytest

from envs.arm_env import ArmEnv
from tests.cli.commands import COLLECT, EVALUATE, FINETUNE, run
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.pretrained.loading import load_world_model

CAMERAS = "env.cameras=[main,wrist]"
PLAN = [*EVALUATE, "checkpoint=runs/finetune/both", "env=grasp", "env.max_steps=3", "controls.simulator=1"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that was trained on two cameras."""
    home = tmp_path_factory.mktemp("cameras")
    assert run(home, *COLLECT, "name=both", "env=grasp", CAMERAS, "episodes=4") == 0
    words = [
        "name=both",
        "data.path=runs/collect/both",
        "data.views=all",
        "encoder=untrained",
        "latents.side=2",
    ]
    assert run(home, *FINETUNE, *words, "model.image_size=32", "model.embed_dim=24", "model.depth=1") == 0
    return home


def test_policies_look_at_the_cameras_of_the_training_side_by_side(home: Path) -> None:
    assert load_world_model(home / "runs/finetune/both").views == 2
    assert run(home, *PLAN, CAMERAS, "goals=subgoals", "name=both") == 0
    folder = home / "runs" / "evaluate" / "both"
    result = json.loads((folder / "result.json").read_text())
    assert [*result["controls"]] == [
        "random actions",
        "no motion",
        "inverse model alone",
        "true simulator",
        "scripted expert",
    ]
    [video] = (folder / "videos").iterdir()
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        assert stream.width > 4 * 256  # two pictures of the cameras, two of the goal, the energy


def test_the_same_start_and_goal_for_one_camera(home: Path) -> None:
    words = ["env.max_steps=3", "env.image_size=64", "controls.simulator=1"]
    one = [*EVALUATE, "env=grasp", *words, CAMERAS, "manifest=runs/evaluate/both", "name=one"]
    one.remove("episodes=1")
    assert run(home, *one) == 0  # the shipped model looks at the first camera


def test_cameras_that_are_missing_or_in_another_order(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(home, *PLAN, "name=few") == 2
    message = "the world model looks at 2 cameras side by side, and the environment shows only image. "
    assert message in capsys.readouterr().err
    assert not (home / "runs" / "evaluate" / "few").exists()
    assert run(home, *PLAN, "env.cameras=[wrist,main]", "name=turned") == 0
    assert "trained on the cameras main, wrist, and the environment shows main, main" in caplog.text


def test_a_goal_that_other_cameras_show_is_refused(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = ArmEnv.reset

    def reset(self: ArmEnv, **arguments: Any) -> Any:
        observation, info = drawn(self, **arguments)
        info["goal_image_side"] = info.pop("goal_image_wrist")
        return observation, info

    monkeypatch.setattr(ArmEnv, "reset", reset)
    assert run(home, *PLAN, CAMERAS, "name=other") == 2
    message = (
        "image, image_wrist in observations and image, image_side of the goal; both must be shown by the same"
    )
    assert message in capsys.readouterr().err


def test_crop_and_size_of_each_camera_are_given_by_its_name(home: Path) -> None:
    words = [
        "env.kwargs.crop.main=[0,0,0.5,0.5]",
        "env.kwargs.image_size.main=32",
        "env.kwargs.image_size.wrist=[16,48]",
    ]
    assert run(home, *COLLECT, "name=sizes", "env=grasp", CAMERAS, "episodes=1", *words) == 0
    main, wrist = (
        LeRobotDataset(home / "runs" / "collect" / "sizes").episode(0).frames([0], camera).shape[-2:]
        for camera in ("main", "wrist")
    )
    assert (tuple(main), tuple(wrist)) == ((32, 32), (16, 48))

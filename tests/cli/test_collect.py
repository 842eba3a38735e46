"""`collect` in environments of several kinds, and in ones that fail."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import run
from tests.environments.toys import Point
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.writer import finished_shards
from vjepa_world.data.trajectories.windows import read_episodes

POINT = "env.id=tests.environments.toys:toys/Point-v0"
WORDS = ["collect", "env=gym", POINT, "env.image_size=32", "steps=4"]


def dataset(home: Path, name: str) -> LeRobotDataset:
    return LeRobotDataset(home / "runs" / "collect" / name)


def test_a_recording_can_be_repeated_from_what_it_records(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "episodes=3", "seed=4", "env.kwargs.ends_at=3", "workers=1"]
    assert run(tmp_path, *words, "name=first") == 0
    found = dataset(tmp_path, "first")
    environment = found.about["environment"]
    assert environment["kwargs"] == {"ends_at": 3}
    assert not {"variation", "camera"} & set(environment)  # options of the arm
    assert found.state_names == ("state_0", "state_1") and found.action_names == ("action_0", "action_1")
    assert found.cameras == ("main",) and found.fps == 10
    for number, seed in enumerate(found.about["episode_seeds"]):
        episode = found.episode(number)
        assert (len(episode), episode.seed) == (4, seed)  # the environment ends episodes after 3 actions
        assert episode.task == "move at random"
        moved = np.clip(episode.states[:-1] + episode.actions, -1, 1)
        np.testing.assert_allclose(episode.states[1:], moved, atol=1e-6)
        np.testing.assert_array_equal(episode.columns["contact"].reshape(-1), episode.states[:, 0] > 0)
    share = np.mean([found.episode(n).states[:, 0] > 0 for n in range(3)])
    result = json.loads((found.path / "result.json").read_text())
    assert result["labels"] == {"contact": pytest.approx(share)} and result["frames"] == 12
    assert f"frames with contact {100 * share:.0f} %" in capsys.readouterr().out
    assert run(tmp_path, *words[:-1], "workers=2", "name=second") == 0
    np.testing.assert_array_equal(dataset(tmp_path, "second").episode(2).actions, found.episode(2).actions)


def test_choices_are_stored_as_an_index_and_read_as_one_hot(tmp_path: Path) -> None:
    words = [
        *WORDS,
        "episodes=2",
        "workers=1",
        "env.kwargs.choices=true",
        "env.kwargs.keys=[image]",
        "name=a",
    ]
    assert run(tmp_path, *words) == 0
    found = dataset(tmp_path, "a")
    assert found.meta.features["action"]["dtype"] == "int64"
    assert "observation.state" not in found.meta.features
    assert found.convention.choices == 5
    episode = found.episode(0)
    assert episode.states.shape == (5, 0) and episode.actions.shape == (4, 1)
    [numbers, _], bad = read_episodes(found, max_bad_fraction=0.0)
    assert not len(bad)
    np.testing.assert_array_equal(
        numbers.actions, np.eye(5, dtype=np.float32)[episode.actions[:, 0].astype(int)]
    )


def test_a_users_behaviour_and_several_cameras(tmp_path: Path) -> None:
    words = ["episodes=1", "behaviour=tests.environments.toys:diagonal", "env.cameras=[wrist]", "name=a"]
    assert run(tmp_path, *WORDS, *words, "env.kwargs.keys=[image,wrist,state]") == 0
    found = dataset(tmp_path, "a")
    assert found.cameras == ("main", "wrist")
    np.testing.assert_allclose(found.episode(0).actions, 0.1)
    assert found.episode(0).task == "tests.environments.toys:diagonal"


def test_an_episodes_task_is_what_its_behaviour_does(tmp_path: Path) -> None:
    words = ["collect", "env=push", "env.image_size=32", "episodes=4", "steps=2", "workers=1", "name=a"]
    assert run(tmp_path, *words, "behaviours.poke=1", "behaviours.wander=1") == 0
    found = dataset(tmp_path, "a")
    environment = found.about["environment"]
    assert (environment["variation"], environment["camera"]) == ("train", "jittered")
    tasks = {found.episode(number).task for number in range(4)}
    assert tasks == {
        "move at random through the whole workspace",
        "run against the object with closed fingers",
    }


def test_what_was_recorded_before_a_failure_is_kept_and_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Episodes that begin on the right fail at step 3, until the environment is repaired."""
    words = [*WORDS, "episodes=30", "workers=2", "seed=1", "name=a"]
    broken = tmp_path / "broken.py"
    text = """
from tests.environments.toys import Point
import gymnasium
class Late(Point):
    def __init__(self, **options):
        super().__init__(fails_at=FAILS_AT, failure="nan", **options)
    def reset(self, **options):
        found = super().reset(**options)
        self.starts_right = self.position[0] > 0.5
        return found
gymnasium.register("Late-v0", entry_point=Late)
"""
    late = [word if word != POINT else "env.id=broken:Late-v0" for word in words]
    broken.write_text(text.replace("FAILS_AT", "3"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        assert run(tmp_path, *late) == 2
        error = capsys.readouterr().err
        assert "episode " in error and "at step 3" in error and "resume=true" in error
        recorded = finished_shards(tmp_path / "runs" / "collect" / "a")
        assert recorded and not (tmp_path / "runs" / "collect" / "a" / "meta" / "info.json").exists()
        broken.write_text(text.replace("FAILS_AT", "0"))
        assert run(tmp_path, *late, "resume=true") == 0
    assert run(tmp_path, *words, "name=whole") == 0
    continued, whole = dataset(tmp_path, "a"), dataset(tmp_path, "whole")
    assert continued.num_episodes == whole.num_episodes == 30
    for number in range(30):
        np.testing.assert_array_equal(continued.episode(number).states, whole.episode(number).states)
    assert continued.about["episode_seeds"] == whole.about["episode_seeds"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env.id=tests.environments.toys:toys/Blind-v0"], "has no image"),
        ([POINT, "behaviours.wander=1"], "behaviours.wander is one of the arm's"),
        ([POINT, "env.goal=tests.environments.toys:fixed_goal"], "collect, which records without goals"),
        ([POINT, "env.image_size=33"], "Images of 33 x 33 cannot be recorded. Expected even"),
    ],
)
def test_bad_input_leaves_no_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(tmp_path, "collect", "env=gym", "episodes=1", "steps=2", *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_message_of_a_failed_environment_ends_before_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, *WORDS, "episodes=8", "workers=1", "env.kwargs.fails_at=3", "name=hot") == 2
    error = " ".join(capsys.readouterr().err.split())
    assert "RuntimeError at toys.py:" in error and "the motor is hot. The " in error


def test_an_environment_that_ignores_its_seed_is_recorded_with_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tmp_path, *WORDS, "episodes=1", "workers=1", "name=seeded") == 0
    assert "same seed" not in caplog.text
    drawn = Point.reset
    monkeypatch.setattr(Point, "reset", lambda self, seed=None, options=None: drawn(self, options=options))
    assert run(tmp_path, *WORDS, "episodes=1", "workers=1", "name=unseeded") == 0
    assert "toys/Point-v0 starts differently when it is reset with the same seed again" in caplog.text


def test_ctrl_c_says_what_is_kept_and_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The recording process interrupts the command in the second shard, of episodes 25 to 29."""
    code = """
import multiprocessing, os, signal, time
import gymnasium
from tests.environments.toys import Point
class Interrupting(Point):
    steps_done = 0
    def step(self, action):
        Interrupting.steps_done += 1
        if Interrupting.steps_done == 4 * 27 and not os.path.exists("calm"):
            assert multiprocessing.parent_process() is not None
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(20)
        return super().step(action)
gymnasium.register("Interrupting-v0", entry_point=Interrupting)
"""
    (tmp_path / "interrupting.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = [word if word != POINT else "env.id=interrupting:Interrupting-v0" for word in WORDS]
    words += ["episodes=30", "workers=1", "name=my run"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(tmp_path, *words) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "kept 25 of 30 episodes; continue with 'name=my run' resume=true" in caplog.text
    assert "(the run is in runs/collect/my run)" in caplog.text
    (tmp_path / "calm").touch()
    assert run(tmp_path, *words, "resume=true") == 0
    assert dataset(tmp_path, "my run").num_episodes == 30

"""Jobs and sweeps through Hydra's launchers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.corpora import SMALL, write_corpus
from tests.training.processes import start, wait, wait_for_success
from tests.training.tiny import metrics
from vjepa_world.cli.pretrain import Config
from vjepa_world.config import from_yaml
from vjepa_world.runs import CONFIG_FILE

WORDS = [
    "-m",
    "vjepa_world.launch",
    "pretrain",
    "-m",
    *(word for word in SMALL if not word.startswith("data.")),
    "+data.sources.toys.path=videos",
    "trainer.steps=2",
    "trainer.batch_size=4",
]


def runs(home: Path) -> list[Path]:
    return sorted((home / "runs" / "pretrain").iterdir())


def test_a_sweep_runs_each_combination_under_a_name_of_its_own(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    wait_for_success(start([*WORDS, "objective=vjepa2,mae", "trainer.lr=1e-3"], tmp_path))
    kinds = []
    for run in runs(tmp_path):
        assert [line["step"] for line in metrics(run)] == [0, 1]
        config = from_yaml((run / CONFIG_FILE).read_text(), Config)
        assert config.trainer.lr == 1e-3
        kinds.append(config.objective.kind)
    assert kinds == ["jepa", "pixels"]


def test_a_failing_job_reports_the_message_of_the_command_line(tmp_path: Path) -> None:
    [finished] = wait(start([*WORDS, "objective=mae", "objective.ema=[0.9,0.9]"], tmp_path))
    assert finished.code != 0
    assert "'objective.ema' is given, and objective.kind=pixels does not use it" in finished.error


def test_only_commands_with_keys_are_launched(tmp_path: Path) -> None:
    [finished] = wait(start(["-m", "vjepa_world.launch", "pretrian"], tmp_path))
    assert finished.code != 0
    assert "did you mean 'pretrain'?" in finished.error


@pytest.mark.parametrize("name", ["epoch=3", "clip[1]", "küche, {#} ${oc.env:HOME} 'x'"])
def test_arguments_are_parsed_as_on_the_command_line(tmp_path: Path, name: str) -> None:
    write_corpus(tmp_path)
    (tmp_path / "videos").rename(tmp_path / name)
    words = ["-m", "vjepa_world.launch", "pretrain", f"data.path={tmp_path / name}", "name=x"]
    small = [word for word in SMALL if not word.startswith("data.path")]
    wait_for_success(start([*words, *small, "trainer.steps=1", "trainer.batch_size=4"], tmp_path))
    [run] = runs(tmp_path)
    assert run.name == "x"
    assert from_yaml((run / CONFIG_FILE).read_text(), Config).data.path == str(tmp_path / name)


def test_jobs_of_one_name_get_folders_of_their_own(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    wait_for_success(start([*WORDS, "trainer.lr=1e-3,1e-4", "name=x"], tmp_path))
    assert [run.name for run in runs(tmp_path)] == ["x_0", "x_1"]
    single = [word for index, word in enumerate(WORDS) if index != 3]
    for expected in (["x", "x_0", "x_1"], ["x", "x_0", "x_1", "x_2"]):
        wait_for_success(start([*single, "name=x"], tmp_path))
        assert [run.name for run in runs(tmp_path)] == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.stepz=1"], "unknown key 'trainer.stepz'; did you mean 'trainer.steps'?"),
        (["-m", "objective=vjepa2,mea"], "unknown objective 'mea'; did you mean 'mae'?"),
        (["trainer.steps=1,2"], "Ambiguous value"),
        (["hydra.launcher.no=1"], "hydra.launcher"),
        (["data.path=nowhere"], "No such file or folder: nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, words: list[str], message: str) -> None:
    [finished] = wait(start(["-m", "vjepa_world.launch", "pretrain", *words], tmp_path))
    assert finished.code == 2
    assert message in finished.error
    assert "Traceback" not in finished.error


def test_a_slurm_job_of_two_tasks_trains_as_one_and_resumes_when_requeued(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    write_corpus(tmp_path)
    local = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2", "name=two"]
    wait_for_success(start([*WORDS, *local], tmp_path))
    [run] = runs(tmp_path)
    assert [line["step"] for line in metrics(run)] == [0, 1]
    wait_for_success(start([*WORDS, *local, "trainer.steps=4"], tmp_path, SLURM_RESTART_COUNT="1"))
    assert [line["step"] for line in metrics(run)] == [0, 1, 2, 3]

"""Jobs and sweeps through Hydra's launchers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.corpora import SMALL, write_corpus
from tests.training.processes import begin, end, succeed
from tests.training.tiny import metrics
from vjepa_world.config import from_yaml
from vjepa_world.runs import CONFIG_FILE
from vjepa_world.verbs.pretrain import Config

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
    succeed(begin([*WORDS, "objective=vjepa2,mae", "trainer.lr=1e-3"], tmp_path))
    kinds = []
    for run in runs(tmp_path):
        assert [line["step"] for line in metrics(run)] == [0, 1]
        config = from_yaml((run / CONFIG_FILE).read_text(), Config)
        assert config.trainer.lr == 1e-3
        kinds.append(config.objective.kind)
    assert kinds == ["jepa", "pixels"]


def test_a_job_that_fails_says_what_the_command_line_would(tmp_path: Path) -> None:
    [ended] = end(begin([*WORDS, "objective=mae", "objective.ema=[0.9,0.9]"], tmp_path))
    assert ended.code != 0
    assert "objective.ema says nothing to objective.kind=pixels" in ended.error


def test_only_verbs_with_keys_are_launched(tmp_path: Path) -> None:
    [ended] = end(begin(["-m", "vjepa_world.launch", "pretrian"], tmp_path))
    assert ended.code != 0
    assert "did you mean 'pretrain'?" in ended.error


def test_a_job_of_two_tasks_trains_as_one_and_goes_on_when_slurm_begins_it_again(tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    write_corpus(tmp_path)
    local = ["hydra/launcher=submitit_local", "hydra.launcher.tasks_per_node=2", "name=two"]
    succeed(begin([*WORDS, *local], tmp_path))
    [run] = runs(tmp_path)
    assert [line["step"] for line in metrics(run)] == [0, 1]
    succeed(begin([*WORDS, *local, "trainer.steps=4"], tmp_path, SLURM_RESTART_COUNT="1"))
    assert [line["step"] for line in metrics(run)] == [0, 1, 2, 3]

"""Run folders are never overwritten by accident, and files are whole or absent."""

from __future__ import annotations

import errno
import json
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from vjepa_world.config import from_yaml
from vjepa_world.errors import ConfigError
from vjepa_world.runs import RunError, read_metrics, run_folder, write_json_atomic, write_text_atomic


@dataclass(frozen=True)
class Config:
    """A configuration of the tests."""

    name: str = ""
    steps: int = 10
    resume: bool = False


def test_a_new_run_gets_its_folder_and_config(tmp_path: Path) -> None:
    config = Config(name="first")
    folder = run_folder("pretrain", "first", False, tmp_path, config)
    assert folder == tmp_path / "pretrain" / "first"
    assert from_yaml((folder / "config.yaml").read_text(), Config) == config


def test_a_run_without_a_name_is_named_by_the_time(tmp_path: Path) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", run_folder("pretrain", "", False, tmp_path).name)


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    folder = run_folder("pretrain", "first", False, tmp_path, Config(steps=1))
    with pytest.raises(
        RunError, match="exists already: give another name=, resume=true to go on with it, or remove it"
    ):
        run_folder("pretrain", "first", False, tmp_path, Config(steps=2))
    assert from_yaml((folder / "config.yaml").read_text(), Config).steps == 1


def test_resume_goes_on_and_says_what_changed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vjepa_world")
    folder = run_folder("pretrain", "first", False, tmp_path, Config(steps=1))
    assert run_folder("pretrain", "first", True, tmp_path, Config(steps=2, resume=True)) == folder
    assert caplog.messages == ["resume: steps was 1, is now 2"]


def test_resume_of_a_missing_run_names_those_that_exist(tmp_path: Path) -> None:
    run_folder("pretrain", "first", False, tmp_path)
    with pytest.raises(
        RunError, match=r"there is no run .*frist; runs in .*: did you mean 'first'\? Allowed: first\."
    ):
        run_folder("pretrain", "frist", True, tmp_path)
    with pytest.raises(RunError, match="resume=true needs name=NAME"):
        run_folder("pretrain", "", True, tmp_path)
    with pytest.raises(RunError, match="holds no runs"):
        run_folder("finetune", "first", True, tmp_path)
    assert not (tmp_path / "finetune").exists()


@pytest.mark.parametrize("name", ["a/b", "..", "../a", "/tmp"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected one folder's name"):
        run_folder("pretrain", name, False, tmp_path)


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "old")
    write_text_atomic(tmp_path / "a.txt", "new ü")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new ü"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"rate": 1.0})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json_atomic(tmp_path / "a.json", {"rate": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(tmp_path / "a.json", "\ud800")
    assert json.loads((tmp_path / "a.json").read_text()) == {"rate": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_error_of_the_disk_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.mkdir()
    with pytest.raises(OSError, match="a.json") as caught:
        write_text_atomic(target, "text")
    assert caught.value.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_dataclass_is_written_as_an_object(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", Config(steps=3))
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": "", "steps": 3, "resume": False}


def test_metrics_are_read_by_rising_step_without_what_a_kill_left(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    lines = ['{"step": 0, "loss": 3.0}', '{"step": 10, "loss": 2.0}', '{"step": 20, "loss": 1.0}']
    again = ['{"step": 10, "loss": 2.5}', '{"step": 30, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, *again]))
    assert read_metrics(tmp_path) == [
        {"step": 0, "loss": 3.0},
        {"step": 10, "loss": 2.5},
        {"step": 20, "loss": 1.0},
    ]

"""Run folders are never overwritten by accident, and files are written atomically."""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from vjepa_world import runs
from vjepa_world.config import from_yaml
from vjepa_world.errors import ConfigError
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.files.folder_lock import FolderInUseError
from vjepa_world.runs import RunError, open_run, read_metrics


@dataclass(frozen=True)
class Data:
    """Data of the tests."""

    path: str = "a"


@dataclass(frozen=True)
class Config:
    """A configuration of the tests."""

    name: str = ""
    steps: int = 10
    resume: bool = False
    data: Data = field(default_factory=Data)


def made(root: Path, config: Config | None = None, **words: Any) -> Path:
    """Return a run's folder, made or found again and let go of."""
    with open_run("pretrain", config or Config(name="first"), root=root, **words) as folder:
        return folder


def test_a_new_run_gets_its_folder_and_config(tmp_path: Path) -> None:
    config = Config(name="first")
    with open_run("pretrain", config, root=tmp_path) as folder:
        assert folder == tmp_path / "pretrain" / "first"
        assert from_yaml((folder / "config.yaml").read_text(), Config) == config
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


def test_a_run_without_a_name_is_named_by_the_time(tmp_path: Path) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d", made(tmp_path, Config()).name)


def test_an_existing_run_is_not_overwritten(tmp_path: Path) -> None:
    folder = made(tmp_path, Config(name="first", steps=1))
    with pytest.raises(
        RunError, match="exists already: give another name=, resume=true to continue it, or remove it"
    ):
        made(tmp_path, Config(name="first", steps=2))
    assert from_yaml((folder / "config.yaml").read_text(), Config).steps == 1


def test_resume_continues_and_reports_changed_settings(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="vjepa_world")
    folder = made(tmp_path, Config(name="first", steps=1))
    assert made(tmp_path, Config(name="first", steps=2, resume=True), may_change=["steps"]) == folder
    assert caplog.messages == ["resume: steps was 1, is now 2"]
    assert from_yaml((folder / "config.yaml").read_text(), Config).steps == 2


def test_a_resumed_run_refuses_other_settings_and_names_them(tmp_path: Path) -> None:
    folder = made(tmp_path, Config(name="first"))
    (folder / "result.json").write_text("old")
    other = Config(name="first", data=Data(path="b"), resume=True)
    for allowed in ([], ["steps", "data"], ["data.paths"]):
        with pytest.raises(
            RunError, match=r"started with other settings: data\.path was a, is now b\. Resume"
        ):
            made(tmp_path, other, may_change=allowed, outputs=["result.json"])
    assert from_yaml((folder / "config.yaml").read_text(), Config) == Config(name="first")
    assert (folder / "result.json").read_text() == "old"
    assert made(tmp_path, other, may_change=["data."]) == folder


def test_settings_that_an_older_release_did_not_know_count_as_their_defaults(tmp_path: Path) -> None:
    folder = made(tmp_path, Config(name="first"))
    (folder / "config.yaml").write_text("name: first\nsteps: 10\n")
    assert made(tmp_path, Config(name="first", resume=True), may_change=[]) == folder
    (folder / "config.yaml").write_text("name: first\n")
    with pytest.raises(RunError, match="steps was 10, is now 3"):
        made(tmp_path, Config(name="first", steps=3, resume=True), may_change=[])


def test_a_renamed_run_resumes_under_its_new_name(tmp_path: Path) -> None:
    folder = made(tmp_path, Config(name="first")).rename(tmp_path / "pretrain" / "second")
    assert made(tmp_path, Config(name="second", resume=True), may_change=[]) == folder


def test_old_results_are_removed_before_new_settings_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = made(tmp_path, Config(name="first"))
    (folder / "videos").mkdir()
    (folder / "videos" / "000.mp4").touch()
    (folder / "result.json").touch()
    monkeypatch.setattr(runs, "write_text_atomic", lambda *words: pytest.exit("killed"))
    with pytest.raises(pytest.exit.Exception, match="killed"):
        made(tmp_path, Config(name="first", steps=2, resume=True), outputs=["result.json", "videos"])
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]
    assert from_yaml((folder / "config.yaml").read_text(), Config).steps == 10


def test_a_broken_config_is_reported(tmp_path: Path) -> None:
    folder = made(tmp_path)
    for content in (b"a: [", b"- 1", b"\xff"):
        (folder / "config.yaml").write_bytes(content)
        with pytest.raises(RunError, match="Give another name=, or remove the run"):
            made(tmp_path, Config(name="first", resume=True))


def test_resume_of_a_missing_run_names_those_that_exist(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(
        RunError, match=r"there is no run .*frist; runs in .*: did you mean 'first'\? Allowed: first\."
    ):
        made(tmp_path, Config(name="frist", resume=True))
    with pytest.raises(RunError, match="resume=true needs name=NAME"):
        made(tmp_path, Config(resume=True))
    with (
        pytest.raises(RunError, match="holds no runs"),
        open_run("finetune", Config(name="a", resume=True), root=tmp_path),
    ):
        pass
    assert not (tmp_path / "finetune").exists()


@pytest.mark.parametrize("name", ["a/b", "..", "../a", "/tmp", "a\nb", "a\0b", "a\udcff", "back\\slash"])
def test_a_run_name_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected one folder's name"):
        made(tmp_path, Config(name=name))


def test_a_name_is_as_long_as_a_file_system_takes(tmp_path: Path) -> None:
    assert made(tmp_path, Config(name="x" * 255)).is_dir()
    for name in ("x" * 256, "ü" * 128):
        with pytest.raises(ConfigError, match="name has 256 bytes, allowed are 255"):
            made(tmp_path, Config(name=name))


def test_a_run_can_be_open_only_once(tmp_path: Path) -> None:
    with open_run("pretrain", Config(name="first"), root=tmp_path) as folder:
        with pytest.raises(
            FolderInUseError, match=rf"{folder} is in use by process {os.getpid()} on .*, since \d"
        ):
            made(tmp_path, Config(name="first", steps=2, resume=True))
        with pytest.raises(RunError, match="exists already"):
            made(tmp_path, Config(name="first"))
        assert from_yaml((folder / "config.yaml").read_text(), Config).steps == 10
    assert made(tmp_path, Config(name="first", steps=2, resume=True)) == folder


def test_a_dataclass_is_written_as_an_object(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", Config(steps=3))
    assert json.loads((tmp_path / "a.json").read_text()) == {
        "name": "",
        "steps": 3,
        "resume": False,
        "data": {"path": "a"},
    }


def test_metrics_are_read_by_rising_step_without_duplicates_of_a_killed_run(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    lines = ['{"step": 0, "loss": 3.0}', '{"step": 10, "loss": 2.0}', '{"step": 20, "loss": 1.0}']
    again = ['{"step": 10, "loss": 2.5}', '{"step": 30, "lo']
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, *again]))
    assert read_metrics(tmp_path) == [
        {"step": 0, "loss": 3.0},
        {"step": 10, "loss": 2.5},
        {"step": 20, "loss": 1.0},
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"[1]",
        b"5",
        b"null",
        b"{",
        b'{"loss": 1}',
        b'{"step": "x"}',
        b'{"step": Infinity}',
        b'{"step": NaN}',
        b'{"step": -1}',
        b'{"step": 1.5}',
        b'{"step": true}',
        b'{"step": 1e300}',
        b'{"step": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_invalid_lines_of_metrics_are_left_out(tmp_path: Path, line: bytes) -> None:
    good = json.dumps({"step": 3, "loss": 0.5}).encode()
    (tmp_path / "metrics.jsonl").write_bytes(b"\n".join([line, good, line]) + b"\n")
    assert read_metrics(tmp_path) == [{"step": 3, "loss": 0.5}]


def test_values_that_are_not_finite_numbers_are_left_out_of_metrics(tmp_path: Path) -> None:
    line = '{"step": 3, "a": "x", "b": NaN, "c": [1], "d": null, "e": true, "f": 2, "g": -Infinity}'
    (tmp_path / "metrics.jsonl").write_text(line)
    assert read_metrics(tmp_path) == [{"step": 3, "f": 2}]

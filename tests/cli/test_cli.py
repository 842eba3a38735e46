"""The command line: instant help, exit codes, and one line that says what to do."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from envs.errors import EnvError
from planners.errors import PlannerError
from tests.paths import REPO
from vjepa_world import __version__
from vjepa_world.cli import main as cli
from vjepa_world.cli.shared.commands import Command, command_module, config_of, file_name
from vjepa_world.config.schema import keys_of
from vjepa_world.errors import ConfigError, DataError

JOBS = [name for name, command in cli.COMMANDS.items() if command.kind == "job"]
FILES = [name for name, command in cli.COMMANDS.items() if command.kind == "file"]


def run(
    *words: str, cwd: Path, program: tuple[str, ...] = ("-m", "vjepa_world")
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    return subprocess.run(
        [sys.executable, *program, *words],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_is_instant_and_lists_every_command(tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        done = run("--help", cwd=tmp_path)
        seconds.append(time.perf_counter() - start)
    assert done.returncode == 0
    for name, command in cli.COMMANDS.items():
        assert name in done.stdout
        assert command.description in done.stdout
    assert min(seconds) < 1.0


def test_help_loads_no_slow_library(tmp_path: Path) -> None:
    code = "import sys; from vjepa_world.cli.main import main; main(sys.argv[1:]); print(sys.modules.keys())"
    for words in (["--help"], ["plan", "--help"], ["pretrain", "--help-all"], ["completion", "bash"]):
        loaded = run("-c", code, *words, cwd=tmp_path, program=()).stdout
        assert "'vjepa_world.cli.main'" in loaded
        assert not [name for name in ("torch", "hydra", "pydantic", "omegaconf") if f"'{name}'" in loaded]


def test_no_arguments_show_the_help(tmp_path: Path) -> None:
    assert run(cwd=tmp_path).stdout == run("--help", cwd=tmp_path).stdout


def test_version(tmp_path: Path) -> None:
    assert run("--version", cwd=tmp_path).stdout == f"vjepa-world {__version__}\n"


def test_an_unknown_command_names_the_nearest(tmp_path: Path) -> None:
    done = run("pretrian", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(
        "vjepa-world: error: unknown command 'pretrian'; did you mean 'pretrain'? Allowed: "
    )


@pytest.mark.parametrize("command", JOBS)
def test_an_unknown_key_fails_and_names_the_nearest(command: str, tmp_path: Path) -> None:
    done = run(command, "sede=1", cwd=tmp_path)
    assert done.returncode == 2
    assert f"vjepa-world {command}: error: unknown key 'sede'; did you mean 'seed'? Allowed: " in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", JOBS)
def test_a_job_accepts_the_common_keys(command: str, tmp_path: Path) -> None:
    done = run(command, "--help-all", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    keys = {
        line.split()[0] for line in done.stdout.split("Keys (key=value):")[1].splitlines() if line.strip()
    }
    assert {"seed", "name"} <= keys
    if command in ("pretrain", "finetune"):
        trainer = {f"trainer.{key}" for key in ("steps", "batch_size", "precision", "checkpoint_every", "lr")}
        assert {"data.path", "resume", "device", *trainer} <= keys


@pytest.mark.parametrize("command", FILES)
def test_a_file_command_has_ordinary_help_and_refuses_unknown_options(command: str, tmp_path: Path) -> None:
    assert f"usage: vjepa-world {command}" in run(command, "--help", cwd=tmp_path).stdout
    done = run(command, "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert f"vjepa-world {command}: error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_of_a_group_names_the_nearest(tmp_path: Path) -> None:
    done = run("pretrain", "model=vit_nanoo", "data.path=.", cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown model 'vit_nanoo'; did you mean 'vit_nano'? Allowed: " in done.stderr


def test_a_value_of_the_wrong_type_names_the_key(tmp_path: Path) -> None:
    done = run("pretrain", "trainer.steps=abc", "data.path=.", cwd=tmp_path)
    assert done.returncode == 2
    assert "'trainer.steps' got 'abc', expected a whole number" in done.stderr


def test_a_missing_key_is_reported(tmp_path: Path) -> None:
    done = run("pretrain", cwd=tmp_path)
    assert done.returncode == 2
    assert "'data.path' is not given and has no default: give data.path=" in done.stderr


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_a_script_is_its_command(command: str, tmp_path: Path) -> None:
    script = run("--help", cwd=tmp_path, program=(str(REPO / "scripts" / f"{file_name(command)}.py"),))
    assert script.returncode == 0, script.stderr
    assert script.stdout == run(command, "--help", cwd=tmp_path).stdout


def test_the_first_positional_argument_is_the_name_of_a_benchmark() -> None:
    config = config_of("bench", ["env", "repeats=3"])
    assert (config.bench, config.repeats) == ("env", 3)
    assert config_of("bench", ["repeats=3"]).bench == ""
    with pytest.raises(ConfigError, match="got 'env', expected key=value"):
        config_of("pretrain", ["data.path=x", "env"])


def test_benchmarks_are_listed_and_an_unknown_one_names_the_nearest(tmp_path: Path) -> None:
    assert "machine" in run("bench", cwd=tmp_path).stdout
    done = run("bench", "machin", cwd=tmp_path)
    assert done.returncode == 2
    assert "unknown bench 'machin'; did you mean 'machine'?" in done.stderr


# How errors become exit codes, with a test command in place of a real one.


@dataclass(frozen=True)
class Config:
    """No keys."""


def job_that(action: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("vjepa_world.cli.trial")
    module.Config = Config  # type: ignore[attr-defined]
    module.run = lambda config: action()  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.COMMANDS, "trial", Command("a trial", "job", ""))


def raising(error: BaseException) -> Callable[[], None]:
    def action() -> None:
        raise error

    return action


def write_to_a_full_disk() -> None:
    with open("/dev/full", "w") as stream:
        stream.write("more than fits")


def test_a_successful_job_exits_with_code_0(monkeypatch: pytest.MonkeyPatch) -> None:
    job_that(lambda: None, monkeypatch)
    assert cli.main(["trial"]) == 0


@pytest.mark.parametrize(
    "error", [DataError("no video in x"), PlannerError("all NaN"), EnvError("no camera")]
)
def test_user_errors_are_one_line_and_exit_code_2(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_that(raising(error), monkeypatch)
    assert cli.main(["trial"]) == 2
    assert capsys.readouterr().err == f"vjepa-world trial: error: {error}\n"


def test_ctrl_c_is_one_line_and_exit_code_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_that(raising(KeyboardInterrupt()), monkeypatch)
    assert cli.main(["trial"]) == 130
    assert capsys.readouterr().err == "vjepa-world trial: interrupted\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_reported_plainly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_that(write_to_a_full_disk, monkeypatch)
    assert cli.main(["trial"]) == 2
    assert "vjepa-world trial: error: disk full while writing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error", [RuntimeError("a bug"), FileNotFoundError(2, "gone", "x"), BrokenPipeError(32, "gone")]
)
def test_a_bug_keeps_its_traceback(
    error: Exception, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    job_that(raising(error), monkeypatch)
    with pytest.raises(type(error)):
        cli.main(["trial"])


@pytest.mark.parametrize("words", ["--help", "bench --help"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_closed_pipe_is_not_an_error(words: str, unbuffered: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONUNBUFFERED": unbuffered}
    reader, writer = os.pipe()
    os.close(reader)  # it has left before anything is written
    try:
        done = subprocess.run(
            [sys.executable, "-m", "vjepa_world", *words.split()],
            cwd=tmp_path,
            env=environment,
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_the_keys_of_the_short_help_and_of_positional_arguments_exist(command: str) -> None:
    about, schema = cli.COMMANDS[command], command_module(command).Config
    keys = list(keys_of(schema, ""))
    for name in (*about.common, *about.positional):
        assert any(key == name or key.startswith(f"{name}.") for key in keys), name


def test_arguments_with_a_nul_character_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "a\0b"]) == 2
    assert "a word has a NUL character" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["inspect", "--no-such-option"], ["plan"]])
def test_main_returns_the_exit_code_of_a_wrong_argument(words: list[str]) -> None:
    assert cli.main(words) == 2


def test_main_returns_0_for_the_help_of_a_file_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["inspect", "--help"]) == 0
    assert "usage: vjepa-world inspect" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError("Unable to allocate 74.5 GiB"), r"out of memory \(Unable to allocate 74.5 GiB\)"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory."), "out of memory"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300),
            "cannot use x{100}...: File name too long",
        ),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "a/b"), "cannot use a/b: Not a directory"),
    ],
)
def test_errors_of_the_system_or_a_path_are_one_line(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job_that(raising(error), monkeypatch)
    assert cli.main(["trial"]) == 2
    assert re.search(message, capsys.readouterr().err)


CLOSED = [">&-", "2>&-", "<&-", ">&- 2>&-", ">&- 2>&- <&-"]


@pytest.mark.parametrize("streams", CLOSED)
@pytest.mark.parametrize("words", ["--help", "bench", "pretrian", "inspect --help"])
def test_closed_streams_end_cleanly(words: str, streams: str, tmp_path: Path) -> None:
    expected = 2 if words == "pretrian" else 0
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m vjepa_world {words} {streams}"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == expected
    assert "Traceback" not in done.stdout + done.stderr
    assert "ignored" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_standard_output_is_reported_plainly(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m vjepa_world --help > /dev/full"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("vjepa-world --help: error: disk full while writing a file: ")
    assert len(done.stderr.splitlines()) == 1


def test_closed_pipes_of_both_streams_are_not_an_error(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    reader, writer = os.pipe()
    os.close(reader)
    try:
        code = [
            subprocess.run(
                [sys.executable, "-m", "vjepa_world", *words],
                cwd=tmp_path,
                env=environment,
                stdout=writer,
                stderr=writer,
            ).returncode
            for words in (["--help"], ["pretrian"], ["bench"])
        ]
    finally:
        os.close(writer)
    assert code == [141, 2, 141]


def test_characters_that_a_stream_cannot_encode_are_escaped(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    code = "import sys, vjepa_world.system.streams as s; s.open_standard_streams(); print('k\\u00fcche', '\\udcff')"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.stdout == "k\\xfcche \\udcff\n", done.stderr


def test_a_command_runs_in_another_thread(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(cli.main(["bench", "machin"])))
    thread.start()
    thread.join()
    assert codes == [2]

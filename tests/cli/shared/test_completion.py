"""Shell completion: what is offered at each position, also by bash itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import REPO
from vjepa_world.cli.main import COMMANDS, main
from vjepa_world.cli.shared.completion import SCRIPTS, candidates


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "one two.mp4").touch()
    (tmp_path / "clip.mp4").touch()
    (tmp_path / ".hidden").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vjepa-world pre", ["pretrain ", "predict "]),
        ("vjepa-world evaluate-", ["evaluate-encoder ", "evaluate-open-loop "]),
        ("vjepa-world completion ", ["bash ", "zsh ", "fish "]),
        ("vjepa-world nothing x", []),
        ("vjepa-world pretrain res", ["resume="]),
        ("vjepa-world pretrain resume=", ["resume=false ", "resume=true "]),
        ("vjepa-world pretrain name=x trainer.batch_", ["trainer.batch_size="]),
        ("vjepa-world pretrain model=vit_gi", ["model=vit_giant ", "model=vit_gigantic "]),
        ("vjepa-world plan --inference.precision=f", ["--inference.precision=float32 "]),
        ("vjepa-world plan --planner i", ["icem "]),
        ("vjepa-world evaluate planner=m", ["planner=mppi "]),
        ("vjepa-world evaluate planner.kind=m", ["planner.kind=mppi "]),
        ("vjepa-world pretrain data.path=cl", ["data.path=clip.mp4 ", "data.path=clips/"]),
        ("vjepa-world pretrain --trainer.st", ["--trainer.steps"]),
        ("vjepa-world pretrain --init cl", ["clip.mp4 ", "clips/"]),
        ("vjepa-world pretrain --config cl", ["clip.mp4 ", "clips/"]),
        ("vjepa-world pretrain --print", ["--print-config "]),
        ("vjepa-world inspect cl", ["clip.mp4 ", "clips/"]),
        ("vjepa-world convert a b --to ", ["huggingface ", "meta ", "native "]),
        ("vjepa-world convert a b --to=me", ["--to=meta "]),
    ],
)  # fmt: skip
def test_allowed_values_are_completed(line: str, expected: list[str]) -> None:
    assert sorted(candidates(line)) == sorted(expected)


def test_the_first_word_is_a_command_and_the_next_a_key_a_section_or_a_group() -> None:
    assert {f"{command} " for command in COMMANDS} <= set(candidates("vjepa-world "))
    assert {"name=", "seed=", "data.", "trainer.", "model=", "model.", "recipe="} <= set(
        candidates("vjepa-world pretrain ")
    )
    assert ".hidden " not in candidates("vjepa-world inspect ")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_completions(command: str) -> None:
    assert candidates(f"vjepa-world {command} ")


def test_a_script_is_printed_for_each_shell(capsys: pytest.CaptureFixture[str]) -> None:
    for shell in SCRIPTS:
        assert main(["completion", shell]) == 0
        assert "vjepa-world completion --line" in capsys.readouterr().out
    assert main(["completion", "bsh"]) == 2
    assert "got 'bsh', expected the name of a shell; did you mean 'bash'?" in capsys.readouterr().err


BASH = """
set -e
vjepa-world() { "$PYTHON" -m vjepa_world "$@"; }
eval "$(vjepa-world completion bash)"
complete -p vjepa-world
COMP_LINE="$1"; COMP_POINT=${#1}
_vjepa_world
printf '%s|' "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("vjepa-world eval", "evaluate |evaluate-encoder |evaluate-open-loop |"),
        ("vjepa-world evaluate env.var", "env.variation=|"),
        ("vjepa-world pretrain resume=t", "true |"),
        ("vjepa-world pretrain data.path=cl", "clip.mp4 |clips/|"),
        ("vjepa-world inspect cl", "clip.mp4 |clips/|"),
    ],
)
def test_bash_completes(line: str, expected: str, here: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "PYTHON": sys.executable}
    done = subprocess.run(
        ["bash", "-c", BASH, "bash", line],
        cwd=here,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    registered, _, replies = done.stdout.partition("\n")
    assert registered == "complete -o nospace -F _vjepa_world vjepa-world"
    assert sorted(replies.split("|")) == sorted(expected.split("|"))

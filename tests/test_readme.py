"""The README's blocks: every command is composed, those under `<!-- run -->` are run, Python is executed."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.paths import REPO
from vjepa_world.cli.shared.commands import COMMANDS, config_of
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained import read_checkpoint, save_pretrained
from vjepa_world.pretrained.meta.reader import write_meta

README = REPO / "README.md"
BLOCK = re.compile(
    r"^(?P<run><!-- run -->[ \t]*\n\s*)?```(?P<language>\w+)\n(?P<text>.*?)^```[ \t]*$", re.M | re.S
)
# What a reader types that is not ours to check.
OTHER_PROGRAMS = {
    "git",
    "cd",
    "pip",
    "python",
    "pytest",
    "tensorboard",
    "docker",
    ".ci/run",
    "export",
    "source",
    ".",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of the README."""

    language: str
    text: str
    line: int
    run: bool


def blocks(markdown: str) -> list[Block]:
    return [
        Block(
            found["language"],
            found["text"],
            markdown[: found.start("text")].count("\n") + 1,
            found["run"] is not None,
        )
        for found in BLOCK.finditer(markdown)
    ]


def commands(script: str) -> list[list[str]]:
    """Return the simple commands of a shell block as words, without prompts, comments and redirections."""
    found: list[list[str]] = []
    for line in script.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line.strip().removeprefix("$ "), posix=True, punctuation_chars=";|&<>")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word and set(word) <= set(";|&"):
                if words:
                    found.append(words)
                words = []
            else:
                words.append(word)
    return [_plain(words) for words in found]


def _plain(words: list[str]) -> list[str]:
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    ends = [index for index, word in enumerate(words) if set(word) <= set("<>")]
    return words[: ends[0]] if ends else words


def check(words: list[str]) -> None:
    """Raise if a command of the README would not be accepted; nothing is run."""
    program = words[0].removeprefix(".venv/bin/")
    script = re.fullmatch(r"scripts/(\w+)\.py", words[1]) if program == "python" and len(words) > 1 else None
    if program == "vjepa-world":
        check_command(words[1], words[2:])
    elif script:
        check_command(script[1].replace("_", "-"), words[2:])
    elif program == "make":
        targets = re.findall(r"^([\w-]+):", (REPO / "Makefile").read_text(), re.MULTILINE)
        assert set(words[1:]) <= set(targets), f"make knows {targets}, not {words[1:]}"
    else:
        assert program in OTHER_PROGRAMS, f"'{program}' is neither ours nor one of {sorted(OTHER_PROGRAMS)}"


def check_command(command: str, words: list[str]) -> None:
    if command in ("--help", "--version", "COMMAND"):
        return
    assert command in COMMANDS, f"'{command}' is not one of the commands {sorted(COMMANDS)}"
    if "--help" in words:
        return
    config_of(command, words)


ALL = blocks(README.read_text(encoding="utf-8")) if README.is_file() else []
BASH = [block for block in ALL if block.language == "bash"]
PYTHON = [block for block in ALL if block.language == "python"]


def test_the_readme_has_blocks_of_both_kinds_and_runs_some() -> None:
    assert README.is_file(), "README.md is missing"
    assert BASH
    assert PYTHON
    assert any(block.run for block in BASH)
    text = " ".join(block.text for block in BASH)
    assert "make demo" in text
    assert "make test" in text


@pytest.mark.parametrize("block", BASH, ids=lambda block: f"line{block.line}")
def test_every_command_would_be_accepted(block: Block) -> None:
    found = commands(block.text)
    assert found, "an empty block"
    for words in found:
        check(words)


@pytest.fixture
def workplace(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """Return an empty folder and an environment in which `vjepa-world` is this repository's."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, arguments in (("vjepa-world", "-m vjepa_world "), ("python", "")):
        program = programs / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
        program.chmod(0o755)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "scripts").symlink_to(REPO / "scripts")
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    return folder, {**os.environ, "PATH": path, "PYTHONPATH": str(REPO)}


def write_released_files(folder: Path) -> None:
    """Write small files of the same kinds under the names of the released ones that the README loads."""
    encoder = EncoderConfig(image_size=256, num_frames=16, embed_dim=192, depth=1, num_heads=3)
    predictor = ActionPredictorConfig(
        embed_dim=64,
        depth=1,
        num_heads=2,
        residual=False,
        context_frames=0,
        positions="tiled",
        normalize=True,
    )
    world_model = LatentWorldModel(
        WorldModelConfig(
            encoder=encoder,
            predictor=predictor,
            latents=LatentsConfig(kind="none"),
            inverse=InverseConfig(horizon=0),
            decoder=DecoderConfig(image_size=0),
        )
    )
    for name, model in (("vitl.pt", VideoEncoder(encoder)), ("vjepa2-ac-vitg.pt", world_model)):
        save_pretrained(model, folder / "native")
        write_meta(read_checkpoint(folder / "native"), folder / name)


def test_blocks_marked_run_do_run(workplace: tuple[Path, dict[str, str]]) -> None:
    folder, environment = workplace
    for block in BASH:
        if block.run:
            script = "set -euo pipefail\n" + block.text
            done = subprocess.run(
                ["bash", "-c", script],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                timeout=600,
            )
            assert done.returncode == 0, f"README line {block.line}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: f"line{block.line}")
def test_python_blocks_execute(block: Block, workplace: tuple[Path, dict[str, str]]) -> None:
    folder, environment = workplace
    write_released_files(folder)
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, f"README line {block.line}\n{done.stderr}"


# The checks themselves, so that a wrong README cannot pass.


def test_blocks_are_found_with_their_marks() -> None:
    text = "# T\n<!-- run -->\n```bash\na\n```\n\n```python\nb\n```\n```\nplain\n```\n"
    assert blocks(text) == [Block("bash", "a\n", 4, True), Block("python", "b\n", 8, False)]


def test_commands_are_split_as_a_shell_would() -> None:
    script = "# note\n$ A=1 vjepa-world bench render \\\n  repeats=3 | head; make demo && cd 'a b' > log\n\n"
    assert commands(script) == [
        ["vjepa-world", "bench", "render", "repeats=3"],
        ["head"],
        ["make", "demo"],
        ["cd", "a b"],
    ]


@pytest.mark.parametrize(
    "line",
    [
        "vjepa-world bench machine repeat=3",
        "vjepa-world bench machin",
        "vjepa-world benhc machine",
        ".venv/bin/vjepa-world bench sede=1",
        "python scripts/bench.py machine sede=1",
        "make dmeo",
        "curl example.org",
    ],
)
def test_a_wrong_command_is_found(line: str) -> None:
    with pytest.raises((ConfigError, AssertionError)):
        check(commands(line)[0])


@pytest.mark.parametrize(
    "line", ["vjepa-world bench machine repeats=3", "vjepa-world --help", "make demo", "git clone x"]
)
def test_a_right_command_passes(line: str) -> None:
    check(commands(line)[0])

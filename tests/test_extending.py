"""docs/extending.md: each module is written to a folder, and its command is run as by a user."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.paths import REPO
from tests.recordings import write_dataset
from tests.training.corpora import SMALL, write_corpus

DOCS = (REPO / "docs" / "extending.md").read_text(encoding="utf-8")
MODULES = dict(re.findall(r"<!-- file: (\w+)\.py -->\n```python\n(.*?)^```", DOCS, re.M | re.S))
COMMANDS = dict(re.findall(r"<!-- run: (\w+) -->\n```bash\n(.*?)^```", DOCS, re.M | re.S))

EVALUATE = ["device=cpu", "threads=1", "env.max_steps=3", "env.image_size=64", "planner.num_iterations=1"]
TRAIN = [word for word in SMALL if not word.startswith("data.")] + ["trainer.steps=2"]
#: What makes the commands quick.
QUICKER = {
    "my_task": [*EVALUATE, "planner.num_samples=8"],
    "my_planner": EVALUATE,
    "my_search": EVALUATE,
    "my_energy": [*EVALUATE, "planner.num_samples=8"],
    "my_objective": TRAIN,
    "my_encoder": [word for word in TRAIN if not word.startswith("model.")],
}
#: What they print.
PRINTED = {
    "my_format": "of 1 episode, 8 frames at 10/s",
    "my_task": "2 episodes",
    "my_planner": "2 episodes",
    "my_search": "2 episodes",
    "my_energy": "2 episodes",
    "my_objective": "runs/pretrain/denoised",
    "my_encoder": "runs/finetune/projected",
}


def write_inputs(home: Path) -> None:
    """Write what the commands read: a recording, videos and the modules."""
    rng = np.random.default_rng(0)
    with (home / "recorded.mylog").open("wb") as file:
        np.savez(
            file,
            frames=rng.integers(256, size=(8, 64, 64, 3), dtype=np.uint8),
            states=rng.normal(size=(8, 3)),
            actions=rng.normal(size=(7, 2)),
        )
    write_corpus(home)
    write_dataset(home / "dataset")
    for name, source in MODULES.items():
        (home / f"{name}.py").write_text(source)


def shell(home: Path, command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `vjepa-world ...` in `home`, as it is installed."""
    program = (
        f"{shlex.quote(sys.executable)} -c 'from vjepa_world.cli.main import main; raise SystemExit(main())'"
    )
    return subprocess.run(
        ["bash", "-c", re.sub(r"\bvjepa-world\b", lambda _: program, command, count=1)],
        cwd=home,
        env={
            **os.environ,
            "PYTHONPATH": str(REPO),
            "PYTHONSAFEPATH": "1",
            "OMP_NUM_THREADS": "1",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_inputs(folder)
    return folder


def test_each_module_is_short_and_has_a_command() -> None:
    assert list(MODULES) == list(COMMANDS) == list(PRINTED)
    lengths = {
        name: len([line for line in source.splitlines() if line.strip()]) for name, source in MODULES.items()
    }
    assert max(lengths.values()) <= 30, lengths


@pytest.mark.parametrize("name", MODULES)
def test_registered_extensions_work_on_the_command_line(home: Path, name: str) -> None:
    command = " ".join([COMMANDS[name].strip(), *QUICKER.get(name, [])])
    done = shell(home, command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert PRINTED[name] in done.stdout, done.stdout
    without = shell(home, command.replace(f"VJEPA_WORLD_PLUGINS={name} ", "").replace("name=", "name=not_"))
    assert PRINTED[name] not in without.stdout, without.stdout


def test_the_options_of_a_planner_have_defaults_and_a_range(home: Path) -> None:
    evaluate = "VJEPA_WORLD_PLUGINS=my_planner vjepa-world evaluate planner=narrowing"
    done = shell(home, f"{evaluate} --print-config")
    assert re.search(r"^planner:\n(  .*\n)*  shrink: 0\.7$", done.stdout, re.MULTILINE), done.stdout
    done = shell(home, f"{evaluate} planner.shrink=1.5")
    assert done.returncode == 2
    assert "shrink" in done.stderr and "1.5" in done.stderr, done.stderr


def test_a_sweep_takes_keys_of_a_plugin(home: Path) -> None:
    words = "data.path=videos objective.kind=denoise objective.noise=0.3,0.4 name=swept"
    program = f"{shlex.quote(sys.executable)} -m vjepa_world.launch pretrain"
    launch = f"{program} {words} {' '.join(TRAIN)} --multirun"
    done = shell(home, launch, VJEPA_WORLD_PLUGINS="my_objective")
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in (home / "runs" / "pretrain").glob("swept_*")) == [
        "swept_0",
        "swept_1",
    ]


def test_an_installed_package_declares_its_plugin(home: Path, tmp_path: Path) -> None:
    about = tmp_path / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vjepa_world.plugins]\nmine = my_format\n")
    (tmp_path / "my_format.py").write_text(MODULES["my_format"])
    path = os.pathsep.join([str(REPO), str(tmp_path)])
    done = shell(home, "vjepa-world inspect recorded.mylog", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert PRINTED["my_format"] in done.stdout


def test_a_plugin_that_cannot_be_imported_is_reported(home: Path) -> None:
    (home / "broken.py").write_text("import no_such_module_anywhere\n")
    done = shell(home, "VJEPA_WORLD_PLUGINS=broken vjepa-world inspect recorded.mylog")
    assert done.returncode == 2
    assert (
        "VJEPA_WORLD_PLUGINS names the plugin 'broken', which cannot be imported (ModuleNotFoundError"
        in done.stderr
    )

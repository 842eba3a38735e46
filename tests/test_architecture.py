"""The import rules of ARCHITECTURE.md: which package may import which, and what is loaded lazily."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import vjepa_world
from tests.paths import REPO
from vjepa_world.cli.shared.commands import COMMANDS, file_name

OURS = ("vjepa_world", "planners", "envs", "scripts")

# For each package, the packages of ours below it. The longest matching name is a module's package.
_BASE = ("vjepa_world.errors", "vjepa_world.files", "vjepa_world.registry", "vjepa_world.system")
BELOW: dict[str, tuple[str, ...]] = {
    "planners": (),
    "envs": (),
    "vjepa_world": ("vjepa_world.system.cpu", "vjepa_world.system.packages"),
    "vjepa_world.errors": (),
    "vjepa_world.files": ("vjepa_world.errors",),
    "vjepa_world.system": ("vjepa_world.errors",),
    "vjepa_world.registry": ("vjepa_world.errors",),
    "vjepa_world.config.ranges": (),
    "vjepa_world.config": ("vjepa_world.errors", "vjepa_world.registry"),
    "vjepa_world.runs": (*_BASE, "vjepa_world.config"),
    "vjepa_world.plugins": ("vjepa_world.errors",),
    "vjepa_world.ops": ("vjepa_world.errors",),
    "vjepa_world.models": (*_BASE, "vjepa_world.ops"),
    "vjepa_world.models.encoders": (
        *_BASE,
        "vjepa_world.ops",
        "vjepa_world.models.config",
        "vjepa_world.models.encoder",
    ),
    "vjepa_world.data": (*_BASE, "vjepa_world.config.ranges", "vjepa_world.ops"),
    "vjepa_world.pretrained": (*_BASE, "vjepa_world.models", "vjepa_world.ops"),
    "vjepa_world.planning": (
        *_BASE,
        "vjepa_world.config.ranges",
        "vjepa_world.models",
        "vjepa_world.pretrained",
        "vjepa_world.ops",
        "planners",
    ),
    "vjepa_world.training": (
        *_BASE,
        "vjepa_world.models",
        "vjepa_world.data",
        "vjepa_world.pretrained",
        "vjepa_world.ops",
        "vjepa_world.runs",
        "vjepa_world.config",
        "vjepa_world.evaluation.probe_metrics",
    ),
    "vjepa_world.evaluation": (
        *_BASE,
        "vjepa_world.planning",
        "vjepa_world.models",
        "vjepa_world.data",
        "vjepa_world.pretrained",
        "vjepa_world.ops",
        "vjepa_world.runs",
        "planners.protocols",
    ),
    "vjepa_world.evaluation.stable_worldmodel": (
        *_BASE,
        "vjepa_world.data",
        "vjepa_world.evaluation.statistics",
        "vjepa_world.planning.policy",
    ),
    "vjepa_world.environments": (
        *_BASE,
        "vjepa_world.config.ranges",
        "vjepa_world.data",
        "vjepa_world.ops",
        "vjepa_world.plugins",
        "envs",
    ),
    "vjepa_world.reports": (
        *_BASE,
        "vjepa_world.evaluation",
        "vjepa_world.planning",
        "vjepa_world.training",
        "vjepa_world.models",
        "vjepa_world.data",
        "vjepa_world.pretrained",
        "vjepa_world.ops",
        "vjepa_world.config",
        "vjepa_world.runs",
        "planners.protocols",
    ),
    "vjepa_world.bench": (
        *_BASE,
        "vjepa_world.environments",
        "vjepa_world.training",
        "vjepa_world.evaluation",
        "vjepa_world.planning",
        "vjepa_world.models",
        "vjepa_world.data",
        "vjepa_world.pretrained",
        "vjepa_world.ops",
        "vjepa_world.config",
        "vjepa_world.runs",
        "vjepa_world.cli.collect",
        "vjepa_world.cli.pretrain",
        "planners",
        "envs",
    ),
    "vjepa_world.cli": ("vjepa_world", "planners", "envs"),
    "vjepa_world.cli.main": ("vjepa_world", "planners", "envs"),
    "vjepa_world.launch": (
        "vjepa_world.cli",
        "vjepa_world.config",
        "vjepa_world.errors",
        "vjepa_world.plugins",
    ),
    "vjepa_world.__main__": ("vjepa_world.cli.main",),
    "scripts": ("vjepa_world.cli.main",),
}

# Packages that may import nothing from outside but these (and the standard library).
OUTSIDE: dict[str, tuple[str, ...]] = {
    "scripts": (),
    "planners": ("torch", "numpy"),
    "envs": ("mujoco", "gymnasium", "numpy", "triton"),  # triton: only to be loaded before OpenGL is
    "vjepa_world.errors": (),
    "vjepa_world.registry": ("pydantic_core",),
    "vjepa_world.files": ("xxhash",),
    "vjepa_world.system": ("tqdm", "torch", "triton"),  # triton: as for envs
    "vjepa_world.ops": ("torch", "numpy"),
    "vjepa_world.models": ("torch", "numpy", "xxhash"),
    "vjepa_world.models.encoders": ("torch", "transformers"),
    "vjepa_world.cli.main": (),
    "vjepa_world.config.ranges": (),
    "vjepa_world.config": ("hydra", "omegaconf", "pydantic", "pydantic_core", "yaml"),
    "vjepa_world.runs": (),
}

SIMULATORS = ("mujoco", "gymnasium")
WITH_SIMULATORS = (
    *("envs", "vjepa_world.environments", "vjepa_world.bench"),
    "vjepa_world.evaluation.stable_worldmodel",  # that package makes its environments itself
)


def modules() -> dict[str, Path]:
    """Return every module of ours by its dotted name."""
    found = {}
    for top in OURS:
        for path in sorted((REPO / top).rglob("*.py")):
            parts = path.relative_to(REPO).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(package + ".")


def package_of(module: str) -> str:
    return max((package for package in BELOW if within(module, package)), key=len)


def imports(source: str, module: str, is_package: bool = False) -> Iterator[str]:
    """Yield the full name of whatever a module imports, in functions and under TYPE_CHECKING too."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            home = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*home, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            constants = [part.value for part in node.args if isinstance(part, ast.Constant)]
            yield from (value for value in constants if isinstance(value, str))


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return what a module imports against the rules, in words."""
    package = package_of(module)
    found = []
    for target in imports(source, module, is_package):
        top = target.split(".")[0]
        if top in OURS:
            allowed = within(target, package) and package != "vjepa_world"
            if not allowed and not any(within(target, below) for below in BELOW[package]):
                found.append(
                    f"{module} imports {target}: {package} may import {BELOW[package] or 'nothing of ours'}"
                )
        elif top not in sys.stdlib_module_names:
            if package in OUTSIDE and top not in OUTSIDE[package]:
                found.append(
                    f"{module} imports {target}: {package} may import only {OUTSIDE[package] or 'stdlib'}"
                )
            elif top in SIMULATORS and package not in WITH_SIMULATORS:
                found.append(f"{module} imports {target}: only envs know the simulator")
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_imports_only_what_is_below_it(module: str) -> None:
    path = MODULES[module]
    assert violations(path.read_text(), module, path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("planners.algorithms.cem", "import vjepa_world.ops.pose"),
        ("planners.algorithms.cem", "from envs.arm import model"),
        ("planners.algorithms.cem", "import scipy"),
        ("envs.tasks.reach", "import torch"),
        ("envs.tasks.reach", "def late():\n    import torch"),
        ("envs.tasks.reach", "from ..arm import kinematics\nimport av"),
        ("vjepa_world.models.encoder", "from vjepa_world.data.video.reader import read"),
        ("vjepa_world.data.video.reader", "from vjepa_world import models"),
        ("vjepa_world.data.video.reader", "from ...models.encoder import Encoder"),
        ("vjepa_world.data.trajectories.trajectory", "from ...training import config"),
        ("vjepa_world.ops.pose", "if TYPE_CHECKING:\n    from vjepa_world.models.encoder import Encoder"),
        ("vjepa_world.training.engine.trainer", "from vjepa_world.cli.pretrain import Config"),
        (
            "vjepa_world.training.engine.trainer",
            "import importlib\nimportlib.import_module('vjepa_world.cli.pretrain')",
        ),
        ("vjepa_world.evaluation.closed_loop.rollout", "import planners.algorithms.cem"),
        ("vjepa_world.evaluation.closed_loop.rollout", "import gymnasium"),
        ("vjepa_world.environments.observed", "from vjepa_world.planning import policy"),
        ("vjepa_world.bench.render", "from vjepa_world.cli.main import main"),
        ("vjepa_world.cli.main", "import torch"),
    ],
)
def test_a_forbidden_import_is_found(module: str, source: str) -> None:
    assert len(violations(source, module)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("planners.algorithms.cem", "import math\nimport torch\nfrom planners.protocols import WorldModel"),
        ("envs.tasks.reach", "from ..arm import model\nimport mujoco"),
        ("vjepa_world.evaluation.closed_loop.rollout", "from planners.protocols import WorldModel"),
        ("vjepa_world.cli.collect", "import envs\nfrom vjepa_world.data import video"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    assert violations(source, module) == []


def imported_at_once(module: str) -> set[str]:
    """Return the modules of ours that are imported when `module` is: not in functions, nor for type checkers."""
    path, found = MODULES[module], set[str]()
    waiting: list[ast.stmt] = list(ast.parse(path.read_text()).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If):
            waiting += node.orelse if "TYPE_CHECKING" in ast.unparse(node.test) else node.body + node.orelse
        elif isinstance(node, ast.Try | ast.With | ast.ClassDef):
            waiting += node.body
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for name in imports(ast.unparse(node), module, path.name == "__init__.py"):
                while name and name not in MODULES:
                    name = name.rpartition(".")[0]
                found.add(name)
    return found - {"", module}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imported_at_once(module) for module in MODULES}
    assert "vjepa_world.models.encoder" in graph["vjepa_world.pretrained.loading"]
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


def test_every_package_of_the_rules_exists() -> None:
    missing = [package for package in BELOW if package not in MODULES and not (REPO / package).is_dir()]
    assert missing == []


def test_every_command_has_a_module_and_a_script() -> None:
    modules = {path.stem for path in (REPO / "vjepa_world" / "cli").glob("*.py")}
    scripts = {path.stem for path in (REPO / "scripts").glob("*.py")}
    files = {file_name(command) for command in COMMANDS}
    assert files <= modules
    assert scripts == files


def test_every_public_name_resolves() -> None:
    for name in vjepa_world.__all__:
        assert getattr(vjepa_world, name) is not None


def test_an_unknown_public_name_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="'load_model'; did you mean '.*'. it has: .*load_encoder"):
        _ = vjepa_world.load_model  # type: ignore[attr-defined]


def test_the_star_import_and_dir_give_the_public_names() -> None:
    names: dict[str, object] = {}
    exec("from vjepa_world import *", names)
    assert set(vjepa_world.__all__) <= set(names)
    assert set(vjepa_world.__all__) <= set(dir(vjepa_world))


def loaded_by(program: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after running `program`."""
    code = f"import sys\n{program}\nprint('\\n' + ' '.join(sorted({{n.split('.')[0] for n in sys.modules}})))"
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.splitlines()[-1].split())


HEAVY = {"torch", "mujoco", "gymnasium", "numpy", "av", "pyarrow"}


def test_loaded_by_sees_an_import() -> None:
    assert "numpy" in loaded_by("import numpy")


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("from vjepa_world.cli.main import main; main(['--help'])")
    assert loaded & (HEAVY | {"hydra", "omegaconf"}) == set()


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_of_a_command_loads_no_torch(command: str) -> None:
    program = f"from vjepa_world.cli.main import main\nmain(['{command}', '--help'])"
    assert loaded_by(program) & {"torch", "mujoco"} == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import vjepa_world") & HEAVY == set()


def test_importing_envs_loads_no_torch_and_no_model() -> None:
    assert loaded_by("import envs") & {"torch", "vjepa_world", "planners"} == set()


def test_importing_reports_loads_no_library_that_draws() -> None:
    program = "\n".join(f"import {module}" for module in MODULES if within(module, "vjepa_world.reports"))
    assert loaded_by(program) & {"jinja2", "matplotlib", "plotly"} == set()


def test_importing_planners_loads_no_model_and_no_simulator() -> None:
    assert loaded_by("import planners") & {"vjepa_world", "envs", "mujoco", "gymnasium"} == set()


@pytest.mark.parametrize("name", ["planners", "envs", "vjepa_world"])
def test_packages_come_from_this_repository(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__file__ is not None
    assert Path(module.__file__).is_relative_to(REPO)

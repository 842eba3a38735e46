"""Ids and groups of the adapters, without any of their packages."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from types import ModuleType, SimpleNamespace

import gymnasium
import pytest

from tests.environments.adapters.cases import PACKAGES, group
from tests.paths import REPO
from vjepa_world.environments.adapters import ADAPTERS, packages
from vjepa_world.environments.adapters.packages import import_package
from vjepa_world.errors import InstallationError


def test_each_id_has_a_group() -> None:
    assert {group(name).id.rpartition(":")[2] for name in PACKAGES} == set(ADAPTERS)
    assert set(ADAPTERS) <= set(gymnasium.registry)


def test_a_missing_package_is_reported_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def missing(name: str) -> ModuleType:
        asked.append(name)
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(packages, "importlib", SimpleNamespace(import_module=missing))
    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in PACKAGES:
        with pytest.raises(InstallationError, match=r"pip install 'vjepa-world\[\w+\]'") as error:
            group(name).make()
        extra = str(error.value).rpartition("[")[2].partition("]")[0]
        assert extra in extras and "mujoco>=4" not in str(extras[extra])
    assert {name.partition(".")[0] for name in asked} == set(PACKAGES.values())


def test_a_package_that_is_installed_is_imported() -> None:
    assert import_package("json", "none").__name__ == "json"


def test_the_arm_and_its_mujoco_are_not_imported_for_other_environments() -> None:
    # The arm needs a version of MuJoCo that the adapters' packages do not work with.
    code = (
        "import sys; from vjepa_world.environments.making import _spec_of; "
        f"_spec_of({group('fetch_reach').id!r}); _spec_of('CartPole-v1'); "
        "print(sorted({'envs', 'mujoco'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=REPO)
    assert done.stdout.strip() == "[]", done.stderr

"""The YAML files are found in a clone and in an installed wheel."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.paths import REPO
from vjepa_world.config import config_root, location
from vjepa_world.errors import InstallationError


def test_a_clone_has_configs_at_its_root() -> None:
    assert config_root() == REPO / "configs"
    assert list(config_root().glob("*.yaml"))


def test_a_wheel_has_configs_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages" / "vjepa_world"
    monkeypatch.setattr(location, "__file__", str(installed / "config" / "location.py"))
    with pytest.raises(InstallationError, match=r"no configuration files in .*vjepa_world/configs"):
        config_root()
    # A foreign folder `configs` next to the package does not count where the package has its own.
    (tmp_path / "site-packages" / "configs").mkdir(parents=True)
    shutil.copytree(REPO / "configs", installed / "configs")
    assert config_root() == installed / "configs"

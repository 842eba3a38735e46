"""A registry finds entries of this package, of a foreign dictionary and of an installed package by name."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from vjepa_world.errors import ConfigError
from vjepa_world.registry import Entry, Registry, RegistryError


@dataclass(frozen=True, kw_only=True)
class SquareConfig:
    """Options of a square.

    Attributes:
        kind: Its name.
        side_m: Length of a side [m].
    """

    kind: Literal["square"] = "square"
    side_m: float = 1.0


class Square:
    Config = SquareConfig


def shapes(**options: object) -> Registry[type]:
    registry: Registry[type] = Registry("shape", **options)  # type: ignore[arg-type]
    registry.register("square", config=SquareConfig)(Square)
    return registry


def test_a_registered_class_and_its_options_are_found_by_name() -> None:
    registry = shapes()
    assert registry["square"] is Square
    assert registry.config("square") is SquareConfig
    assert registry.name_of(SquareConfig(side_m=2.0)) == "square"
    assert list(registry) == ["square"]
    assert "square" in registry
    assert "circle" not in registry


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown shape 'squre'; did you mean 'square'\? Allowed: square\."
    ):
        shapes()["squre"]


def test_a_name_can_be_registered_only_once() -> None:
    registry = shapes(also={"circle": int})
    with pytest.raises(
        RegistryError, match=r"shape 'square' is registered already, as .*Square; register .*int"
    ):
        registry.add("square", int)
    with pytest.raises(RegistryError, match="shape 'circle' is registered already"):
        registry.register("circle")(Square)


def test_options_that_are_not_a_matching_dataclass_are_refused() -> None:
    with pytest.raises(
        RegistryError, match=r"'circle' has the options SquareConfig.*Literal\['circle'\] = 'circle'"
    ):
        shapes().add("circle", Square, config=SquareConfig)


def test_a_foreign_dictionary_is_searched_at_each_lookup() -> None:
    elsewhere: dict[str, object] = {}
    registry: Registry[object] = Registry("shape", also=elsewhere)
    elsewhere["square"] = Square
    elsewhere["cube"] = Entry(int, SquareConfig)
    assert registry["square"] is Square
    assert registry.config("square") is SquareConfig
    assert registry["cube"] is int
    assert list(registry) == ["square", "cube"]


def test_entries_given_as_text_are_imported_at_lookup() -> None:
    registry: Registry[type] = Registry("shape")
    registry.add("fraction", "fractions:Fraction")
    registry.add("lost", "fractions:Lost")
    assert registry["fraction"].__name__ == "Fraction"
    with pytest.raises(RegistryError, match="shape 'lost' cannot be imported from fractions:Lost"):
        registry["lost"]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a distribution with two entry points, of which one cannot be imported."""
    info = tmp_path / "shapes_of_others-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shapes-of-others\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tests.shapes]\ntriangle = shapes_of_others:Triangle\nbroken = shapes_of_others_lost:Broken\n"
    )
    (tmp_path / "shapes_of_others.py").write_text("class Triangle:\n    pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_installed_package_is_imported_when_its_name_is_looked_up(package: Path) -> None:
    registry = shapes(group="tests.shapes")
    assert set(registry) == {"square", "triangle", "broken"}
    assert "shapes_of_others" not in sys.modules
    assert registry["triangle"].__name__ == "Triangle"
    assert registry.config("triangle") is None
    with pytest.raises(
        RegistryError, match="shape 'broken' of the installed package 'shapes-of-others' cannot be imported"
    ):
        registry["broken"]


def test_importing_the_registry_is_cheap() -> None:
    code = (
        "import sys, vjepa_world.registry; print({'torch', 'pydantic', 'numpy', 'hydra'} & set(sys.modules))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )

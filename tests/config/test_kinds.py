"""A field whose `kind` selects a dataclass: only its keys are accepted, and kinds can be registered."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

import pytest

from vjepa_world.config import compose, describe, flatten, from_yaml, to_yaml
from vjepa_world.config.schema import keys_of
from vjepa_world.errors import ConfigError
from vjepa_world.registry import Registry, RegistryError

SHAPES: Registry[object] = Registry("shape")


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What all shapes have.

    Attributes:
        colour: How it is painted.
    """

    colour: str = "red"


@SHAPES.register("square")
class Square:
    """An implementation."""


@dataclass(frozen=True, kw_only=True)
class CircleConfig(Shape):
    """A circle.

    Attributes:
        kind: A circle.
        radius_m: Half of the diameter [m].
        corners: None.
    """

    kind: Literal["circle"] = "circle"
    radius_m: float = 1.0
    corners: int = field(default=0, metadata={"range": (0, 0)})


@dataclass(frozen=True, kw_only=True)
class PolygonConfig(Shape):
    """A polygon.

    Attributes:
        kind: A polygon.
        corners: How many.
    """

    kind: Literal["polygon"] = "polygon"
    corners: int = field(default=3, metadata={"range": (3, 100)})

    def __post_init__(self) -> None:
        if self.corners == 13:
            raise ConfigError("corners is 13; take another number.")


SHAPES.add("circle", object, config=CircleConfig)
SHAPES.add("polygon", object, config=PolygonConfig)


@dataclass(frozen=True, kw_only=True)
class Config:
    """A command of the tests.

    Attributes:
        shape: What is drawn.
        others: More of them.
    """

    shape: Annotated[Shape, SHAPES] = field(default_factory=lambda: CircleConfig(radius_m=2.0))
    others: dict[str, Annotated[Shape, SHAPES]] = field(default_factory=dict)
    back: Annotated[Shape, SHAPES] | None = None


def composed(tmp_path: Path, *words: str) -> Config:
    return compose("draw", Config, words, tmp_path)


def refused(tmp_path: Path, *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        composed(tmp_path, *words)
    return str(caught.value)


def test_the_kind_selects_the_dataclass_and_its_defaults(tmp_path: Path) -> None:
    assert composed(tmp_path).shape == CircleConfig(radius_m=2.0)
    assert composed(tmp_path, "shape.colour=blue").shape == CircleConfig(radius_m=2.0, colour="blue")
    assert composed(tmp_path, "shape.kind=polygon").shape == PolygonConfig()
    assert composed(tmp_path, "shape=polygon").shape == PolygonConfig()
    assert composed(tmp_path, "shape=polygon", "shape.corners=4").shape == PolygonConfig(corners=4)
    assert composed(tmp_path, "shape={kind: polygon, corners: 5}").shape == PolygonConfig(corners=5)
    assert composed(tmp_path, "back.kind=polygon").back == PolygonConfig()
    words = ("others.a.kind=circle", "others.b.kind=polygon", "others.b.corners=4")
    assert composed(tmp_path, *words).others == {"a": CircleConfig(), "b": PolygonConfig(corners=4)}


def test_a_group_of_yaml_holds_presets(tmp_path: Path) -> None:
    (tmp_path / "shape").mkdir()
    (tmp_path / "draw.yaml").write_text("defaults:\n  - shape: circle\n  - _self_\n")
    (tmp_path / "shape" / "stop_sign.yaml").write_text("kind: polygon\ncorners: 8\ncolour: red\n")
    assert composed(tmp_path).shape == CircleConfig(radius_m=2.0)
    assert composed(tmp_path, "shape=polygon").shape == PolygonConfig()
    assert composed(tmp_path, "shape=stop_sign", "shape.colour=blue").shape == PolygonConfig(
        corners=8, colour="blue"
    )
    text = describe("draw", Config, tmp_path, words=["shape=stop_sign", "shape.unknown=1"])
    assert "shape=stop_sign  of circle, polygon, stop_sign" in text
    assert re.search(r"shape\.corners +8", text)
    assert composed(tmp_path, "shape=stop_sign", "shape.kind=polygon").shape == PolygonConfig(
        corners=8, colour="red"
    )
    assert refused(tmp_path, "shape=stop_sign", "shape.kind=circle") == (
        "shape=stop_sign has settings of the shape 'polygon', and shape.kind=circle selects another one; leave out "
        "either."
    )
    message = refused(tmp_path, "shape=stop")
    assert message == "unknown shape 'stop'; did you mean 'stop_sign'? Allowed: circle, polygon, stop_sign."


@pytest.mark.parametrize(("content", "got"), [("corners: 8", "not given"), ("kind: circle", "circle")])
def test_a_preset_with_the_name_of_a_kind_selects_that_kind(tmp_path: Path, content: str, got: str) -> None:
    (tmp_path / "shape").mkdir()
    (tmp_path / "draw.yaml").write_text("defaults:\n  - shape: circle\n  - _self_\n")
    preset = tmp_path / "shape" / "polygon.yaml"
    preset.write_text("kind: polygon\ncorners: 8\n")
    assert composed(tmp_path, "shape=polygon").shape == PolygonConfig(corners=8)
    preset.write_text(f"{content}\n")
    assert refused(tmp_path, "shape=polygon") == (
        f"{preset} has the name of the shape 'polygon', but its kind is {got}; set kind: polygon in it, or rename it."
    )


def test_help_shows_the_keys_of_the_selected_kind(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("shape:\n  kind: polygon\n")
    for words, given in ((["shape=polygon"], None), (["shape.kind=polygon"], None), ([], file)):
        text = describe("draw", Config, tmp_path, words=words, file=given)
        assert "shape=polygon  of circle, polygon" in text
        assert "shape.corners" in text and "shape.radius_m" not in text
    with pytest.raises(ConfigError, match="unknown shape 'polgon'; did you mean 'polygon'"):
        describe("draw", Config, tmp_path, words=["shape.kind=polgon"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["shape.corner=3"],
            "unknown key 'shape.corner'; did you mean 'shape.corners'? Allowed: shape.colour, shape.kind, "
            "shape.radius_m, shape.corners.",
        ),
        (
            ["shape.kind=polygon", "shape.radius_m=3"],
            "'shape.radius_m' is given, and shape.kind=polygon does not use it; leave it out, or select another "
            "shape.kind. Allowed: colour, corners.",
        ),
        (["shape.kind=sphere"], "'shape.kind' got 'sphere'; allowed: circle, polygon."),
        (["shape.kind=square"], "'shape.kind' got 'square'; allowed: circle, polygon."),
        (["shape=polgon"], "unknown shape 'polgon'; did you mean 'polygon'? Allowed: circle, polygon."),
        (["shape.kind=polygon", "shape.corners=2"], "'shape.corners' got 2, expected a number from 3 to 100"),
        (["shape.kind=polygon", "shape.corners=13"], "corners is 13; take another number."),
        (["shape.corners=1"], "'shape.corners' got 1, expected a number from 0 to 0"),
        (["shape.radius_m=wide"], "'shape.radius_m' got 'wide', expected a number"),
        (["others.a.radius_m=1"], "'others.a' got {'radius_m': 1}, expected others.a.kind, one of circle, polygon"),
        (["others.a.kind=circle", "others.a.radius_m=x"], "'others.a.radius_m' got 'x', expected a number"),
    ],
)  # fmt: skip
def test_a_key_or_value_of_another_kind_is_refused(tmp_path: Path, words: list[str], message: str) -> None:
    assert refused(tmp_path, *words) == message


def test_a_kind_reads_back_from_yaml(tmp_path: Path) -> None:
    config = composed(tmp_path, "shape.kind=polygon", "others.a.kind=circle")
    assert from_yaml(to_yaml(config), Config) == config
    assert flatten(config)["shape.kind"] == "polygon"
    with pytest.raises(
        ConfigError, match=r"shape.radius_m' is given, and shape.kind=polygon does not use it"
    ):
        from_yaml("shape: {kind: polygon, radius_m: 1}", Config)


def test_keys_are_those_of_all_kinds() -> None:
    expected = {"shape.kind", "shape.colour", "shape.radius_m", "shape.corners", "others.NAME.corners"}
    assert expected <= set(keys_of(Config, ""))


@dataclass(frozen=True, kw_only=True)
class StarConfig(Shape):
    """A star of someone else."""

    kind: Literal["star"] = "star"
    points: int = 5


def test_a_kind_that_is_registered_later_is_available_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "unknown shape" in refused(tmp_path, "shape=star")
    monkeypatch.setattr(SHAPES, "_own", dict(SHAPES._own))
    SHAPES.add("star", object, config=StarConfig)
    SHAPES.add("lost", object, config="nowhere:LostConfig")
    assert composed(tmp_path, "shape=star", "shape.points=6").shape == StarConfig(points=6)
    for word in ("shape=lost", "shape.kind=lost"):
        with pytest.raises(RegistryError, match="shape 'lost' cannot be imported from nowhere:LostConfig"):
            composed(tmp_path, word)

"""Flags and positional arguments are other forms of `key=value`, for every command and any characters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from vjepa_world.cli.shared.commands import config_of
from vjepa_world.cli.shared.words import key_values
from vjepa_world.config import compose
from vjepa_world.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Inner:
    """Keys below a key."""

    size: int = 1
    is_round: bool = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """A command of the tests."""

    source: Path = Path("nowhere")
    others: tuple[Path, ...] = ()
    numbers: tuple[float, ...] = ()
    some_name: str = ""
    quick: bool = False
    mode: Literal["a", "b"] = "a"
    options: dict[str, Any] = field(default_factory=dict)
    inner: Inner = field(default_factory=Inner)


ODD = ("a,b", "c d", "e=f", "it's", "[x]")


def made(*words: str, positional: tuple[str, ...] = ()) -> Config:
    return compose("trial", Config, key_values(words, Config, positional))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["some_name=x"], Config(some_name="x")),
        (["--some_name", "x"], Config(some_name="x")),
        (["--some-name", "x"], Config(some_name="x")),
        (["--some-name=x"], Config(some_name="x")),
        (["--some-name=x=y"], Config(some_name="x=y")),
        (["--some-name", "x=y"], Config(some_name="x=y")),
        (["--some-name", "-x"], Config(some_name="-x")),
        (["--quick"], Config(quick=True)),
        (["--quick", "false"], Config(quick=False)),
        (["--quick", "--mode", "b"], Config(quick=True, mode="b")),
        (["--no-quick"], Config()),
        (["--inner.is-round"], Config(inner=Inner(is_round=True))),
        (["--inner.size", "3", "--quick"], Config(inner=Inner(size=3), quick=True)),
        (["--inner", "size=3", "is_round=true"], Config(inner=Inner(size=3, is_round=True))),
        (["--numbers", "-1", "1e-3", "-.5", "2"], Config(numbers=(-1.0, 1e-3, -0.5, 2.0))),
        (["--numbers", "1", "2", "mode=b"], Config(numbers=(1.0, 2.0), mode="b")),
        (["--numbers", "1", "2", "--mode", "b"], Config(numbers=(1.0, 2.0), mode="b")),
        (["--others", *ODD], Config(others=tuple(map(Path, ODD)))),
        (["--options", "fps=3", "axes=[1,2]", "name=x y"], Config(options={"fps": 3, "axes": [1, 2], "name": "x y"})),
        (["options.fps=3"], Config(options={"fps": 3})),
    ],
)  # fmt: skip
def test_a_flag_is_its_key(words: list[str], expected: Config) -> None:
    assert made(*words) == expected


@pytest.mark.parametrize(
    "text",
    ["a", "a,b (1).mp4", "it's", "./x=y.mp4", "${HOME}", "back\\", "2024", "null", '"q"', "'q'", "küche"],
)
def test_arguments_without_a_key_are_positional(text: str) -> None:
    assert made(text, positional=("source",)).source == Path(text)
    assert made(text, "--quick", "b", positional=("source", "others")) == Config(
        source=Path(text), quick=True, others=(Path("b"),)
    )
    assert made("a", text, text, positional=("source", "others")).others == (Path(text), Path(text))


def test_flags_end_at_two_dashes() -> None:
    assert made("--quick", "--", "--mode", positional=("source",)) == Config(
        source=Path("--mode"), quick=True
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--some-nam", "x"], "unknown key 'some_nam'; did you mean 'some_name'?"),
        (["--inner.sized=2"], "unknown key 'inner.sized'; did you mean 'inner.size'?"),
        (["--some-name"], "--some-name is given without a value; give --some-name VALUE"),
        (["--some-name", "--quick"], "--some-name is given without a value"),
        (["--numbers"], "--numbers is given without a value"),
        (["--options", "fps"], "--options is given without a value; give --options NAME=VALUE"),
        (["--mode", "c"], "'mode' got 'c'; allowed: a, b."),
        (["--quick=maybe"], "'quick' got 'maybe', expected true or false"),
        (["--numbers", "1", "x"], "'numbers[1]' got 'x', expected a number"),
        (["a", "b"], "got 'b', expected key=value."),
        (["sourse=a"], "unknown key 'sourse'; did you mean 'source'?"),
    ],
)
def test_a_wrong_flag_is_reported(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        made(*words, positional=("source",))


def test_every_kind_of_command_accepts_flags_and_key_value() -> None:
    flags = ["--image", "a.png", "--goal", "b.png", "--state", "1", "2", "--json", "--planner.horizon", "2"]
    keys = ["image=[a.png]", "goal=[b.png]", "state=[1,2]", "json=true", "planner.horizon=2"]
    assert config_of("plan", flags) == config_of("plan", keys)
    flags = ["--data.path", "x", "--trainer.steps", "5", "--model=vit_tiny"]
    assert config_of("pretrain", flags) == config_of(
        "pretrain", ["data.path=x", "trainer.steps=5", "model=vit_tiny"]
    )
    assert (
        config_of("inspect", ["x"])
        == config_of("inspect", ["path=x"])
        == config_of("inspect", ["--path", "x"])
    )

"""Every numeric option of every command refuses invalid values with a message."""

from __future__ import annotations

import contextlib
import copy
import math
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest

from vjepa_world.cli.main import main
from vjepa_world.cli.shared.commands import COMMANDS, command_module, file_name
from vjepa_world.config import compose
from vjepa_world.config.building import build
from vjepa_world.config.schema import type_at
from vjepa_world.config.values import MISSING, defaults_of, leaves
from vjepa_world.errors import VJEPAWorldError

JOBS = [name for name, command in COMMANDS.items() if command.kind == "job"]
FILES = [name for name, command in COMMANDS.items() if command.kind == "file"]

#: No key takes one of these, and a key may take one of those.
NEVER: tuple[Any, ...] = (math.nan, math.inf, -math.inf, 1e30, "x", 10**400, True, [1], -(10**17))
MAYBE: tuple[Any, ...] = (-1, 0, 10**17, None, 1.5, 10**9, 1e18, -0.5, 2**62)


def base(command: str) -> tuple[type, dict[str, Any]]:
    """Return a command's schema, and its defaults, with a placeholder for keys without one."""
    schema = command_module(command).Config
    tree = defaults_of(schema)
    for key, value in list(leaves(tree, "")):
        if value == MISSING or (key == "data.path" and value == ""):
            several = typing.get_origin(type_at(schema, key)) is tuple
            put(tree, key, [0.0] if key == "state" else ["x"] if several else "x")
    return schema, tree


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        tree = tree[parent]
    tree[last] = value


def numeric_keys(command: str) -> Iterator[str]:
    schema, tree = base(command)
    for key, _ in leaves(tree, ""):
        if any(kind in str(type_at(schema, key)) for kind in ("int", "float")):
            yield key


def given(command: str, key: str, value: Any) -> object:
    schema, tree = base(command)
    tree = copy.deepcopy(tree)
    put(tree, key, value)
    return build(schema, tree, "", "the test")


@pytest.mark.parametrize(
    ("command", "key"), [(command, key) for command in COMMANDS for key in numeric_keys(command)]
)
def test_a_key_accepts_a_number_or_reports_the_reason(command: str, key: str) -> None:
    for value in NEVER:
        if value == [1] and "tuple" in str(type_at(base(command)[0], key)):
            continue
        with pytest.raises(VJEPAWorldError) as caught:
            given(command, key, value)
        assert len(str(caught.value)) < 500
    for value in MAYBE:
        with contextlib.suppress(VJEPAWorldError):  # all else would be a traceback
            given(command, key, value)


@pytest.mark.parametrize("command", JOBS)
def test_a_seed_is_not_negative_and_may_be_large(command: str) -> None:
    assert given(command, "seed", 10**17).seed == 10**17  # type: ignore[attr-defined]
    for seed in (-1, 2**63, 1.5):
        with pytest.raises(VJEPAWorldError, match="'seed' got"):
            given(command, "seed", seed)


@pytest.mark.parametrize(
    ("command", "word"),
    [
        ("collect", "episodes=99999999999999999"),
        ("collect", "steps=1e9"),
        ("collect", "workers=-1"),
        ("collect", "env.fps=0"),
        ("evaluate", "planner.num_elites=-1"),
        ("evaluate", "planner.momentum_std=2"),
        ("evaluate", "execution.camera_rotation_deg=nan"),
        ("evaluate", "videos=-1"),
        ("pretrain", "trainer.timeout_s=1e18"),
        ("pretrain", "trainer.threads=-1"),
        ("pretrain", "data.fps=1e18"),
        ("probe", "data.fps=0"),
        ("probe", "data.crop=2"),
        ("probe", "probe.depth=0"),
    ],
)
def test_a_number_out_of_its_range_names_its_key_and_the_range(command: str, word: str) -> None:
    schema, key = base(command)[0], word.split("=")[0]
    required = [f"{name}=x" for name, _ in leaves(base(command)[1], "") if name in ("data.path", "encoder")]
    with pytest.raises(VJEPAWorldError, match=f"'{key}' got .*expected a (finite )?number"):
        compose(file_name(command), schema, [*required, word])


@pytest.mark.parametrize(
    ("command", "key"), [(command, key) for command in FILES for key in numeric_keys(command)]
)
@pytest.mark.parametrize("value", ["nan", "inf", "1e30", "x", "1" + "0" * 400])
def test_a_flag_accepts_a_number_or_reports_the_reason(
    command: str, key: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, f"--{key.replace('_', '-')}={value}"]) == 2
    assert re.search(
        rf"'{key}' got '?\[?{value[:30]}|cannot read {key}={value[:30]}", capsys.readouterr().err
    )

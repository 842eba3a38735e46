"""Values from untrusted files have the right type, or are refused with file and field."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from vjepa_world.errors import CheckpointError, DataError
from vjepa_world.files.validation import (
    entries,
    finite_number,
    inner_name,
    inner_path,
    mapping,
    rate,
    read_json_object,
    short,
    text,
    whole_number,
)


@pytest.mark.parametrize(
    "value", [True, "3", 2.5, math.nan, math.inf, None, [3], -1, 8, 10**30, 10**5000, 1e300], ids=short
)
def test_values_that_are_not_integers_within_bounds_are_refused(value: object) -> None:
    with pytest.raises(
        CheckpointError, match=r"^info.json: rows is .*; expected a whole number from 0 to 7\."
    ):
        whole_number(value, "info.json: rows", most=7, error=CheckpointError)


def test_integers_are_returned_unchanged() -> None:
    assert [whole_number(value, "x") for value in (0, 7, 7.0)] == [0, 7, 7]
    assert isinstance(whole_number(7.0, "x"), int)


@pytest.mark.parametrize(
    "value", [False, "1", math.nan, math.inf, -math.inf, None, {}, 0, -3, 10**400, 1e7], ids=short
)
def test_invalid_rates_are_refused(value: object) -> None:
    with pytest.raises(
        DataError, match=r"^info.json: fps is .*; expected a number above 0, at most 1e\+06\."
    ):
        rate(value, "info.json: fps")


def test_numbers_within_bounds_are_returned_unchanged() -> None:
    assert rate(30, "x") == 30.0
    assert finite_number(-2, "x") == -2.0
    with pytest.raises(DataError, match=r"x is 3; expected a number from -1 to 1"):
        finite_number(3, "x", least=-1, most=1)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "..",
        "a/../b",
        "../a",
        "/etc/passwd",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a\nb",
        ".",
        5,
        None,
        "\ud800",
        "x" * 300,
    ],
)
def test_names_that_leave_the_folder_are_refused(tmp_path: Path, name: Any) -> None:
    with pytest.raises(DataError, match=r"^m: camera is "):
        inner_name(name, "m: camera")
    with pytest.raises(DataError, match=r"^m: file is "):
        inner_path(tmp_path, name, "m: file")


def test_names_inside_the_folder_are_accepted(tmp_path: Path) -> None:
    assert inner_name("observation.images/left arm", "x") == "observation.images/left arm"
    assert inner_path(tmp_path, "a/b..c.mp4", "x") == tmp_path / "a" / "b..c.mp4"


def test_texts_lists_and_mappings() -> None:
    assert text("é", "x") == "é"
    assert entries((1, 2), "x", length=2) == [1, 2]
    assert mapping({"a": 1}, "x") == {"a": 1}
    for wrong in (lambda: text(5, "x"), lambda: text("ab", "x", longest=1), lambda: mapping({1: 2}, "x")):
        with pytest.raises(DataError, match=r"^x is "):
            wrong()
    with pytest.raises(DataError, match=r"x is \[1\]; expected a list of 2 entries"):
        entries([1], "x", length=2)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff\xfe{", b"[" * 200_000, b'{"a": ' + b"9" * 5000 + b"}"]
)
def test_broken_json_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json (is not readable JSON|holds a list).* Copy it again\."):
        read_json_object(tmp_path / "a.json", again="Copy it again.")


def test_values_are_shown_short() -> None:
    assert len(short([[list(range(1000))] * 1000] * 1000)) < 300
    assert len(short("x" * 10**6)) < 70
    assert short(10**5000) == "a whole number of about 5000 digits"


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": ' * 60 + "1" + "}" * 60)
    with pytest.raises(DataError, match=r"a\.json is nested more than 50 levels deep.* Copy it again"):
        read_json_object(tmp_path / "a.json", again="Copy it again.")

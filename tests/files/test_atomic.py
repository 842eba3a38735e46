"""Written files are complete, and failed writes keep the old one."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from vjepa_world.files.atomic import (
    WriteError,
    atomic_folder,
    atomic_path,
    write_json_atomic,
    write_text_atomic,
)


def test_a_block_that_writes_no_file_is_an_error(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"before")
    with (
        pytest.raises(
            WriteError, match=r"Cannot write .*a\.png: the file that was to be written, .* is not there"
        ),
        atomic_path(target),
    ):
        pass
    with pytest.raises(WriteError, match="is not there"), atomic_path(target) as temporary:
        temporary.symlink_to("nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and target.read_bytes() == b"before"


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_text_atomic(tmp_path / "a.txt", "old")
    write_text_atomic(tmp_path / "a.txt", "new ü")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == "new ü"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "a.json", {"rate": 1.0})
    with pytest.raises(ValueError, match="Out of range float values"):
        write_json_atomic(tmp_path / "a.json", {"rate": float("nan")})
    with pytest.raises(UnicodeEncodeError):
        write_text_atomic(tmp_path / "a.json", "\ud800")
    assert json.loads((tmp_path / "a.json").read_text()) == {"rate": 1.0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_an_error_of_the_disk_names_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.mkdir()
    with pytest.raises(OSError, match="a.json") as caught:
        write_text_atomic(target, "text")
    assert caught.value.errno in (errno.EISDIR, errno.ENOTEMPTY, errno.EEXIST)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_text_that_lost_bytes_on_the_disk_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "getsize", lambda path: 3)
    with pytest.raises(OSError, match="fewer bytes are on the disk than were written.*a.txt"):
        write_text_atomic(tmp_path / "a.txt", "four")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_atomically(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    for text in ("old", "new"):
        with atomic_folder(folder) as temporary:
            (temporary / f"{text}.txt").write_text(text)
            assert not (folder / f"{text}.txt").exists()
        assert [path.name for path in folder.iterdir()] == [f"{text}.txt"]
    with pytest.raises(ZeroDivisionError), atomic_folder(folder) as temporary:
        (temporary / "half.txt").write_text(str(1 / 0))
    assert [path.name for path in folder.iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

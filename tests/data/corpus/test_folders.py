"""Each real folder is searched once, however many links point to it, and unreadable ones are reported."""

from __future__ import annotations

import ctypes
import ctypes.util
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vjepa_world.data.corpus.describe import describe_videos
from vjepa_world.data.corpus.folders import WalkLog, expand_glob, walk


def tree(root: Path, *files: str) -> Path:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text(file)
    return root


def walked_files(root: Path) -> list[str]:
    return [
        os.path.relpath(os.path.join(folder, name), root) for folder, _, files in walk(root) for name in files
    ]


def test_all_files_in_a_fixed_order(tmp_path: Path) -> None:
    tree(tmp_path, "b.mp4", "a.mp4", "z/1.mp4", "c/deep/2.mp4", "c/3.mp4")
    assert walked_files(tmp_path) == ["a.mp4", "b.mp4", "c/3.mp4", "c/deep/2.mp4", "z/1.mp4"]


def test_circular_links_are_followed_once(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a/1.mp4", "b/2.mp4")
    for folder, links in (("a", ("up", "side")), ("b", ("up", "side", "self")), (".", ("x", "y"))):
        for link in links:
            (root / folder / link).symlink_to({"self": ".", "side": "../a"}.get(link, ".."))
    assert walked_files(root)[:2] == ["a/1.mp4", "b/2.mp4"]
    # x and y lead above the root, whose other folders are walked too, once.
    assert len([name for name in walked_files(root) if name.endswith(".mp4")]) == 2


def test_a_folders_own_path_is_preferred_to_that_of_a_link(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "real/1.mp4")
    (root / "alias").symlink_to("real")
    assert walked_files(root) == ["real/1.mp4"]
    tree(tmp_path / "elsewhere", "2.mp4")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    assert walked_files(root) == ["real/1.mp4", "linked/2.mp4"]


def test_excluded_folders_are_not_entered(tmp_path: Path) -> None:
    tree(tmp_path, "a/1.mp4", "b/2.mp4")
    found = []
    for folder, folders, _ in walk(tmp_path):
        found.append(os.path.basename(folder))
        folders[:] = [name for name in folders if name != "a"]
    assert found == [tmp_path.name, "b"]


def test_a_glob_gives_each_match_once_and_terminates(tmp_path: Path) -> None:
    root = tree(tmp_path / "root", "a/1.mp4", "a/b/2.mp4", "3.mp4", ".hidden/4.mp4", "a/.5.mp4")
    (root / "a/loop").symlink_to("..")
    (root / "a/again").symlink_to("..")

    def matches(pattern: str) -> list[str]:
        return [os.path.relpath(match, root) for match in expand_glob(f"{root}/{pattern}")]

    assert matches("**/*.mp4") == ["3.mp4", "a/1.mp4", "a/b/2.mp4"]
    assert matches("*/*.mp4") == ["a/1.mp4"]
    assert matches("a/**/?.mp4") == ["a/1.mp4", "a/again/3.mp4", "a/b/2.mp4"]
    assert matches("[a]/[12].mp4") == ["a/1.mp4"]
    assert matches("a/.*.mp4") == ["a/.5.mp4"]
    assert matches("nowhere/*") == [] == matches("3.mp4/*")


def without_root_permissions(check: Callable[[Any], None], *arguments: Any) -> None:
    """Call in a process that, if run by root, may not read files of other users."""

    def called() -> None:
        libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        if os.geteuid() == 0:
            os.setgroups([])
            assert libc.setresgid(65533, 65533, 65533) == 0
            assert libc.setresuid(65533, 65533, 65533) == 0
        check(*arguments)

    process = multiprocessing.get_context("fork").Process(target=called)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Return a folder with one that cannot be listed, and a file that cannot be read."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.owner() == Path.home().owner() and str(folder).startswith("/tmp/pytest-of-"):
            folder.chmod(0o755)
    root = tree(tmp_path / "root", "a/1.mp4", "locked/2.mp4", "b/3.mp4")
    (root / "locked").chmod(0)
    (root / "b/3.mp4").chmod(0)
    return root


def check_locked(root: Path) -> None:
    walked = WalkLog()
    found = [os.path.relpath(folder, root) for folder, _, _ in walk(root, walked)]
    assert found == [".", "a", "b"]
    [(path, reason)] = walked.unreadable
    assert path == str(root / "locked")
    assert reason.startswith(f"Cannot list {root}/locked: Permission denied")
    walked = WalkLog()
    assert expand_glob(f"{root}/*/*.mp4", walked) == [f"{root}/a/1.mp4", f"{root}/b/3.mp4"]
    assert [name for name, _ in walked.unreadable] == [str(root / "locked")]


def test_a_folder_without_permission_is_reported(locked: Path) -> None:
    without_root_permissions(check_locked, locked)


def check_corpus(root: Path) -> None:
    bad = describe_videos(root).bad
    assert len(bad) == 3
    assert "Cannot list" in bad[0] and "locked: Permission denied" in bad[0]
    assert any(f"Cannot open {root}/b/3.mp4: Permission denied" in reason for reason in bad)


def test_a_corpus_counts_unreadable_files(locked: Path) -> None:
    """1.mp4 is text."""
    describe_videos(
        locked.parent / "root" / "a" / "1.mp4"
    )  # imports all: without the right, Python's own files are locked
    without_root_permissions(check_corpus, locked)

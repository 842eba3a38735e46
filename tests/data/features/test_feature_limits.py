"""Caches above the size limit are evicted, least recently used first, never one in use."""

from __future__ import annotations

import gc
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.data.feature_builds import Counting, build, key_of, write_dataset
from vjepa_world.data.features import limits as feature_limits
from vjepa_world.data.features.limits import LAST_USE, Lease, caches, check_disk, evict_caches, size_bytes
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import ConfigError, DataError

SIZE = 1000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a folder of caches a, b, c and d, used in this order, and a folder that is not a cache."""
    root = tmp_path / "caches"
    for age, name in enumerate("abcd"):
        with Lease(root / name, create=True):
            (root / name / "shard").write_bytes(b"\0" * SIZE)
        os.utime(root / name / LAST_USE, (1000.0 + age, 1000.0 + age))
    (root / "mine").mkdir()
    (root / "mine" / "work").write_bytes(b"\0" * 10 * SIZE)
    return root


def names(root: Path) -> Sequence[str]:
    return sorted(folder.name for folder in root.iterdir())


def test_the_least_recently_used_go_first(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vjepa_world")
    with Lease(root / "a"):
        pass
    assert [cache.name for cache in caches(root)] == ["b", "c", "d", "a"]
    assert evict_caches(root / "new", 2 * SIZE, 4.5e-6) == [root / "b", root / "c"]
    assert names(root) == ["a", "d", "mine"]
    assert [message.split()[1] for message in caplog.messages] == [str(root / "b"), str(root / "c")]
    assert evict_caches(root / "new", 2 * SIZE, 4.5e-6) == []


def test_the_cache_being_filled_is_not_evicted(root: Path) -> None:
    assert evict_caches(root / "a", SIZE, 1.5e-6) == [root / "b", root / "c", root / "d"]
    assert names(root) == ["a", "mine"]


def test_a_cache_in_use_is_never_evicted(root: Path) -> None:
    lease, second = Lease(root / "b"), Lease(root / "b")
    os.utime(root / "b" / LAST_USE, (1.0, 1.0))
    lease.close()
    assert evict_caches(root / "new", SIZE, 2.5e-6) == [root / "a", root / "c", root / "d"]
    with pytest.raises(DataError, match=r"left is in use, or another user's: b. Wait, or raise limit_gb"):
        evict_caches(root / "new", SIZE, 1.5e-6)
    assert names(root) == ["b", "mine"]
    second.close()
    assert evict_caches(root / "new", SIZE, 1.5e-6) == [root / "b"]


def test_an_unreferenced_lease_is_released(root: Path) -> None:
    lease = Lease(root / "a")
    os.utime(root / "a" / LAST_USE, (1.0, 1.0))
    assert evict_caches(root / "new", SIZE, 4.5e-6) == [root / "b"]
    (root / "c" / "shard").write_bytes(b"\0" * 2 * SIZE)
    del lease
    gc.collect()
    assert evict_caches(root / "new", SIZE, 4.5e-6) == [root / "a"]


def test_a_cache_in_use_by_another_process_is_not_evicted(root: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vjepa_world.data.features.limits import Lease\n"
        "lease = Lease(Path(sys.argv[1])); sys.stdout.write('ready\\n'); sys.stdout.flush(); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root / "a")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        os.utime(root / "a" / LAST_USE, (1.0, 1.0))
        assert evict_caches(root / "new", SIZE, 4.5e-6) == [root / "b"]
        child.communicate("")
    assert evict_caches(root / "new", SIZE, 3.5e-6) == [root / "a"]


def test_a_cache_removed_while_it_is_opened_is_rebuilt(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = feature_limits.fcntl.flock
    removals: list[bool] = []

    def removed_before(handle: int, operation: int) -> None:
        if not removals:
            removals.append(True)
            feature_limits.shutil.rmtree(root / "a")
        lock(handle, operation)

    monkeypatch.setattr(feature_limits.fcntl, "flock", removed_before)
    lease = Lease(root / "a", create=True)
    assert removals
    assert (root / "a" / LAST_USE).is_file()
    assert not feature_limits._remove(root / "a")
    lease.close()
    assert feature_limits._remove(root / "a")


def test_a_cache_larger_than_the_limit_is_refused(root: Path) -> None:
    with pytest.raises(ConfigError, match=r"take 0.01 MB, and limit_gb=5e-06 allows less.*raise it"):
        evict_caches(root / "new", 10 * SIZE, 5e-6)
    assert names(root) == ["a", "b", "c", "d", "mine"]


def test_a_small_disk_is_refused(root: Path) -> None:
    with pytest.raises(
        DataError, match=r"need 1000000000.00 GB more, and its disk has .*other caches.*: 0.00 MB"
    ):
        check_disk(root / "a", 10**18)
    check_disk(root / "a", SIZE)


def test_a_build_evicts_old_caches_to_make_room(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset, cache = LeRobotDataset(write_dataset(tmp_path / "set")), tmp_path / "cache"
    folders = []
    for encoder in ("e1", "e2"):
        with build(dataset, cache, key=key_of(dataset, encoder=encoder)) as store:
            folders.append(store.folder)
    with build(dataset, cache, key=key_of(dataset, encoder="e1")):  # used last
        pass
    one = size_bytes(folders[0])
    caplog.set_level(logging.INFO, logger="vjepa_world")
    store = build(dataset, cache, key=key_of(dataset, encoder="e3"), limit_gb=2.5e-9 * one)
    assert sorted(cache.iterdir()) == sorted([folders[0], store.folder])
    assert f"removed {folders[1]}" in caplog.text
    with pytest.raises(DataError, match=rf"left is in use, or another user's: {store.folder.name}"):
        build(dataset, cache, key=key_of(dataset, encoder="e4"), limit_gb=1.5e-9 * one)
    counting = Counting()
    with pytest.raises(ConfigError, match="raise it, or keep fewer tokens, cameras or thumbnails"):
        build(dataset, cache, counting, key=key_of(dataset, encoder="e5"), limit_gb=1e-7)
    assert counting.frames == 0

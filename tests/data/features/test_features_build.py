"""Killed, shared and repaired builds, and broken files: the same features, or an error with the reason."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.feature_builds import (
    LENGTHS,
    SHARD_FRAMES,
    TOKENS,
    WIDTH,
    Counting,
    TwoCameras,
    build,
    encode,
    key_of,
    write_dataset,
)
from tests.training.processes import kill, start, wait, wait_for_success, wait_until
from vjepa_world.data.features import shards as feature_shards
from vjepa_world.data.features.cache import FeatureStore, open_features
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import ConfigError, DataError

FRAMES = sum(map(sum, LENGTHS))
BUILDS = ["-m", "tests.data.feature_builds"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("builds") / "set")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_shards, "SHARD_FRAMES", SHARD_FRAMES)


@pytest.fixture(scope="module")
def whole(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureStore]:
    """Built at once, in one process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_shards, "SHARD_FRAMES", SHARD_FRAMES)
        store = build(LeRobotDataset(path), tmp_path_factory.mktemp("whole"))
    yield store
    store.close()


def contents(folder: Path) -> dict[str, bytes]:
    kinds = ("*.safetensors", "about.json", "plan.json")
    return {file.name: file.read_bytes() for kind in kinds for file in folder.glob(kind)}


def shards(root: Path) -> list[Path]:
    return sorted(root.glob("*/shard-*.safetensors"))


def test_batches_reach_across_episodes(path: Path, tmp_path: Path, whole: FeatureStore) -> None:
    encoder = Counting()
    build(LeRobotDataset(path), tmp_path, encoder)
    assert (encoder.frames, encoder.most) == (FRAMES, 5)
    again = Counting()
    assert contents(build(LeRobotDataset(path), tmp_path, again).folder) == contents(whole.folder)
    assert again.frames == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_features_do_not_depend_on_the_number_of_decoding_processes(
    path: Path, tmp_path: Path, whole: FeatureStore, workers: int
) -> None:
    store = build(LeRobotDataset(path), tmp_path, workers=workers)
    assert contents(store.folder) == contents(whole.folder)


def test_long_episodes_are_decoded_in_chunks(
    path: Path, tmp_path: Path, whole: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vjepa_world.data.features.encoding._CHUNK_ROWS", 4)
    assert contents(build(LeRobotDataset(path), tmp_path).folder) == contents(whole.folder)


def test_a_killed_build_resumes(path: Path, tmp_path: Path, whole: FeatureStore) -> None:
    (child,) = start([*BUILDS, str(path), str(tmp_path), "0.3"], tmp_path)
    assert wait_until(lambda: bool(shards(tmp_path)), child)
    kill(child, signal.SIGKILL)
    wait([child])
    there = len(shards(tmp_path))
    assert 1 <= there < 3
    folder = shards(tmp_path)[0].parent
    with pytest.raises(DataError, match=r"about.json is missing: the features are not built yet"):
        open_features(folder, whole.key)
    (folder / ".shard-00001.123.tmp.safetensors").write_bytes(b"half")
    encoder = Counting()
    store = build(LeRobotDataset(path), tmp_path, encoder)
    assert encoder.frames == {1: 17 + 11, 2: 11}[there]
    assert contents(store.folder) == contents(whole.folder)
    assert not list(folder.glob(".*"))


def test_ctrl_c_keeps_finished_shards(path: Path, tmp_path: Path, whole: FeatureStore) -> None:
    class Interrupted(Counting):
        def __call__(self, frames: Tensor) -> Tensor:
            if self.frames > 30:
                raise KeyboardInterrupt
            return super().__call__(frames)

    with pytest.raises(KeyboardInterrupt):
        build(LeRobotDataset(path), tmp_path, Interrupted())
    assert [file.name for file in shards(tmp_path)] == ["shard-00000.safetensors"]
    encoder = Counting()
    assert contents(build(LeRobotDataset(path), tmp_path, encoder).folder) == contents(whole.folder)
    assert encoder.frames == 17 + 11


def test_two_processes_share_a_build(path: Path, tmp_path: Path, whole: FeatureStore) -> None:
    finished = wait_for_success(start([*BUILDS, str(path), str(tmp_path), "0"], tmp_path, world_size=2))
    assert sorted(int(one.out.split()[1]) for one in finished) == [17, 19 + 11]
    assert contents(shards(tmp_path)[0].parent) == contents(whole.folder)


def test_another_run_waits_and_finds_everything(path: Path, tmp_path: Path, whole: FeatureStore) -> None:
    words = [*BUILDS, str(path), str(tmp_path), "0.1"]
    finished = wait_for_success([*start(words, tmp_path), *start(words, tmp_path)])
    assert sorted(int(one.out.split()[1]) for one in finished) == [0, FRAMES]
    assert contents(shards(tmp_path)[0].parent) == contents(whole.folder)


@pytest.mark.parametrize("damage", ["truncated", "gone", "empty", "other"])
def test_a_broken_shard_is_refused_and_recomputed(
    path: Path, tmp_path: Path, whole: FeatureStore, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = build(LeRobotDataset(path), tmp_path)
    broken = store.folder / "shard-00001.safetensors"
    if damage == "gone":
        broken.unlink()
    elif damage == "other":
        broken.write_bytes((store.folder / "shard-00002.safetensors").read_bytes())
    else:
        broken.write_bytes(broken.read_bytes()[:-2] if damage == "truncated" else b"")
    with pytest.raises(DataError, match=r"shard-00001.safetensors is damaged \(\d+ bytes, expected \d+\)"):
        open_features(store.folder, store.key)
    encoder = Counting()
    caplog.set_level(logging.WARNING, logger="vjepa_world")
    assert contents(build(LeRobotDataset(path), tmp_path, encoder).folder) == contents(whole.folder)
    assert encoder.frames == 17
    assert "1 of 3 shards are damaged or missing" in caplog.text


def broken_copy(path: Path) -> Path:
    """Write the dataset with a second video file, that of episodes 3 and 4, that is not a video."""
    copy = write_dataset(path)
    video = max(copy.glob("videos/**/*.mp4"))
    video.write_bytes(b"\0" * video.stat().st_size)
    return copy


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_episodes_are_left_out_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    caplog.set_level(logging.WARNING, logger="vjepa_world")
    path = broken_copy(tmp_path / "set")
    store = build(LeRobotDataset(path), tmp_path / "cache", workers=workers, max_bad_fraction=0.4)
    assert store.lengths == {0: 12, 1: 7, 2: 9}
    assert sorted(store.bad) == [3, 4]
    assert len([text for text in caplog.messages if text.startswith("Skipped: ")]) == 2
    # The third shard holds a good episode and a bad one.
    found = store.features(2, np.arange(9), "main")
    direct = encode(LeRobotDataset(path).episode(2).frames()).to(torch.bfloat16)
    torch.testing.assert_close(found, direct, rtol=2**-7, atol=1e-6)
    with pytest.raises(DataError, match=r"no features of episode 3: .*mp4"):
        store.features(3, np.array([0]), "main")
    again = Counting()
    assert build(LeRobotDataset(path), tmp_path / "cache", again, max_bad_fraction=0.4).bad == store.bad
    assert again.frames == 0


def test_too_many_bad_episodes_stop_and_are_listed(tmp_path: Path) -> None:
    path = broken_copy(tmp_path / "set")
    message = r"1 of 5 episodes are bad; data.max_bad_fraction=0.1 allows 0.*\n  .*mp4"
    with pytest.raises(DataError, match=message):
        build(LeRobotDataset(path), tmp_path / "cache", max_bad_fraction=0.1)
    build(LeRobotDataset(path), tmp_path / "cache", max_bad_fraction=0.4)
    with pytest.raises(DataError, match=r"2 of 5 episodes are bad; data.max_bad_fraction=0.1 allows 0"):
        build(LeRobotDataset(path), tmp_path / "cache", max_bad_fraction=0.1)


def test_rows_that_cannot_be_read_are_left_out(path: Path, tmp_path: Path) -> None:
    class Missing(TwoCameras):
        def episode(self, index: int) -> Trajectory:
            if index == 1:
                raise DataError("episode 1 has a state that is not finite")
            return super().episode(index)

    store = build(Missing(path), tmp_path, max_bad_fraction=0.2)
    assert store.lengths == {0: 12, 2: 9, 3: 8, 4: 11}
    assert store.bad == {1: "episode 1 has a state that is not finite"}
    rows = np.arange(8)
    direct = encode(TwoCameras(path).episode(3).frames(rows, "mirror")).to(torch.bfloat16)
    torch.testing.assert_close(store.features(3, rows, "mirror"), direct, rtol=2**-7, atol=1e-6)


def test_a_dead_worker_is_reported(path: Path, tmp_path: Path, whole: FeatureStore) -> None:
    class Deadly(LeRobotDataset):
        def episode(self, index: int) -> Trajectory:
            if index == 4 and os.getpid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().episode(index)

    parent = os.getpid()
    with pytest.raises(
        DataError, match=r"was killed by SIGKILL while it was reading camera '\w+' of episode 4"
    ):
        build(Deadly(path), tmp_path, workers=1)
    encoder = Counting()
    assert contents(build(LeRobotDataset(path), tmp_path, encoder).folder) == contents(whole.folder)
    assert encoder.frames < FRAMES


def test_a_dataset_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "set")
    video = min(path.glob("videos/**/*.mp4"))

    def touching(frames: Tensor) -> Tensor:
        os.utime(video, (1.0, 1.0))
        return encode(frames)

    with pytest.raises(DataError, match="changed while its features were computed, which were removed"):
        build(LeRobotDataset(path), tmp_path / "cache", touching)
    assert shards(tmp_path / "cache") == []


@pytest.mark.parametrize(
    ("encoder", "error", "message"),
    [
        (
            lambda frames: encode(frames)[:, :4],
            ConfigError,
            r"gives features \(5, 4, 8\) of 5 frames, .*\(5, 16, 8\)",
        ),
        (
            lambda frames: encode(frames) / 0,
            DataError,
            "camera 'main' of episodes 0 to 1 of .* are not finite.*float32",
        ),
    ],
)
def test_features_of_a_wrong_shape_or_not_finite_are_refused(
    path: Path,
    tmp_path: Path,
    encoder: Callable[[Tensor], Tensor],
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error, match=message):
        build(LeRobotDataset(path), tmp_path, encoder)
    assert shards(tmp_path) == []


def test_an_unknown_camera_is_refused(path: Path, tmp_path: Path) -> None:
    dataset = LeRobotDataset(path)
    with pytest.raises(ConfigError, match="has no camera 'wrist'; its cameras: main"):
        build(dataset, tmp_path, key=key_of(dataset, cameras=("wrist",)))


def test_the_size_is_logged_before_the_build(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="vjepa_world")
    dataset = TwoCameras(path)
    store = build(dataset, tmp_path, key=key_of(dataset, thumbnail=6))
    size = FRAMES * 2 * (2 * TOKENS * WIDTH + 3 * 6 * 6)
    assert f"{FRAMES} frames x 2 cameras x {TOKENS} tokens x {WIDTH} numbers" in caplog.text
    assert f"and thumbnails of 6 pixels take {size / 1e6:.2f} MB in {store.folder}" in caplog.text
    stored = sum(file.stat().st_size for file in shards(tmp_path))
    assert size <= stored < size + 3 * 2000  # and three headers


def test_a_full_disk_is_reported(path: Path, tmp_path: Path) -> None:
    (finished,) = wait(start([*BUILDS, str(path), str(tmp_path), "0"], tmp_path, file_limit_kb=4))
    assert finished.code == 1
    assert "shard-00000.safetensors: File too large" in finished.error
    assert "free some space" in finished.error
    (folder,) = [entry for entry in tmp_path.iterdir() if entry.is_dir()]
    assert sorted(file.name for file in folder.iterdir()) == ["building", "last_use", "plan.json"]

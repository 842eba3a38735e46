"""Cached features are read as computed; those of another key or broken ones are refused by name."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data import feature_builds
from tests.data.feature_builds import (
    SHARD_FRAMES,
    TOKENS,
    WIDTH,
    TwoCameras,
    build,
    encode,
    key_of,
    write_dataset,
)
from tests.hostile import mutations
from vjepa_world.data.features import shards as feature_shards
from vjepa_world.data.features.cache import FeatureKey, FeatureStore, open_features
from vjepa_world.data.features.shards import Plan
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.pixels import resize_frames

LENGTHS = [length for file in feature_builds.LENGTHS for length in file]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> TwoCameras:
    return TwoCameras(write_dataset(tmp_path_factory.mktemp("features") / "set"))


@pytest.fixture(scope="module")
def store(dataset: TwoCameras, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_shards, "SHARD_FRAMES", SHARD_FRAMES)
        return build(dataset, tmp_path_factory.mktemp("cache"), key=key_of(dataset, thumbnail=12))


def frames_of(dataset: TwoCameras, episode: int, rows: np.ndarray, camera: str) -> Tensor:
    return dataset.episode(episode).frames(rows, camera)


def test_features_of_every_frame_are_equal_up_to_rounding(dataset: TwoCameras, store: FeatureStore) -> None:
    assert store.lengths == dict(enumerate(LENGTHS))
    assert store.bad == {}
    assert len(list(store.folder.glob("*.safetensors"))) == 3
    for camera in dataset.cameras:
        for episode, length in enumerate(LENGTHS):
            rows = np.arange(length)
            found = store.features(episode, rows, camera)
            assert found.dtype == torch.bfloat16
            direct = encode(frames_of(dataset, episode, rows, camera)).to(torch.bfloat16)
            # Another size of batch may round otherwise by the last of bfloat16's 8 bits.
            torch.testing.assert_close(found, direct, rtol=2**-7, atol=1e-6)


def test_windows_are_gathered_across_shards_and_cameras(dataset: TwoCameras, store: FeatureStore) -> None:
    rng = np.random.default_rng(0)
    episodes = rng.integers(len(LENGTHS), size=40)
    rows = np.stack([rng.integers(LENGTHS[episode], size=3) for episode in episodes])
    cameras = [dataset.cameras[index] for index in rng.integers(2, size=40)]
    found = store.gather(episodes, rows, cameras)
    pictures = store.thumbnails(episodes, rows, cameras)
    assert found.shape == (40, 3, TOKENS, WIDTH)
    assert (pictures.shape, pictures.dtype) == ((40, 3, 3, 12, 12), torch.uint8)
    for window, (episode, camera) in enumerate(zip(episodes.tolist(), cameras, strict=True)):
        frames = frames_of(dataset, episode, rows[window], camera)
        torch.testing.assert_close(found[window], encode(frames).to(torch.bfloat16), rtol=2**-7, atol=1e-6)
        assert torch.equal(pictures[window], resize_frames(frames, 12))
        again = store.features(episode, rows[window].reshape(3, 1), camera)
        assert torch.equal(again, found[window].unsqueeze(1))
    assert store.gather(np.empty(0), np.empty((0, 3)), []).shape == (0, 3, TOKENS, WIDTH)


def test_returned_tensors_may_be_modified(store: FeatureStore) -> None:
    before = store.features(1, np.array([2]), "main")
    store.features(1, np.array([2]), "main").zero_()
    assert torch.equal(store.features(1, np.array([2]), "main"), before)
    assert before.any()


def test_another_process_can_open_the_cache(store: FeatureStore) -> None:
    copy = pickle.loads(pickle.dumps(store))
    assert torch.equal(copy.features(4, np.arange(5), "mirror"), store.features(4, np.arange(5), "mirror"))
    copy.close()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        total = pool.apply(_total, (store,))
    assert total == store.features(0, np.arange(12), "main").float().sum().item()


def _total(store: FeatureStore) -> float:
    return store.features(0, np.arange(12), "main").float().sum().item()


def test_shards_are_memory_mapped(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.safetensors"
    content = feature_shards.ShardContent(((0, 20_000),), {})
    values = torch.arange(20_000, dtype=torch.bfloat16).view(-1, 1, 1).expand(-1, 16, 192).contiguous()
    feature_shards.write_shard(path, {"features.main": values}, content)
    del values
    before = _resident_bytes()
    mapped = feature_shards.map_shard(path, ["features.main"])["features.main"]
    assert _resident_bytes() - before < path.stat().st_size / 4
    assert mapped[[0, 256, 19_968], 3, 7].tolist() == [0.0, 256.0, 19_968.0]


def _resident_bytes() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) << 10
    raise AssertionError("VmRSS is not told")


@pytest.mark.parametrize(
    ("episodes", "rows", "cameras", "message"),
    [
        ([5], [[0]], ["main"], "no features of episode 5: it has 5 episodes"),
        ([-1], [[0]], ["main"], "no features of episode -1"),
        ([1, 2], [[0, 6], [0, 9]], ["main"] * 2, r"episode 2 has no row 9; it has 9, counted from 0"),
        ([1], [[-1]], ["main"], "episode 1 has no row -1; it has 7"),
        ([1], [[0]], ["wrist"], "no camera 'wrist'; its cameras: main, mirror"),
    ],
)
def test_indices_out_of_range_are_reported(
    store: FeatureStore, episodes: list[int], rows: list[list[int]], cameras: list[str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        store.gather(np.array(episodes), np.array(rows), cameras)
    with pytest.raises(DataError, match=message):
        store.thumbnails(np.array(episodes), np.array(rows), cameras)


def test_thumbnails_that_were_not_stored_are_refused(dataset: TwoCameras, tmp_path: Path) -> None:
    with (
        build(dataset, tmp_path) as store,
        pytest.raises(DataError, match="no thumbnails; build features with a"),
    ):
        store.thumbnails(np.array([0]), np.array([[0]]), ["main"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "e2"}, r"encoder is 'e1' there and 'e2' here \(the encoder has other weights\)"),
        ({"preprocessing": "crop"}, "preprocessing is '0 to 1' there and 'crop' here"),
        ({"dataset": "d2"}, r"dataset is '\w+' there and 'd2' here \(the dataset's files have changed"),
        ({"cameras": ("main",)}, r"cameras is \['main', 'mirror'\] there and \['main'\] here"),
        ({"tokens": 4}, "tokens is 16 there and 4 here"),
        ({"width": 4}, "width is 8 there and 4 here"),
        ({"thumbnail": 0}, "thumbnail is 12 there and 0 here"),
    ],
)
def test_features_of_another_key_are_refused(
    dataset: TwoCameras, store: FeatureStore, changes: dict[str, object], message: str
) -> None:
    key = key_of(dataset, **{"thumbnail": 12, **changes})
    with pytest.raises(
        DataError, match=f"holds other features: {message}.*build the features again in another folder"
    ):
        open_features(store.folder, key)
    assert key.folder(store.folder.parent, dataset) != store.folder


def test_a_changed_file_makes_them_stale(tmp_path: Path) -> None:
    path = write_dataset(tmp_path / "set")
    first = build(LeRobotDataset(path), tmp_path / "cache")
    video = min(path.glob("videos/**/*.mp4"))
    video.write_bytes(video.read_bytes() + b"\0" * 8)
    changed = LeRobotDataset(path)
    with pytest.raises(DataError, match="dataset is .* there and .* here"):
        open_features(first.folder, key_of(changed))
    assert build(changed, tmp_path / "cache").folder != first.folder
    with pytest.raises(ConfigError, match="its files have changed since"):
        build(changed, tmp_path / "cache", key=first.key)


def test_an_incomplete_cache_is_refused(dataset: TwoCameras, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder. Build them first"):
        open_features(tmp_path / "nowhere", key_of(dataset))
    with pytest.raises(DataError, match=r"about.json is missing: the features are not built yet"):
        open_features(tmp_path, key_of(dataset))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": ()}, "name at least one"),
        ({"cameras": ("main", "main")}, "each once"),
        ({"tokens": 0}, "tokens of a feature cache is 0; give at least 1"),
        ({"width": 0}, "width of a feature cache is 0"),
        ({"thumbnail": -1}, "thumbnail of a feature cache is -1; give at least 0"),
    ],
)
def test_impossible_keys_are_refused(changes: dict[str, object], message: str) -> None:
    parts = {"encoder": "", "preprocessing": "", "dataset": "", "cameras": ("a",), "tokens": 1, "width": 1}
    with pytest.raises(ConfigError, match=message):
        FeatureKey(**(parts | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["about.json", "plan.json"])
def test_every_wrong_value_of_a_caches_metadata_is_refused(
    dataset: TwoCameras, tmp_path: Path, name: str
) -> None:
    key = key_of(dataset)
    folder = build(dataset, tmp_path, key=key).folder
    file = folder / name
    whole, refused = json.loads(file.read_text()), 0
    for _what, content in mutations(whole):
        file.write_text(json.dumps(content))
        try:
            if name == "plan.json":
                Plan.read(folder)
            else:
                store = open_features(folder, key)
                store.features(0, np.arange(3), "main")
                store.close()
        except DataError:
            refused += 1
    assert refused > 200

"""Complete episodes of a LeRobotDataset are used even if others are incomplete, which are reported."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.conftest import SHARD_LENGTHS, episode_arrays
from tests.data.v21_files import numbers, write_v21
from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import DataError

LENGTHS = (4, 3, 5, 6)
TABLE = "meta/episodes/chunk-000/file-000.parquet"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "set", LENGTHS)


def check_holds(root: Path, kept: tuple[int, ...]) -> LeRobotDataset:
    """Check that a dataset holds these of the written episodes, each with its own numbers, and return it."""
    dataset = LeRobotDataset(root)
    assert dataset.num_episodes == len(kept)
    for place, number in enumerate(kept):
        episode = dataset.episode(place)
        assert np.array_equal(episode.states, numbers(number, LENGTHS[number])["observation.state"])
        assert episode.index == place and episode.name == f"episode {number} of {root}"
        assert episode.task == f"task {number % 2}"
    return dataset


def keep_lines(root: Path, kept: tuple[int, ...]) -> None:
    file = root / "meta/episodes.jsonl"
    lines = [line for line in file.read_text().splitlines() if json.loads(line)["episode_index"] in kept]
    file.write_text("\n".join(lines) + "\n")


def delete(root: Path, episode: int) -> None:
    """Delete an episode's files."""
    for file in root.rglob(f"episode_{episode:06d}.*"):
        file.unlink()


@pytest.mark.parametrize(
    ("kept", "named"),
    [
        ((0, 2, 3), "episode 1"),
        ((2, 3), "episodes 0 to 1 (2 in all)"),
        ((3,), "episodes 0 to 2 (3 in all)"),
        ((1, 3), "episodes 0, 2 (2 in all)"),
    ],
)
def test_unlisted_episodes_do_not_affect_the_others(
    root: Path, kept: tuple[int, ...], named: str, caplog: pytest.LogCaptureFixture
) -> None:
    keep_lines(root, kept)
    for episode in set(range(4)) - set(kept):
        delete(root, episode)
    with caplog.at_level(logging.WARNING):
        dataset = check_holds(root, kept)
    left_out = dataset.about["left_out"]
    assert left_out[named] == "not in meta/episodes.jsonl"
    assert f"meta/info.json declares 4 episodes and 18 frames, the list has {len(kept)}" in left_out["totals"]
    assert named in caplog.text


@pytest.mark.parametrize("file", ["data/*/episode_000001.parquet", "videos/*/*wrist/episode_000001.mp4"])
def test_episodes_with_missing_files_do_not_affect_the_others(root: Path, file: str) -> None:
    """As after a download of some episodes: the episode list is complete."""
    (path,) = root.glob(file)
    path.unlink()
    dataset = check_holds(root, (0, 2, 3))
    assert dataset.about["left_out"] == {"episode 1": f"files are missing, the first {path}"}
    # A camera that is not asked for need not be there.
    if path.suffix == ".mp4":
        assert LeRobotDataset(root, cameras=("front",)).num_episodes == 4


def test_no_episode_at_all_is_an_error(root: Path) -> None:
    keep_lines(root, ())
    with pytest.raises(DataError, match="set lists no episode; expected at least one"):
        LeRobotDataset(root)


def test_no_episode_with_files_is_an_error(root: Path) -> None:
    shutil.rmtree(root / "data")
    with pytest.raises(
        DataError, match=r"episode_000000.parquet is missing; .* none of the 4 episodes has all"
    ):
        LeRobotDataset(root)


@pytest.mark.parametrize(
    "totals",
    [
        {"total_frames": 999},
        {"total_episodes": 7},
        {"total_episodes": 0},
        {"total_episodes": -1},
        {"total_episodes": None},
        {"total_frames": "many"},
        {"total_frames": float("nan")},
    ],
)
def test_stale_totals_are_reported_and_the_list_is_used(root: Path, totals: dict[str, object]) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    (root / "meta/info.json").write_text(json.dumps(info | totals))
    dataset = check_holds(root, (0, 1, 2, 3))
    assert list(dataset.about["left_out"]) == ["totals"]


def test_an_episode_listed_twice_is_left_out_if_the_lines_differ(root: Path) -> None:
    file = root / "meta/episodes.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines, lines[2]]))
    assert "left_out" not in check_holds(root, (0, 1, 2, 3)).about
    other = json.dumps(json.loads(lines[2]) | {"length": 4})
    file.write_text("\n".join([*lines, other]))
    dataset = check_holds(root, (0, 1, 3))
    assert dataset.about["left_out"]["episode 2"] == "listed several times, and differently"


def test_a_complete_dataset_has_nothing_left_out(root: Path, dataset_root: Path) -> None:
    assert "left_out" not in check_holds(root, (0, 1, 2, 3)).about
    assert "left_out" not in LeRobotDataset(dataset_root).about


def _drop_rows(root: Path) -> None:
    table = pq.read_table(root / TABLE)
    pq.write_table(table.filter(pa.array([False, True, True, False, True])), root / TABLE)


def _drop_file(root: Path) -> None:
    (root / "data/chunk-000/file-000.parquet").unlink()


@pytest.mark.parametrize(
    ("harm", "kept", "named"),
    [
        (_drop_rows, (1, 2, 4), "episodes 0, 3 (2 in all)"),
        (_drop_file, (3, 4), "episodes 0 to 2 (3 in all)"),
    ],
)
def test_unlisted_episodes_of_v3_do_not_affect_the_others(
    dataset_root: Path, tmp_path: Path, harm: Callable[[Path], None], kept: tuple[int, ...], named: str
) -> None:
    root = shutil.copytree(dataset_root, tmp_path / "copy")
    harm(root)
    dataset = LeRobotDataset(root)
    positions = [
        (shard, sum(ls[:i]), ls[i]) for shard, ls in enumerate(SHARD_LENGTHS) for i in range(len(ls))
    ]
    assert dataset.num_episodes == len(kept)
    for place, number in enumerate(kept):
        states = episode_arrays(*positions[number])[1]
        assert np.array_equal(dataset.episode(place).states, states)
    assert named in dataset.about["left_out"]


def test_a_subset_gives_clips_too(root: Path) -> None:
    keep_lines(root, (1, 3))
    corpus = find_videos(str(root))
    assert {segment.path.name for segment in corpus.segments} == {"episode_000001.mp4", "episode_000003.mp4"}

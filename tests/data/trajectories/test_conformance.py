"""One suite over every format: written data is read back, and problems are reported."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from tests.data.coded_video import read_codes
from tests.data.trajectories.makers import BY_NAME, KINDS, LENGTHS, Content, Kind, changed, code, contents
from vjepa_world.data.trajectories.registry import Format, find_format, is_trajectories, open_trajectories
from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import PLAIN, Convention

NAMES = [kind.name for kind in KINDS]
WITH_FRAMES = [kind.name for kind in KINDS if kind.cameras]
# A LeRobot dataset is made by a writer that refuses bad numbers; what its reader refuses is tested separately.
FOREIGN = [name for name in NAMES if not name.startswith("lerobot")]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a finished dataset of every format, by its name; read only."""
    root = tmp_path_factory.mktemp("trajectories")
    return {kind.name: kind.make(root / kind.name, contents(kind)) for kind in KINDS}


def own_copy(made: dict[str, Path], name: str, root: Path) -> Path:
    """Return a copy of a dataset that may be damaged."""
    source = made[name]
    if source.is_dir():
        shutil.copytree(source, root / source.name)
    else:
        shutil.copy(source, root / source.name)
    return root / source.name


def numbers_file(kind: Kind, path: Path) -> Path:
    return path / kind.numbers_in if path.is_dir() else path


def order(kind: Kind) -> Sequence[int]:
    """Return which content each episode has: DROID's folders are sorted, failures before successes."""
    return (1, 0, 2) if kind.name == "droid" else (0, 1, 2)


def expected(kind: Kind) -> list[Content]:
    episodes = contents(kind)
    return [episodes[place] for place in order(kind)]


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_describes_itself(name: str, made: dict[str, Path]) -> None:
    kind = BY_NAME[name]
    dataset = open_trajectories(made[name])
    assert dataset.format == kind.format
    assert Path(dataset.path) == made[name]
    assert (dataset.num_episodes, dataset.fps) == (len(LENGTHS), kind.fps)
    assert (len(dataset.state_names), len(dataset.action_names)) == kind.sizes
    assert len(set(dataset.state_names)) == kind.sizes[0]
    assert dataset.cameras == kind.cameras
    assert dataset.convention.has_pose == kind.declared
    assert dataset.about


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_read_as_they_were_written(name: str, made: dict[str, Path]) -> None:
    kind = BY_NAME[name]
    dataset = open_trajectories(made[name])
    for index, content in enumerate(expected(kind)):
        episode = dataset.episode(index)
        assert (episode.index, len(episode), episode.fps) == (index, len(content.states), kind.fps)
        assert str(index) in episode.name
        assert str(made[name]) in episode.name
        assert episode.states.dtype.kind == episode.actions.dtype.kind == "f"
        assert np.array_equal(episode.states, content.states)
        assert np.array_equal(episode.actions, content.actions[:-1])
        assert episode.timestamps_s.dtype == np.float64
        assert episode.timestamps_s == pytest.approx(np.arange(len(content.states)) / kind.fps)
        assert all(len(column) == len(episode) for column in episode.columns.values())
        assert all(
            pose.shape == (len(episode), 6) and name in episode.cameras
            for name, pose in episode.extrinsics.items()
        )
        if not name.startswith("ogbench"):
            assert episode.task == content.task


@pytest.mark.parametrize("name", WITH_FRAMES)
def test_frames_are_those_of_their_rows(name: str, made: dict[str, Path]) -> None:
    kind = BY_NAME[name]
    dataset = open_trajectories(made[name])
    for index, place in enumerate(order(kind)):
        episode = dataset.episode(index)
        for number, camera in enumerate(kind.cameras):
            whole = episode.frames(camera=camera)
            assert whole.dtype == torch.uint8
            assert whole.shape == (len(episode), 3, 64, 64)
            assert read_codes(whole) == [code(place, row, number) for row in range(len(episode))]
            last = len(episode) - 1
            for rows in ([last, 0, 2, 2], [1], list(range(1, last))):
                assert torch.equal(episode.frames(rows, camera), whole[rows])
        assert torch.equal(episode.frames(), episode.frames(camera=kind.cameras[0]))


@pytest.mark.parametrize("name", NAMES)
def test_missing_episodes_cameras_and_frames_are_reported(name: str, made: dict[str, Path]) -> None:
    dataset = open_trajectories(made[name])
    for index in (-1, 3):
        with pytest.raises(DataError, match=f"has no episode {index}: it has 3, counted from 0"):
            dataset.episode(index)
    episode = dataset.episode(0)
    with pytest.raises(DataError, match="has no camera 'top'"):
        episode.frames([0], "top")
    if dataset.cameras:
        with pytest.raises(DataError, match="frames of no rows were asked for"):
            episode.frames([])
        for row in (-1, len(episode)):
            with pytest.raises(DataError, match=f"has no row {row}; it has {len(episode)}"):
                episode.frames([row])


@pytest.mark.parametrize("name", [name for name in WITH_FRAMES if not name.startswith("ogbench")])
def test_cameras_can_be_chosen(name: str, made: dict[str, Path]) -> None:
    last = BY_NAME[name].cameras[-1]
    dataset = open_trajectories(made[name], cameras=(last,))
    assert dataset.cameras == dataset.episode(0).cameras == (last,)
    with pytest.raises(DataError, match=f"has no camera 'top'; its cameras: .*{last}"):
        open_trajectories(made[name], cameras=("top",))


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_is_that_of_the_files(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    kind = BY_NAME[name]
    path = own_copy(made, name, tmp_path)
    before = open_trajectories(path).fingerprint()
    assert open_trajectories(path).fingerprint() == before
    file = numbers_file(kind, path)
    os.utime(file, ns=(1, 1))
    changed_time = open_trajectories(path).fingerprint()
    assert changed_time != before
    for video in sorted(path.rglob("*.mp4")) if path.is_dir() else []:
        os.utime(video, ns=(1, 1))
        assert open_trajectories(path).fingerprint() != changed_time
        break


@pytest.mark.parametrize("name", NAMES)
def test_it_can_be_pickled_after_use(name: str, made: dict[str, Path]) -> None:
    dataset = open_trajectories(made[name])
    episode = dataset.episode(2)
    if dataset.cameras:
        episode.frames([0])
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.fingerprint() == dataset.fingerprint()
    again = copy.episode(2)
    assert np.array_equal(again.states, episode.states)
    if dataset.cameras:
        assert torch.equal(again.frames([3, 1]), episode.frames([3, 1]))
        assert torch.equal(pickle.loads(pickle.dumps(episode)).frames([3]), episode.frames([3]))


class _LastFrames(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The last state, and the first camera's last frame, of each dataset's last episode."""

    def __init__(self, datasets: list[TrajectoryDataset]) -> None:
        self.datasets = datasets

    def __len__(self) -> int:
        return len(self.datasets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        episode = self.datasets[index].episode(2)
        frame = episode.frames([len(episode) - 1])[0] if episode.cameras else torch.zeros(0)
        return torch.from_numpy(episode.states[-1].copy()), frame


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_worker_processes_read_what_the_parent_reads(start: str, made: dict[str, Path]) -> None:
    here = _LastFrames([open_trajectories(path) for path in made.values()])
    wanted = [here[index] for index in range(len(here))]  # opens the videos, which must not be shared
    loader = DataLoader(here, batch_size=None, num_workers=1, multiprocessing_context=start, timeout=120)
    for (state, frame), (their_state, their_frame) in zip(wanted, loader, strict=True):
        assert torch.equal(state, their_state)
        assert torch.equal(frame, their_frame)


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc to list open files in")
@pytest.mark.parametrize("name", NAMES)
def test_no_file_stays_open(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    path = own_copy(made, name, tmp_path)
    dataset = open_trajectories(path)
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        for camera in dataset.cameras:
            episode.frames(camera=camera)
    dataset.close()
    dataset.close()
    files = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert [file for file in files if file.startswith(str(tmp_path))] == []
    assert len(dataset.episode(0)) > 0  # closed files are opened again


@pytest.mark.parametrize("name", NAMES)
def test_numbers_fit_the_convention(name: str, made: dict[str, Path]) -> None:
    dataset = open_trajectories(made[name])
    for index in range(dataset.num_episodes):
        ours = standardise(dataset.episode(index), dataset.convention)
        assert ours.states.dtype == ours.actions.dtype == np.float32
        assert np.isfinite(ours.states).all() and np.isfinite(ours.actions).all()
        if dataset.convention.has_pose:
            assert ours.states.shape[1] == 7
    assert open_trajectories(made[name], convention=PLAIN).convention == PLAIN
    given = Convention(position_unit="cm")
    assert open_trajectories(made[name], convention=given).convention == given


@pytest.mark.parametrize("name", NAMES)
def test_the_format_is_found_from_the_content(name: str, made: dict[str, Path]) -> None:
    assert is_trajectories(made[name])
    found = find_format(made[name])
    assert found is not None
    with pytest.raises(
        ConfigError, match=rf"is {found.name}, whose reader has no option 'colour'.*[Aa]llowed: .*fps|state"
    ):
        open_trajectories(made[name], colour="red")


# What is broken. Episode 1 of the contents is damaged before it is written; the others stay usable.


def make_and_open(kind: Kind, root: Path, episodes: list[Content]) -> TrajectoryDataset:
    return open_trajectories(kind.make(root / "broken", episodes))


def check_one_is_bad(kind: Kind, dataset: TrajectoryDataset, message: str) -> None:
    """Check that the damaged episode is refused in these words, and the others read."""
    bad = order(kind).index(1)
    with pytest.raises(DataError, match=message) as caught:
        dataset.episode(bad)
    assert str(dataset.path) in str(caught.value)
    assert f"episode {bad}" in str(caught.value)
    for index in {0, 1, 2} - {bad}:
        assert len(dataset.episode(index)) == len(expected(kind)[index].states)


@pytest.mark.parametrize("what", ["states", "actions"])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_number_that_is_not_finite_is_reported_with_its_row(name: str, what: str, tmp_path: Path) -> None:
    kind = BY_NAME[name]
    episodes = contents(kind)
    getattr(episodes[1], what)[3, 1] = np.nan
    check_one_is_bad(kind, make_and_open(kind, tmp_path, episodes), "row 3: .* is not finite: .*nan")


@pytest.mark.parametrize("name", ["droid", "robomimic", "rlds"])
def test_frames_that_are_too_few_are_counted(name: str, tmp_path: Path) -> None:
    kind = BY_NAME[name]
    episodes = contents(kind)
    frames = {camera: pictures[:-2] for camera, pictures in episodes[1].frames.items()}
    dataset = make_and_open(kind, tmp_path, changed(episodes, 1, frames=frames))
    check_one_is_bad(kind, dataset, r"(3 frames, and .* 5 rows|shape \(3, .*\[5,H,W,3\]|3 images, .* 5 rows)")


@pytest.mark.parametrize("name", ["droid", "robomimic", "rlds"])
def test_an_episode_without_a_camera_is_reported(name: str, tmp_path: Path) -> None:
    kind = BY_NAME[name]
    episodes = contents(kind)
    frames = {kind.cameras[0]: episodes[1].frames[kind.cameras[0]]}
    dataset = make_and_open(kind, tmp_path, changed(episodes, 1, frames=frames))
    check_one_is_bad(kind, dataset, rf"{kind.cameras[1]}")


@pytest.mark.parametrize("name", ["robomimic", "rlds"])
def test_an_action_of_another_size_is_reported(name: str, tmp_path: Path) -> None:
    kind = BY_NAME[name]
    episodes = contents(kind)
    dataset = make_and_open(kind, tmp_path, changed(episodes, 1, actions=episodes[1].actions[:, :6]))
    check_one_is_bad(kind, dataset, "action.* has 6 numbers per row, and 7 elsewhere")


@pytest.mark.parametrize("name", ["droid", "robomimic"])
def test_rows_that_are_missing_are_counted(name: str, tmp_path: Path) -> None:
    kind = BY_NAME[name]
    episodes = contents(kind)
    dataset = make_and_open(kind, tmp_path, changed(episodes, 1, actions=episodes[1].actions[:-1]))
    check_one_is_bad(kind, dataset, "action.* has 4 rows, and the episode has 5")


@pytest.mark.parametrize("name", FOREIGN)
def test_an_episode_of_one_row_is_reported(name: str, tmp_path: Path) -> None:
    kind = BY_NAME[name]
    whole = contents(kind)
    short = {
        "states": whole[1].states[:1],
        "actions": whole[1].actions[:1],
        "frames": {camera: pictures[:1] for camera, pictures in whole[1].frames.items()},
    }
    dataset = make_and_open(kind, tmp_path, changed(whole, 1, **short))
    check_one_is_bad(kind, dataset, "has 1 rows; an action needs")


def read_everything(entry: Format, path: Path) -> None:
    """Read all numbers and frames of a dataset whose format is known."""
    dataset = entry.reader(path)
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        for camera in dataset.cameras:
            assert len(episode.frames(camera=camera)) == len(episode)
    dataset.close()


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_file_is_reported(name: str, kept: float, made: dict[str, Path], tmp_path: Path) -> None:
    kind = BY_NAME[name]
    found = find_format(made[name])
    assert found is not None
    path = own_copy(made, name, tmp_path)
    file = numbers_file(kind, path)
    os.truncate(file, int(kept * file.stat().st_size))
    with pytest.raises(DataError) as caught:
        read_everything(found, path)
    assert file.name in str(caught.value)


@pytest.mark.parametrize("name", FOREIGN)
def test_damaged_bytes_never_crash(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    kind = BY_NAME[name]
    found = find_format(made[name])
    assert found is not None
    path = own_copy(made, name, tmp_path)
    file = numbers_file(kind, path)
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    reasons: list[str] = []
    for _ in range(20):
        damaged = bytearray(whole)
        for place in rng.integers(len(whole), size=64):
            damaged[place] ^= int(rng.integers(1, 256))
        file.write_bytes(damaged)
        try:
            read_everything(found, path)
        except DataError as error:
            reasons.append(str(error))
    assert len(reasons) >= 5
    assert all(str(path) in reason for reason in reasons)

"""Untrusted HDF5 files: nothing outside of the file is read, and no more memory is used than it has data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.data.trajectories.makers import BY_NAME, contents
from tests.data.trajectories.test_mutations import flipped, truncated, zeroed
from tests.memory import memory_of_at_most
from vjepa_world.data.trajectories.formats.droid import DROIDDataset
from vjepa_world.data.trajectories.formats.hdf5 import list_arrays, open_hdf5
from vjepa_world.data.trajectories.formats.robomimic import RobomimicDataset
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.errors import DataError, VJEPAWorldError

ROBOMIMIC, DROID = BY_NAME["robomimic"], BY_NAME["droid"]
POSITION = "obs/robot0_eef_pos"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return ROBOMIMIC.make(tmp_path / "set", contents(ROBOMIMIC))


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["numbers"] = np.full((7, 3), 0.1234)
    return tmp_path / "secret.h5"


def external_link(demo: Any, secret: Path) -> None:
    demo[POSITION] = h5py.ExternalLink(str(secret), "numbers")


def link_to_a_link(demo: Any, secret: Path) -> None:
    demo.file["elsewhere"] = h5py.ExternalLink(str(secret), "/")
    demo[POSITION] = h5py.SoftLink("/elsewhere/numbers")


def group_link(demo: Any, secret: Path) -> None:
    del demo["obs"]
    demo["obs"] = h5py.ExternalLink(str(secret), "/")


def external_storage(demo: Any, secret: Path) -> None:
    demo.create_dataset(POSITION, (7, 3), "f8", external=[(str(secret), 0, 168)])


def virtual(demo: Any, secret: Path) -> None:
    layout = h5py.VirtualLayout((7, 3), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "numbers", shape=(7, 3))
    demo.create_virtual_dataset(POSITION, layout)


def circle(demo: Any, secret: Path) -> None:
    demo[POSITION] = h5py.SoftLink(f"{demo.name}/{POSITION}")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            external_link,
            "'obs/robot0_eef_pos' is a link into another file, .*secret.h5'.*copy the array into the",
        ),
        (link_to_a_link, "'/elsewhere/numbers' is a link into another file"),
        (group_link, "'obs/robot0_eef_pos' is a link into another file"),
        (external_storage, "the numbers of 'obs/robot0_eef_pos' lie in other files"),
        (virtual, "the numbers of 'obs/robot0_eef_pos' lie in other files"),
        (circle, "links lead in a circle"),
    ],
)
def test_nothing_outside_of_the_file_is_read(
    path: Path, secret: Path, edit: Callable[[Any, Path], None], message: str
) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            if POSITION in demo:
                del demo[POSITION]
        edit(file["data/demo_1"], secret)
    with pytest.raises(DataError, match=message):
        open_trajectories(path).episode(0)


def test_links_inside_the_file_are_followed(path: Path) -> None:
    expected = RobomimicDataset(path).episode(0)
    with h5py.File(path, "r+") as file:
        file.move("data/demo_1/obs/robot0_eef_pos", "data/demo_1/kept")
        file["data/demo_1/obs/robot0_eef_pos"] = h5py.SoftLink("/data/demo_1/kept")
        file["data/demo_1/obs/again"] = h5py.SoftLink("/data/demo_1/kept")
        file["data/demo_1/loop"] = h5py.SoftLink("/data/demo_1")
    found = RobomimicDataset(path).episode(0)
    assert np.array_equal(found.states, expected.states)
    with open_hdf5(path, "here") as file:
        names = list(list_arrays(file["data/demo_1"], "here").arrays)
    assert "obs/again" in names
    assert not [name for name in names if name.startswith("loop/")]


def test_cameras_that_link_to_other_files_are_reported(path: Path, secret: Path) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            demo["obs/side_image"] = h5py.ExternalLink(str(secret), "numbers")
    dataset = RobomimicDataset(path)
    assert dataset.about["left_out"]["obs/side_image"] == "a link into another file, or in a circle"
    assert "side" not in dataset.cameras


@pytest.mark.parametrize("name", [POSITION, "actions", "obs/agentview_image", "states"])
@pytest.mark.parametrize("filters", [{}, {"compression": "gzip"}])
def test_huge_declared_shapes_without_data_are_refused(
    path: Path, name: str, filters: dict[str, str]
) -> None:
    shape = {"obs/agentview_image": (7, 30000, 30000, 3), "states": (7, 10**9)}.get(name, (10**10, 3))
    kind = "u1" if "image" in name else "f8"
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            if name in demo:
                del demo[name]
            demo.create_dataset(name, shape, kind, chunks=(1, *(min(n, 1000) for n in shape[1:])), **filters)
    assert path.stat().st_size < 2_000_000
    with (
        memory_of_at_most(2**30),
        pytest.raises(DataError, match=f"'{name}' declares .*the file holds 0 of it"),
    ):
        RobomimicDataset(path).episode(0)


def test_one_array_of_zeros_that_was_never_written_is_read(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            demo.create_dataset("obs/contact", (len(demo["actions"]), 100), "f8", chunks=True)
    assert RobomimicDataset(path).episode(0).columns["obs/contact"].shape == (7, 100)


@pytest.mark.parametrize("frequency", ["fast", -5, float("nan"), 1e30, [20], True])
def test_an_invalid_rate_is_refused(path: Path, frequency: Any) -> None:
    with h5py.File(path, "r+") as file:
        arguments = {"env_name": "Lift", "env_kwargs": {"control_freq": frequency}}
        file["data"].attrs["env_args"] = json.dumps(arguments)
    with pytest.raises(DataError, match="control_freq of env_args is .*; expected a number above 0"):
        RobomimicDataset(path)


def test_the_description_of_the_simulator_may_be_anything(path: Path) -> None:
    for text in ("[" * 50_000, "5", '{"env_kwargs": 5}', '{"env_name": [1]}', '{"env_name": {"a": 1}}'):
        with h5py.File(path, "r+") as file:
            file["data"].attrs["env_args"] = text
        assert RobomimicDataset(path).about["environment_name"] == ""


def test_a_camera_name_that_leaves_the_folder_is_refused(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            images = demo["obs/agentview_image"][:]
            demo.create_group("obs/..").create_dataset("..", data=images)
    with pytest.raises(
        DataError, match=r"the name of a camera is '\.\./\.\.'; expected a plain relative name"
    ):
        RobomimicDataset(path)


def droid_with(folder: Path, **words: Any) -> Path:
    root = DROID.make(folder / "set", contents(DROID))
    for file in root.rglob("metadata_*.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | words))
    return root


def test_droid_videos_outside_of_the_folder_are_refused(tmp_path: Path) -> None:
    dataset = DROIDDataset(droid_with(tmp_path, left_mp4_path="../../../../etc/passwd"))
    assert "left" not in dataset.cameras
    assert dataset.about["left_out"]["left"] == "camera: passwd is missing"


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("left_mp4_path", ".."),
        ("left_mp4_path", [1]),
        ("left_mp4_path", 5),
        ("left_mp4_path", "a\0b"),
        ("left_mp4_path", "x" * 300),
        ("current_task", {"a": 1}),
        ("current_task", "\ud800"),
    ],
)
def test_droid_metadata_of_wrong_types_is_refused(tmp_path: Path, word: str, value: Any) -> None:
    with pytest.raises(DataError, match=rf"metadata_.*\.json: {word} is "):
        DROIDDataset(droid_with(tmp_path, **{word: value}))


@pytest.mark.parametrize("name", ["robomimic", "droid"])
def test_damaged_files_are_read_correctly_or_refused(tmp_path: Path, name: str) -> None:
    kind = BY_NAME[name]
    root = kind.make(tmp_path / "set", contents(kind))
    file = root if root.is_file() else sorted(root.rglob("*.h5"))[0]
    data, rng = file.read_bytes(), np.random.default_rng(7)
    messages = []
    for number in range(60):
        file.write_bytes((flipped, truncated, zeroed)[number % 3](data, rng))
        with memory_of_at_most(2**31):
            try:
                dataset = open_trajectories(root)
                for index in range(dataset.num_episodes):
                    episode = dataset.episode(index)
                    assert np.isfinite(episode.states).all() and np.isfinite(episode.actions).all()
                    episode.frames([0])
            except VJEPAWorldError as error:
                messages.append(str(error))
    assert len(messages) > 15
    assert [message for message in messages if str(tmp_path) not in message] == []

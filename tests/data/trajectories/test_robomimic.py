"""robomimic files: the order of demonstrations, the end effector's pose, and other states."""

from __future__ import annotations

import builtins
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from tests.data.trajectories.makers import BY_NAME, contents
from vjepa_world.data.trajectories.open import is_trajectories, open_trajectories
from vjepa_world.data.trajectories.robomimic import RobomimicDataset
from vjepa_world.data.trajectories.standard import standardise
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN

KIND = BY_NAME["robomimic"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a file of three demonstrations: demo_1, demo_2 and demo_10."""
    return KIND.make(tmp_path / "set", contents(KIND))


def test_demonstrations_are_in_order_of_their_numbers(path: Path) -> None:
    dataset = RobomimicDataset(path)
    episodes = [dataset.episode(index) for index in range(3)]
    assert [len(episode) for episode in episodes] == [7, 5, 6]
    assert ["demo_1)" in episode.name for episode in episodes] == [True, False, False]
    assert [episode.success for episode in episodes] == [True, False, True]
    assert episodes[0].columns["states"].shape == (7, 11)
    assert dataset.state_names[0] == "robot0_eef_pos_0"
    assert dataset.about["environment"] == "Lift"


def test_the_end_effectors_pose_is_ours_after_conversion(path: Path) -> None:
    turned = np.array([0.0, 0.0, np.sin(0.3), np.cos(0.3)])  # 0.6 rad about z
    with h5py.File(path, "r+") as file:
        demo = file["data/demo_1/obs"]
        demo["robot0_eef_pos"][:] = (0.1, 0.2, 0.3)
        demo["robot0_eef_quat"][:] = turned
        demo["robot0_gripper_qpos"][:] = (0.04, -0.04)
        demo["robot0_gripper_qpos"][-1] = (0.0, 0.0)
    dataset = RobomimicDataset(path)
    ours = standardise(dataset.episode(0), dataset.convention)
    assert ours.states[0] == pytest.approx([0.1, 0.2, 0.3, 0, 0, 0.6, 0], abs=1e-6)
    assert ours.states[-1] == pytest.approx([0.1, 0.2, 0.3, 0, 0, 0.6, 1], abs=1e-6)
    assert ours.actions == pytest.approx(contents(KIND)[0].actions[:-1])


def test_other_observations_can_be_the_state(path: Path) -> None:
    dataset = RobomimicDataset(path, state=("robot0_gripper_qpos", "robot0_eef_pos"))
    assert dataset.convention == PLAIN
    assert dataset.state_names[:2] == ("robot0_gripper_qpos_0", "robot0_gripper_qpos_1")
    wanted = contents(KIND)[0].states[:, [7, 8, 0, 1, 2]]
    assert np.array_equal(dataset.episode(0).states, wanted)
    assert "obs/robot0_eef_quat" in dataset.episode(0).columns
    with pytest.raises(DataError, match="has no 'obs/joints'; it has: .*obs/robot0_eef_pos"):
        RobomimicDataset(path, state="joints")


def test_without_images_there_is_no_camera(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            for camera in KIND.cameras:
                del demo[f"obs/{camera}_image"]
        del file["data"].attrs["env_args"]
    dataset = RobomimicDataset(path)
    assert (dataset.cameras, dataset.fps) == ((), 20.0)
    assert "default" in dataset.about["fps from"]
    with pytest.raises(DataError, match="has no camera ''; its cameras: none"):
        dataset.episode(0).frames([0])


def test_another_hdf5_file_is_not_taken_for_it(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = np.zeros(3)
    assert not is_trajectories(tmp_path / "other.h5")
    with pytest.raises(DataError, match="has no group 'data'; it has: data"):
        RobomimicDataset(tmp_path / "other.h5")


def test_without_h5py_it_says_what_to_install(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> ModuleType:
        if name == "h5py":
            raise ImportError(name)
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"pip install 'vjepa-world\[hdf5\]'"):
        open_trajectories(path)

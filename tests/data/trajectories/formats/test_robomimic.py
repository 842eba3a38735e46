"""robomimic files: the order of demonstrations, the end-effector pose, and other states."""

from __future__ import annotations

import builtins
import io
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from tests.data.trajectories.makers import BY_NAME, contents
from vjepa_world.data.trajectories.description import describe_dataset
from vjepa_world.data.trajectories.description_text import dataset_text
from vjepa_world.data.trajectories.formats.robomimic import RobomimicDataset
from vjepa_world.data.trajectories.registry import is_trajectories, open_trajectories
from vjepa_world.data.trajectories.standardise import standardise
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
    assert dataset.about["environment_name"] == "Lift"


def test_the_end_effector_pose_is_converted_to_our_convention(path: Path) -> None:
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
    assert "default" in dataset.about["frame rate from"]
    with pytest.raises(DataError, match="has no camera ''; its cameras: none"):
        dataset.episode(0).frames([0])


def test_another_hdf5_file_is_not_taken_for_robomimic(tmp_path: Path) -> None:
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


def jpeg(image: np.ndarray) -> np.ndarray:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return np.frombuffer(buffer.getvalue(), np.uint8)


def padded(images: np.ndarray) -> np.ndarray:
    files = [jpeg(image) for image in images]
    longest = max(map(len, files))
    return np.stack([np.pad(file, (0, longest - len(file))) for file in files])


#: Ways in which files hold the images [T,H,W,3] of a camera, each as bright as it is.
WAYS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rgba": lambda rgb: np.concatenate([rgb, 255 - rgb[..., :1]], axis=-1),
    "chw": lambda rgb: rgb.transpose(0, 3, 1, 2),
    "float": lambda rgb: (rgb / 255).astype(np.float32),
    "float of 255": lambda rgb: rgb.astype(np.float64),
    "float chw": lambda rgb: (rgb / 255).astype(np.float16).transpose(0, 3, 1, 2),
    "files": padded,
}


def with_images(
    path: Path, change: Callable[[np.ndarray], np.ndarray], name: str = "agentview_image"
) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            images = demo["obs/agentview_image"][:]
            del demo["obs/agentview_image"]
            demo[f"obs/{name}"] = change(images)


@pytest.mark.parametrize("way", WAYS)
def test_images_are_read_in_every_array_layout(path: Path, way: str) -> None:
    expected = RobomimicDataset(path).episode(0).frames([3, 0, 3], "agentview")
    with_images(path, WAYS[way])
    dataset = RobomimicDataset(path)
    assert "agentview" in dataset.cameras
    assert torch.equal(dataset.episode(0).frames([3, 0, 3], "agentview"), expected)


@pytest.mark.parametrize("axes", [3, 4])
def test_grey_images_are_grey(path: Path, axes: int) -> None:
    expected = RobomimicDataset(path).episode(0).frames([1], "agentview")[:, :1].expand(-1, 3, -1, -1)
    with_images(path, lambda rgb: rgb[..., 0] if axes == 3 else rgb[..., :1])
    assert torch.equal(RobomimicDataset(path).episode(0).frames([1], "agentview"), expected)


def test_files_of_different_length_are_read(path: Path) -> None:
    expected = RobomimicDataset(path).episode(0).frames([2, 5], "agentview")
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            images = demo["obs/agentview_image"][:]
            del demo["obs/agentview_image"]
            cells = demo.create_dataset("obs/agentview_image", (len(images),), h5py.vlen_dtype(np.uint8))
            for row, image in enumerate(images):
                cells[row] = jpeg(image)
    assert torch.equal(RobomimicDataset(path).episode(0).frames([2, 5], "agentview"), expected)


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("agentview_depth", lambda rgb: rgb[..., :1], r"uint8 \[7, .*, 1\]: depth, by its name"),
        (
            "agentview_image",
            lambda rgb: rgb[..., :1].astype(np.uint16),
            "uint16 .*not 8-bit colours, as depth maps",
        ),
        (
            "front",
            lambda rgb: rgb[..., :1].astype(np.float32),
            "one floating-point number per pixel, as depth maps",
        ),
        (
            "agentview_image",
            lambda rgb: rgb.astype(np.float32) - 100,
            r"numbers from -\d+ to \d+, where colours go",
        ),
        ("agentview_image", lambda rgb: rgb.repeat(2, axis=-1)[..., :5], "no axis of 1, 3 or 4 channels"),
        ("agentview_image", lambda rgb: np.array([b"no image"] * len(rgb)), r"\|S8 \[7\]: no numbers"),
        ("cloud", lambda rgb: rgb[:, :4, 0, :].astype(np.float32), "more than a vector in each row"),
    ],
)
def test_arrays_that_are_not_colour_images_are_reported(
    path: Path, name: str, change: Callable[[np.ndarray], np.ndarray], reason: str
) -> None:
    with_images(path, change, name)
    dataset = RobomimicDataset(path)
    assert "agentview" not in dataset.cameras
    assert re.search(reason, dataset.about["left_out"][f"obs/{name}"])
    assert f"obs/{name}" in dataset_text(describe_dataset(dataset))


def test_pixels_out_of_the_range_that_the_first_ones_have_are_refused(path: Path) -> None:
    with_images(path, lambda rgb: (rgb / 255).astype(np.float32))
    with h5py.File(path, "r+") as file:
        file["data/demo_10/obs/agentview_image"][5] = 7.0
    dataset = RobomimicDataset(path)
    assert dataset.episode(2).frames([4]).shape[0] == 1
    with pytest.raises(
        DataError, match=r"\(demo_10\): obs/agentview_image: pixels go from 0 to 7, expected 0 to 1"
    ):
        dataset.episode(2).frames([5], "agentview")


def test_duplicate_observations_are_read_once(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for demo in file["data"].values():
            demo.copy("obs", "next_obs")
    dataset = RobomimicDataset(path)
    assert not [name for name in dataset.episode(0).columns if name.startswith("next_obs")]
    assert not [name for name in dataset.about.get("left_out", {}) if name.startswith("next_obs")]


def test_scalar_arrays_and_masks_are_reported_and_not_read_as_images(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        obs = file["data/demo_1/obs"]
        obs["nothing"] = h5py.Empty("f4")
        obs["front_seg"] = np.zeros((7, 16, 16, 1), np.uint8)
    dataset = RobomimicDataset(path)
    assert dataset.cameras == KIND.cameras
    assert dataset.about["left_out"]["obs/nothing"] == "float32 []: not one entry for each of 7 rows"
    assert "not colours" in dataset.about["left_out"]["obs/front_seg"]
    assert len(dataset.episode(0)) == 7


def test_a_user_block_before_the_file_is_ignored(tmp_path: Path, path: Path) -> None:
    with h5py.File(path) as source, h5py.File(tmp_path / "b.hdf5", "w", userblock_size=2048) as copy:
        source.copy("data", copy)
    dataset = open_trajectories(tmp_path / "b.hdf5")
    assert np.array_equal(dataset.episode(0).states, RobomimicDataset(path).episode(0).states)

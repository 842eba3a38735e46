"""OGBench files: ends of episodes, states, and how arrays are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.coded_video import read_codes
from tests.data.trajectories.makers import BY_NAME, code, contents
from vjepa_world.data.trajectories.formats.npz import NpzFile
from vjepa_world.data.trajectories.formats.ogbench import OGBenchDataset
from vjepa_world.errors import DataError

KIND = BY_NAME["ogbench"]


def arrays(**changes: np.ndarray | None) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray | None] = {
        "observations": rng.normal(size=(9, 4)),
        "actions": rng.normal(size=(9, 2)).astype(np.float32),
        "terminals": np.array([0, 0, 0, 1, 0, 0, 0, 0, 1.0]),
        **changes,
    }
    return {name: array for name, array in found.items() if array is not None}


def saved(path: Path, **changes: np.ndarray | None) -> Path:
    np.savez(path / "play.npz", **arrays(**changes))  # type: ignore[arg-type]
    return path / "play.npz"


@pytest.mark.parametrize("terminals", [[0, 0, 0, 1, 0, 0, 0, 0, 1], [0, 0, 0, 1, 0, 0, 0, 0, 0]])
def test_episodes_end_with_their_terminals(terminals: list[int], tmp_path: Path) -> None:
    dataset = OGBenchDataset(saved(tmp_path, terminals=np.array(terminals, bool)))
    assert [len(dataset.episode(index)) for index in range(dataset.num_episodes)] == [4, 5]
    assert np.array_equal(dataset.episode(1).states, arrays()["observations"][4:])
    assert dataset.episode(1).states.dtype == np.float64
    assert dataset.episode(1).actions.shape == (4, 2)


def test_the_state_of_images_is_the_simulators(tmp_path: Path) -> None:
    path = KIND.make(tmp_path / "set", contents(KIND))
    dataset = OGBenchDataset(path)
    assert dataset.state_names == (*(f"qpos_{i}" for i in range(5)), "qvel_0", "qvel_1")
    assert dataset.about["images"] == "mapped"
    only = OGBenchDataset(path, state="qvel")
    assert only.state_names == ("qvel_0", "qvel_1")
    assert set(only.episode(0).columns) == {"qpos"}
    with pytest.raises(
        DataError, match="has no array 'speed' for the state. Choose with state= among: qpos, qvel"
    ):
        OGBenchDataset(path, state="speed")


def test_images_without_a_state_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, observations=np.zeros((9, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match="has images, and no qpos or qvel for the state"):
        OGBenchDataset(path)


def test_the_newest_of_stacked_frames_is_used(tmp_path: Path) -> None:
    content = contents(KIND)[0]
    frames = content.frames["main"]
    stacked = np.concatenate([np.roll(frames, 1, axis=0), frames], axis=-1)
    rows = len(frames)
    path = tmp_path / "play.npz"
    actions, terminals = content.actions, np.eye(rows)[-1]
    np.savez(path, observations=stacked, actions=actions, terminals=terminals, qpos=content.states)
    assert read_codes(OGBenchDataset(path).episode(0).frames()) == [code(0, row, 0) for row in range(rows)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"terminals": None}, "has no array 'terminals'; it has: observations, actions"),
        ({"actions": np.zeros((8, 2))}, "arrays differ in rows: observations 9, actions 8, terminals 9"),
        ({"observations": np.array([None] * 9)}, "holds Python objects"),
        (
            {"observations": np.zeros((0, 4)), "actions": np.zeros((0, 2)), "terminals": np.zeros(0)},
            "has no rows",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_reported(
    changes: dict[str, np.ndarray | None], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"play.npz.*{message}"):
        OGBenchDataset(saved(tmp_path, **changes))


def test_arrays_are_mapped_where_they_can_be(tmp_path: Path) -> None:
    columns = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.savez(tmp_path / "a.npz", rows=np.arange(12).reshape(3, 4), columns=columns, single=np.array(3.0))
    file = NpzFile(tmp_path / "a.npz")
    assert [file.is_mapped(name) for name in ("rows", "columns", "single")] == [True, False, False]
    assert isinstance(file["rows"], np.memmap)
    assert np.array_equal(file["rows"], np.arange(12).reshape(3, 4))
    assert np.array_equal(file["columns"], columns)
    assert (file.shape("columns"), file.dtype("rows")) == ((3, 4), np.dtype(np.int64))


def test_terminals_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    rows = len(arrays()["terminals"])
    with pytest.raises(DataError, match="terminals are not all finite"):
        OGBenchDataset(saved(tmp_path, terminals=np.full(rows, np.nan)))

"""What is no dataset of trajectories is refused, with what would be one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vjepa_world.data.trajectories.registry import FORMATS, is_trajectories, open_trajectories
from vjepa_world.errors import DataError


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        open_trajectories(tmp_path / "nowhere")
    assert not is_trajectories(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["folder", "empty.csv", "names.csv", "a.npz", "text.npz", "video.mp4", "cut.h5"]
)
def test_the_known_formats_are_listed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "a.npz":
        np.savez(path, states=np.zeros(3))
    else:
        path.write_text("" if name == "empty.csv" else "clip.mp4 0\n")
    assert not is_trajectories(path)
    with pytest.raises(DataError, match="holds trajectories of no known format") as caught:
        open_trajectories(path)
    assert str(path) in str(caught.value)
    assert all(f"{entry.name}: {entry.looks}" in str(caught.value) for entry in FORMATS)

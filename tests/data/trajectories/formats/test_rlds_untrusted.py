"""Untrusted RLDS files: damaged ones are refused, and unread features are reported."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.trajectories.makers import BY_NAME, contents, png, rlds_example
from tests.data.trajectories.test_mutations import flipped, zeroed
from tests.data.trajectories.tf_writer import write_records
from tests.memory import memory_of_at_most
from vjepa_world.data.trajectories.description import describe_dataset
from vjepa_world.data.trajectories.description_text import dataset_text
from vjepa_world.data.trajectories.formats.rlds.reader import RLDSDataset
from vjepa_world.data.trajectories.formats.rlds.tfrecord import masked_crc32c
from vjepa_world.errors import DataError, VJEPAWorldError

KIND = BY_NAME["rlds"]


def written(folder: Path, **changes: Any) -> Path:
    return write_records(folder / "bridge.tfrecord", [rlds_example(contents(KIND)[0], 0, **changes)])


def deep_png(frame: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame[..., 0].astype(np.uint16) * 40).save(out, "png")
    return out.getvalue()


def test_sixteen_bit_depth_is_not_a_camera(tmp_path: Path) -> None:
    frames = next(iter(contents(KIND)[0].frames.values()))
    deep = {"steps/observation/a_wrist": [deep_png(frame) for frame in frames]}
    dataset = RLDSDataset(written(tmp_path, **deep))
    assert "a_wrist" not in dataset.cameras and dataset.cameras
    assert dataset.about["left_out"]["observation/a_wrist"] == "a depth map, no colour image"


def test_unread_data_is_reported(tmp_path: Path) -> None:
    rows = len(contents(KIND)[0].states)
    frames = next(iter(contents(KIND)[0].frames.values()))
    path = written(
        tmp_path,
        **{
            "steps/observation/depth_0": [png(frame) for frame in frames],
            "steps/observation/raw": [b"\x00\x01\x02\x03" * 100] * rows,
            "steps/observation/odd": np.zeros(rows + 1, np.float32),
        },
    )
    dataset = RLDSDataset(path)
    left_out = dataset.about["left_out"]
    assert sorted(left_out) == ["observation/depth_0", "observation/odd", "observation/raw"]
    assert left_out["observation/odd"] == "8 numbers, not as many for each of 7 steps"
    assert left_out["observation/raw"].startswith("7 byte strings that are not JPEG or PNG images")
    assert "observation/raw" in dataset_text(describe_dataset(dataset))


def test_a_camera_name_that_leaves_the_folder_is_refused(tmp_path: Path) -> None:
    frames = next(iter(contents(KIND)[0].frames.values()))
    hostile = {"steps/observation/../../../x": [png(frame) for frame in frames]}
    with pytest.raises(
        DataError, match=r"the name of a camera is '\.\./\.\./\.\./x'; expected a plain relative name"
    ):
        RLDSDataset(written(tmp_path, **hostile))


@pytest.mark.parametrize(
    "info", [{"name": 5}, {"name": ["bridge"]}, {"name": "x" * 10**6}, {"version": {"a": 1}}]
)
def test_any_content_of_the_dataset_description_is_handled(tmp_path: Path, info: dict[str, Any]) -> None:
    path = written(tmp_path)
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    dataset = RLDSDataset(path)
    assert dataset.num_episodes == 1
    assert all(len(str(value)) < 200 for value in dataset.about.values())


def test_a_record_length_beyond_the_file_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    length = struct.pack("<Q", 2**50)
    path.write_bytes(path.read_bytes() + length + struct.pack("<I", masked_crc32c(length)))
    dataset = RLDSDataset(path)
    with (
        memory_of_at_most(2**29),
        pytest.raises(DataError, match="it goes to byte [0-9]+, and the file ends at"),
    ):
        dataset.episode(1)


def test_records_with_right_checksums_and_damaged_content_are_read_or_refused(tmp_path: Path) -> None:
    content = contents(KIND)[0]
    content.frames = {camera: frames[:, ::4, ::4] for camera, frames in content.frames.items()}
    data, rng = rlds_example(content, 0), np.random.default_rng(5)
    path, messages = tmp_path / "bridge.tfrecord", []
    for number in range(120):
        record = (
            (flipped, zeroed)[number % 2](data, rng) if number % 3 else data[: rng.integers(1, len(data))]
        )
        length = struct.pack("<Q", len(record))
        checksums = [struct.pack("<I", masked_crc32c(part)) for part in (length, record)]
        path.write_bytes(length + checksums[0] + record + checksums[1])
        with memory_of_at_most(2**30):
            try:
                episode = (dataset := RLDSDataset(path)).episode(0)
                assert np.isfinite(episode.states).all()
                for camera in dataset.cameras:
                    episode.frames(camera=camera)
            except VJEPAWorldError as error:
                messages.append(str(error))
    assert len(messages) > 60
    assert [message for message in messages if str(tmp_path) not in message] == []

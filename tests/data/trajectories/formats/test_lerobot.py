"""LeRobotDataset v3.0 round trips; problems are reported with their location."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.coded_video import coded_frame, read_codes
from tests.data.conftest import SHARD_LENGTHS, episode_arrays, make_writer, record_shard
from tests.paths import REPO
from vjepa_world.data.trajectories.formats.lerobot.metadata import is_lerobot
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.writer import finished_shards
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import DataError

LENGTHS = [length for shard in SHARD_LENGTHS for length in shard]
STARTS = [
    (shard, sum(lengths[:i])) for shard, lengths in enumerate(SHARD_LENGTHS) for i in range(len(lengths))
]
KEY = "observation.images.main"


def test_episodes_are_read_as_they_were_recorded(dataset_root: Path) -> None:
    dataset = LeRobotDataset(dataset_root)
    assert (dataset.num_episodes, dataset.num_frames, dataset.fps) == (5, sum(LENGTHS), 5.0)
    assert dataset.state_names == ("x", "y", "closure")
    assert dataset.action_names == ("dx", "dy")
    for index, ((shard, start), length) in enumerate(zip(STARTS, LENGTHS, strict=True)):
        frames, states, actions = episode_arrays(shard, start, length)
        episode = dataset.episode(index)
        assert len(episode) == length
        assert episode.task == f"task {length % 2}"
        assert np.array_equal(episode.states, states)
        assert np.array_equal(episode.actions, actions)
        assert episode.timestamps_s == pytest.approx(np.arange(length) / 5)
        read = episode.frames()
        assert read_codes(read) == [start + t + 100 * shard for t in range(length)]
        assert np.abs(read.permute(0, 2, 3, 1).numpy().astype(int) - frames).mean() < 6
        assert read_codes(episode.frames([length - 1, 0, 2, 2])) == [
            start + t + 100 * shard for t in (length - 1, 0, 2, 2)
        ]


def test_the_layout_is_v3(dataset_root: Path) -> None:
    files = sorted(str(file.relative_to(dataset_root)) for file in dataset_root.rglob("*") if file.is_file())
    assert files == [
        "data/chunk-000/file-000.parquet",
        "data/chunk-000/file-001.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/vjepa_world.json",
        f"videos/{KEY}/chunk-000/file-000.mp4",
        f"videos/{KEY}/chunk-000/file-001.mp4",
    ]
    info = json.loads((dataset_root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert info["splits"] == {"train": "0:5"}
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (5, sum(LENGTHS), 2)
    assert info["features"][KEY]["shape"] == [64, 64, 3]
    assert info["features"][KEY]["names"] == ["height", "width", "channels"]
    assert info["features"]["observation.state"] == {
        "dtype": "float32",
        "shape": [3],
        "names": ["x", "y", "closure"],
    }
    data = pa.concat_tables(pq.read_table(file) for file in sorted(dataset_root.glob("data/*/*.parquet")))
    assert data.schema.field("action").type == pa.list_(pa.float32(), 2)
    assert data["index"].to_pylist() == list(range(sum(LENGTHS)))
    assert data["episode_index"].to_pylist() == [e for e, length in enumerate(LENGTHS) for _ in range(length)]
    assert data["frame_index"].to_pylist() == [t for length in LENGTHS for t in range(length)]
    last_rows = np.cumsum(LENGTHS) - 1
    assert all(data["action"][row].as_py() == [0.0, 0.0] for row in last_rows.tolist())
    assert pq.ParquetFile(dataset_root / files[0]).num_row_groups == len(SHARD_LENGTHS[0])


def test_metadata_locates_each_episode(dataset_root: Path) -> None:
    rows = pq.read_table(dataset_root / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    ends = np.cumsum(LENGTHS)
    for row, (shard, start), length, end in zip(rows, STARTS, LENGTHS, ends.tolist(), strict=True):
        assert (row["dataset_from_index"], row["dataset_to_index"], row["length"]) == (
            end - length,
            end,
            length,
        )
        assert (row["data/file_index"], row[f"videos/{KEY}/file_index"]) == (shard, shard)
        assert row[f"videos/{KEY}/from_timestamp"] == pytest.approx(start / 5)
        assert row[f"videos/{KEY}/to_timestamp"] == pytest.approx((start + length) / 5)
        states = episode_arrays(shard, start, length)[1]
        assert row["stats/observation.state/mean"] == pytest.approx(states.mean(axis=0), abs=1e-6)
        assert np.array(row[f"stats/{KEY}/mean"]).shape == (3, 1, 1)
    tasks = pq.read_table(dataset_root / "meta/tasks.parquet")
    assert tasks.to_pydict() == {"task_index": [0, 1], "task": ["task 0", "task 1"]}
    # By this note pandas, and so LeRobot, takes the column `task` as the index.
    assert json.loads(tasks.schema.metadata[b"pandas"])["index_columns"] == ["task"]


def test_statistics_are_those_of_all_rows(dataset_root: Path) -> None:
    stats = json.loads((dataset_root / "meta/stats.json").read_text())
    arrays = [episode_arrays(shard, start, n) for (shard, start), n in zip(STARTS, LENGTHS, strict=True)]
    states = np.concatenate([states for _, states, _ in arrays])
    entry = stats["observation.state"]
    assert entry["count"] == [sum(LENGTHS)]
    for name, value in (
        ("min", states.min(0)),
        ("max", states.max(0)),
        ("mean", states.mean(0)),
        ("std", states.std(0)),
    ):
        assert entry[name] == pytest.approx(value, abs=1e-6), name
    assert entry["q90"] == pytest.approx(np.quantile(states, 0.9, axis=0), abs=1e-6)
    pixels = np.concatenate([frames for frames, _, _ in arrays]) / 255
    image = {name: np.array(value) for name, value in stats[KEY].items()}
    assert image["mean"].shape == (3, 1, 1)
    # Counted on a part of the pixels.
    assert np.abs(image["mean"][:, 0, 0] - pixels.mean((0, 1, 2))).max() < 0.03
    assert np.abs(image["std"][:, 0, 0] - pixels.std((0, 1, 2))).max() < 0.03
    assert np.abs(image["q50"][:, 0, 0] - np.median(pixels, axis=(0, 1, 2))).max() < 0.01


def test_finished_shards_do_not_depend_on_the_process(tmp_path: Path) -> None:
    writers = [make_writer(tmp_path / name) for name in ("a", "b")]
    for writer, order in zip(writers, ((0, 1), (1, 0)), strict=True):
        for shard in order:
            record_shard(writer, shard)
        assert writer.finished_shards() == [0, 1]
        assert writer.num_recorded() == (5, sum(LENGTHS))
        assert not writer.is_finished
        writer.finalize()
        assert writer.is_finished
    for file in (tmp_path / "a").rglob("*.*"):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes(), file


def test_gathering_can_be_killed_and_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = make_writer(tmp_path / "set")
    for shard in (0, 1):
        record_shard(writer, shard)
    replace, moved = os.replace, []

    def fail_at_the_third(source: str, target: str) -> None:
        moved.append(target)
        if len(moved) == 3:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        writer.finalize()
    monkeypatch.undo()
    with pytest.raises(DataError, match=r"unfinished dataset: meta/info\.json"):
        LeRobotDataset(writer.root)
    assert writer.finished_shards() == [0, 1]
    writer.finalize()
    writer.finalize()
    dataset = LeRobotDataset(writer.root)
    assert read_codes(dataset.episode(4).frames()) == list(range(108, 119))
    assert not list(writer.root.rglob("*.tmp*"))
    assert not list(writer.root.rglob(".*"))


def test_a_killed_recorder_leaves_no_half_shard(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.data.conftest import episode_arrays, make_writer, record_shard\n"
        "writer = make_writer(Path(sys.argv[1]))\n"
        "record_shard(writer, 0)\n"
        "with writer.shard(1) as out:\n"
        "    out.add_episode(*episode_arrays(1, 0, 8), task='task 0')\n"
        "    print('half', flush=True)\n"
        "    time.sleep(60)\n"
    )
    root = REPO
    command = [sys.executable, "-c", program, str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == "half\n"
        recorder.send_signal(signal.SIGKILL)
    assert finished_shards(tmp_path / "set") == [0]
    assert is_lerobot(tmp_path / "set")
    with pytest.raises(DataError, match="resume=true"):
        LeRobotDataset(tmp_path / "set")
    writer = make_writer(tmp_path / "set")
    record_shard(writer, 1)
    assert sorted(entry.name for entry in (tmp_path / "set" / ".shards").iterdir()) == [
        "shard-00000",
        "shard-00001",
    ]
    assert LeRobotDataset(writer.finalize()).num_episodes == 5


def test_a_failing_recorder_leaves_no_half_shard(tmp_path: Path) -> None:
    writer = make_writer(tmp_path / "set")

    def record() -> None:
        with writer.shard(0) as out:
            out.add_episode(*episode_arrays(0, 0, 5), task="task")
            raise RuntimeError("the simulator fell over")

    with pytest.raises(RuntimeError, match="simulator"):
        record()
    with pytest.raises(DataError, match="no episode"), writer.shard(0):
        pass
    assert list((tmp_path / "set" / ".shards").iterdir()) == []
    assert writer.finished_shards() == []
    with pytest.raises(DataError, match="no shard is finished"):
        writer.finalize()


def test_resuming_with_other_settings_is_refused(tmp_path: Path) -> None:
    record_shard(make_writer(tmp_path / "set"), 0)
    with pytest.raises(DataError, match=r"other settings \(fps: 5 there, 10 here\)"):
        make_writer(tmp_path / "set", fps=10).finished_shards()
    with pytest.raises(DataError, match="shard 0 of it is finished"):
        make_writer(tmp_path / "set").shard(0)
    record_shard(make_writer(tmp_path / "set"), 1)
    (tmp_path / "set" / ".shards" / "shard-00001" / "shard.json").write_text("")
    with pytest.raises(DataError, match="shard-00001 is damaged .* Delete it"):
        make_writer(tmp_path / "set").finalize()
    shutil.rmtree(tmp_path / "set" / ".shards" / "shard-00001")
    make_writer(tmp_path / "set").finalize()
    with pytest.raises(DataError, match="it is finished. Choose another"):
        make_writer(tmp_path / "set").shard(1)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda f, s, a: (f[:, :32], s, a),
            r"frames of main have shape \[32, 64, 3\], expected \[64, 64, 3\]",
        ),
        (lambda f, s, a: (f[:1], s[:1], a[:0]), "has 1 rows, expected 2"),
        (
            lambda f, s, a: (f.astype(float), s, a),
            r"frames are float64 of shape \(6, 64, 64, 3\), expected uint8",
        ),
        (lambda f, s, a: (f, s[:5], a), "expected uint8 and 5 of them, one for each state"),
        (lambda f, s, a: (f, s, np.concatenate([a, a[:1]])), "action has 7 rows, expected 6"),
        (
            lambda f, s, a: (f, s[:, :2], a),
            r"observation.state is float32 \[2\] a row, expected float32 \[3\]",
        ),
        (lambda f, s, a: (f, np.where(s == s[4, 1], np.nan, s), a), "state of row 4 is not finite"),
        (lambda f, s, a: (f, s, np.where(a == a[3, 0], np.inf, a)), "action of row 3 is not finite"),
    ],
)
def test_wrong_episodes_are_refused(
    tmp_path: Path, change: Callable[..., tuple[np.ndarray, ...]], expected: str
) -> None:
    writer = make_writer(tmp_path / "set")
    with pytest.raises(DataError, match=expected) as caught, writer.shard(0) as out:
        out.add_episode(*change(*episode_arrays(0, 0, 6)), task="task")
    assert "episode 0" in str(caught.value)
    assert writer.finished_shards() == []


def test_wrong_specifications_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="even H and W"):
        make_writer(tmp_path, image_shape=(63, 64, 3))
    with pytest.raises(DataError, match="0 action names"):
        make_writer(tmp_path, action_names=())


@pytest.mark.skipif(sys.platform != "linux", reason="limits of the size of a file are Linux's here")
def test_full_disk_while_recording_is_reported(tmp_path: Path) -> None:
    program = (
        "import resource, sys, numpy as np\n"
        "from pathlib import Path\n"
        "from tests.data.conftest import episode_arrays, make_writer, record_shard\n"
        "from vjepa_world.errors import DataError\n"
        "writer = make_writer(Path(sys.argv[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "try:\n"
        "    record_shard(writer, 0)\n"
        "except DataError as error:\n"
        "    sys.exit(str(error))\n"
    )
    root = REPO
    command = [sys.executable, "-c", program, str(tmp_path / "set")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=root)
    assert result.returncode == 1
    assert "Cannot write" in result.stderr
    assert "free some space" in result.stderr
    assert list((tmp_path / "set" / ".shards").iterdir()) == []


def edit_info(root: Path, **changes: Any) -> None:
    file = root / "meta/info.json"
    info = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in info.items() if value is not None}))


def edit_table(
    file: Path, column: str, change: Callable[[list[Any]], list[Any]] | None, kind: pa.DataType = None
) -> None:
    """Change a column's values, or remove it."""
    table = pq.read_table(file)
    column_index = table.schema.get_field_index(column)
    if change is None:
        table = table.drop_columns([column])
    else:
        values = pa.array(change(table[column].to_pylist()), kind or table.schema.field(column).type)
        table = table.set_column(column_index, column, values)
    pq.write_table(table, file)


DATA = "data/chunk-000/file-001.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = f"videos/{KEY}/chunk-000/file-001.mp4"
DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "another version": (
        lambda r: edit_info(r, codebase_version="v4.0"),
        "codebase_version v4.0; the versions v3.0, v2.1, v2.0 are read",
    ),
    "info lacks a key": (lambda r: edit_info(r, video_path=None), "info.json lacks video_path"),
    "info is not JSON": (
        lambda r: (r / "meta/info.json").write_text("{"),
        "info.json is not readable as JSON",
    ),
    "state feature missing": (
        lambda r: edit_info(r, features={"action": {"dtype": "float32", "shape": [2]}}),
        "no vector feature 'observation.state'; its features: action",
    ),
    "action of another size": (
        lambda r: edit_table(r / DATA, "action", lambda v: [*v[:4], [0.0], *v[5:]], pa.list_(pa.float32())),
        "episode 3: column action does not have 2 numbers in each row: row 4 has 1",
    ),
    "no episodes": (lambda r: shutil.rmtree(r / "meta/episodes"), "Copy the dataset's whole meta folder"),
    "data is not parquet": (lambda r: (r / DATA).write_bytes(b"words"), f"{DATA} cannot be read as parquet"),
    "column missing": (
        lambda r: edit_table(r / DATA, "action", None),
        "no column action. Its columns: observ",
    ),
    "length column missing": (lambda r: edit_table(r / EPISODES, "length", None), "no column length"),
    "rows disagree": (
        lambda r: edit_table(r / EPISODES, "length", lambda v: [12, 7, 9, 9, 10]),
        "file-001.parquet, episode 3: 8 rows, but the list of episodes has 9",
    ),
    "state is NaN": (
        lambda r: edit_table(
            r / DATA, "observation.state", lambda v: [*v[:5], [0.0, float("nan"), 0.0], *v[6:]]
        ),
        r"file-001.parquet, episode 3, row 5: observation.state is not finite: \[0.0, nan, 0.0\]",
    ),
    "rows out of order": (
        lambda r: edit_table(r / DATA, "frame_index", lambda v: [1, 0, *v[2:]]),
        "episode 3: frame_index does not count 0, 1, 2",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_datasets_are_reported_with_the_location(
    dataset_root: Path, tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "copy"
    shutil.copytree(dataset_root, root)
    harm, expected = DAMAGES[damage]
    harm(root)
    with pytest.raises(DataError, match=expected) as caught:
        LeRobotDataset(root).episode(3)
    assert str(root) in str(caught.value)


def test_a_video_with_too_few_frames_is_reported(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(dataset_root, root)
    write_video(root / VIDEO, np.stack([coded_frame(100 + t) for t in range(15)]), 5)
    dataset = LeRobotDataset(root)
    assert read_codes(dataset.episode(3).frames()) == list(range(100, 108))
    with pytest.raises(DataError, match=r"ends at 3\.000 s, but episode 4 has 11 rows, the last at 3\.600 s"):
        dataset.episode(4).frames([0])


def test_missing_episodes_cameras_and_frames_are_reported(dataset_root: Path, tmp_path: Path) -> None:
    dataset = LeRobotDataset(dataset_root)
    with pytest.raises(DataError, match="no episode 5: it has 5"):
        dataset.episode(5)
    with pytest.raises(DataError, match="no row 12; it has 12"):
        dataset.episode(0).frames([0, 12])
    with pytest.raises(DataError, match="no camera 'wrist'; its cameras: main"):
        LeRobotDataset(dataset_root, cameras=("wrist",))
    with pytest.raises(DataError, match="no camera 'wrist'; its cameras: main"):
        dataset.episode(0).frames([0], camera="wrist")
    with pytest.raises(DataError, match="no vector feature 'torque'; its features: observation.images.main"):
        LeRobotDataset(dataset_root, state="torque")
    with pytest.raises(DataError, match="is not a LeRobotDataset"):
        LeRobotDataset(tmp_path)


def test_recording_and_reading_are_not_slow(tmp_path: Path) -> None:
    """Far below what one core does (2,000 frames/s and more), so that only a gross slowdown fails."""
    writer = make_writer(tmp_path / "set", image_shape=(128, 128, 3))
    frames = np.stack([coded_frame(t % 256, 128) for t in range(300)])
    numbers = np.zeros((300, 3)), np.zeros((299, 2))
    start = time.process_time()
    with writer.shard(0) as out:
        out.add_episode(frames, *numbers, task="task")
    assert 300 / (time.process_time() - start) > 300
    episode = LeRobotDataset(writer.finalize()).episode(0)
    start = time.process_time()
    assert read_codes(episode.frames()[250:]) == list(range(250, 256)) + list(range(44))
    assert 300 / (time.process_time() - start) > 300

"""Conversion: every number is bit-exact, and every frame is copied or re-encoded."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.data.coded_video import coded_frame, read_codes, write_coded
from tests.data.trajectories.makers import KINDS, Kind, contents
from tests.data.v21_files import FPS, numbers, write_v21
from tests.paths import REPO
from vjepa_world.data.trajectories.convert import BAD_FILE, ConversionConfig, convert_trajectories
from vjepa_world.data.trajectories.formats.lerobot import writer as lerobot_writer
from vjepa_world.data.trajectories.formats.lerobot.columns import dataset_columns
from vjepa_world.data.trajectories.formats.lerobot.gather import gather
from vjepa_world.data.trajectories.formats.lerobot.layout import CLOCK, ColumnSpec, DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.shard import place_file
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter, finished_shards
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.data.trajectories.trajectory import Trajectory, VideoSpan
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention

LENGTHS = (7, 5, 6)


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a v2.1 dataset; read only."""
    return write_v21(tmp_path_factory.mktemp("old") / "set", LENGTHS)


def convert(source: Path, destination: Path, bear: float = 0.2, **words: object) -> LeRobotDataset:
    conversion = ConversionConfig(source=source, destination=destination, **words)  # type: ignore[arg-type]
    convert_trajectories(conversion, max_bad_fraction=bear, workers=1)
    return LeRobotDataset(destination)


def all_columns(episode: Trajectory) -> dict[str, np.ndarray]:
    found = {
        "states": episode.states,
        "actions": episode.actions,
        "timestamps_s": episode.timestamps_s,
        **{f"extrinsics {camera}": pose for camera, pose in episode.extrinsics.items()},
        **{f"intrinsics {camera}": matrix for camera, matrix in episode.intrinsics.items()},
        **{name.replace("/", "."): values for name, values in episode.columns.items()},
    }
    return found if episode.last_action is None else {**found, "last": episode.last_action}


def check_equal(found: Trajectory, expected: Trajectory) -> None:
    assert (found.task, found.success, found.cameras) == (expected.task, expected.success, expected.cameras)
    ours, theirs = all_columns(found), all_columns(expected)
    assert theirs.keys() <= ours.keys()
    assert ours.keys() - theirs.keys() <= {"last", "next.success"}
    for name, values in theirs.items():
        assert ours[name].dtype == values.dtype, name
        assert ours[name].tobytes() == np.ascontiguousarray(values).tobytes(), name


def test_v21_becomes_v3_bit_by_bit(old: Path, tmp_path: Path) -> None:
    new, before = convert(old, tmp_path / "new"), LeRobotDataset(old)
    assert new.meta.version == "v3.0" and new.num_episodes == 3
    assert (new.state_names, new.cameras, new.fps) == (before.state_names, before.cameras, before.fps)
    for index in range(3):
        ours, theirs = new.episode(index), before.episode(index)
        check_equal(ours, theirs)
        for camera in new.cameras:
            assert torch.equal(ours.frames(camera=camera), theirs.frames(camera=camera))
            assert ours.videos[camera].path.read_bytes() == theirs.videos[camera].path.read_bytes()
    assert sorted(path.name for path in new.path.iterdir()) == ["data", "meta", "videos"]


def test_v3_with_shared_files_becomes_v3(dataset_root: Path, tmp_path: Path) -> None:
    new, before = convert(dataset_root, tmp_path / "new"), LeRobotDataset(dataset_root)
    for index in range(before.num_episodes):
        ours, theirs = new.episode(index), before.episode(index)
        check_equal(ours, theirs)
        assert torch.equal(ours.frames(), theirs.frames())
        assert ours.videos["main"].from_s == theirs.videos["main"].from_s
        assert ours.videos["main"].to_s == theirs.videos["main"].to_s
    assert len(list((tmp_path / "new").rglob("*.mp4"))) == len(list(dataset_root.rglob("*.mp4"))) == 2
    again = convert(tmp_path / "new", tmp_path / "again")
    for name in ("info", "stats"):
        first, second = (
            json.loads((root / f"meta/{name}.json").read_text()) for root in (new.path, again.path)
        )
        assert first == second


def test_the_features_are_those_that_lerobot_expects(old: Path, tmp_path: Path) -> None:
    """Scalars are not lists, vectors have a fixed length, and the stored dtype is the declared one."""
    new = convert(old, tmp_path / "new")
    schema = pq.read_schema(next(new.path.glob("data/*/*.parquet")))
    stats = json.loads((new.path / "meta/stats.json").read_text())
    rows = pq.read_table(next(new.path.glob("meta/episodes/*/*.parquet"))).to_pylist()
    for name, feature in new.meta.features.items():
        assert name in stats and f"stats/{name}/mean" in rows[0]
        if feature["dtype"] == "video":
            for word in ("chunk_index", "file_index", "from_timestamp", "to_timestamp"):
                assert f"videos/{name}/{word}" in rows[0]
            assert np.shape(stats[name]["mean"]) == (3, 1, 1)
            continue
        assert list(np.shape(stats[name]["mean"])) == feature["shape"]
        kind = schema.field(name).type
        if feature["shape"] != [1]:
            assert len(feature["shape"]) > 1 or kind.list_size == feature["shape"][0]
            while hasattr(kind, "value_type"):
                kind = kind.value_type
        assert str(kind).replace("halffloat", "float16").replace("double", "float64") in (
            feature["dtype"],
            {"float32": "float"}.get(feature["dtype"]),
        )
    assert new.meta.features["observation.images.wrist"]["info"]["video.codec"] == "h264"
    assert new.meta.info["fps"] == FPS and isinstance(new.meta.info["fps"], int)
    # The reward of the second row is NaN in every episode and left out.
    assert stats["next.reward"]["count"] == [sum(LENGTHS) - 3]
    values = np.concatenate([numbers(i, n)["observation.grid"] for i, n in enumerate(LENGTHS)]).astype(float)
    np.testing.assert_allclose(stats["observation.grid"]["mean"], values.mean(0))


def test_reencoded_frames_are_close(old: Path, tmp_path: Path) -> None:
    new = convert(old, tmp_path / "new", reencode=True)
    before = LeRobotDataset(old)
    for index, length in enumerate(LENGTHS):
        ours, theirs = new.episode(index), before.episode(index)
        check_equal(ours, theirs)
        for camera in ("front", "wrist"):
            read = ours.frames(camera=camera)
            assert read_codes(read) == list(range(length))
            assert (read.float() - theirs.frames(camera=camera).float()).abs().mean() < 3
    # One file for all episodes of the shard, one after another.
    assert new.episode(2).videos["front"].from_s == pytest.approx(12 / FPS)


def test_images_in_parquet_become_video(tmp_path: Path) -> None:
    new = convert(write_v21(tmp_path / "old", (4, 3), picture=True), tmp_path / "new")
    assert new.cameras == ("front", "wrist", "top")
    assert read_codes(new.episode(1).frames(camera="top")) == [50, 51, 52]
    assert read_codes(new.episode(1).frames(camera="front")) == [0, 1, 2]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_format_can_be_converted(kind: Kind, tmp_path: Path) -> None:
    source = kind.make(tmp_path / "old", contents(kind))
    before = open_trajectories(source)
    new = convert(source, tmp_path / "new")
    assert (new.num_episodes, new.fps) == (before.num_episodes, before.fps)
    assert (new.state_names, new.action_names) == (before.state_names, before.action_names)
    assert new.convention == before.convention
    for index in range(before.num_episodes):
        ours, theirs = new.episode(index), before.episode(index)
        np.testing.assert_allclose(ours.timestamps_s, theirs.timestamps_s, atol=1e-6)
        check_equal(ours, _with_clock(theirs, ours))
        for camera in before.cameras:
            assert read_codes(ours.frames(camera=camera)) == read_codes(theirs.frames(camera=camera))
            if theirs.videos:
                assert torch.equal(ours.frames(camera=camera), theirs.frames(camera=camera))
    before.close()


def _with_clock(trajectory: Trajectory, other: Trajectory) -> Trajectory:
    """Formats without a clock count rows in float64, LeRobot's column is float32: compared separately."""
    return dataclasses.replace(trajectory, timestamps_s=other.timestamps_s)


def recorded(root: Path, clock_s: np.ndarray, **changes: object) -> LeRobotDataset:
    """Write one episode whose rows were taken at these times, with a video file of ten frames per second."""
    length = len(clock_s)
    path = write_coded(root.parent / "clip.mp4", [100 * t for t in range(length)])
    span = VideoSpan(path=path, from_s=0.0, to_s=length / 10, times_s=np.arange(length) / 10)
    frames = torch.from_numpy(np.stack([coded_frame(t) for t in range(length)])).permute(0, 3, 1, 2)
    settings: dict[str, object] = {
        "index": 0,
        "name": "the episode",
        "fps": 10.0,
        "states": np.zeros((length, 2)),
        "actions": np.ones((length - 1, 1), np.float32),
        "timestamps_s": clock_s,
        "cameras": ("top",),
        "load_frames": lambda camera, rows: frames[rows],
        "videos": {"top": span},
    }
    trajectory = Trajectory(**(settings | changes))  # type: ignore[arg-type]
    spec = DatasetSpec(
        fps=10,
        state_names=("a", "b"),
        action_names=("c",),
        robot_type="arm",
        cameras={camera: VideoSpec.encoded(64, 64, 10) for camera in trajectory.cameras},
        state_dtype="float64",
        columns={
            name: ColumnSpec.of(values)
            for name, values in dataset_columns(trajectory).items()
            if name not in ("observation.state", "action")
        },
        convention=Convention(
            position_at=(), rotation="none", rotation_at=(), gripper_at=(1,), actions="given"
        ),
    )
    writer = LeRobotWriter(root, spec)
    with writer.shard(0) as out:
        out.add(trajectory)
    return LeRobotDataset(writer.finalize())


def test_a_separate_clock_is_stored_next_to_the_video_times(tmp_path: Path) -> None:
    clock_s = np.array([0.0, 0.1037, 0.2001, 0.3141])
    dataset = recorded(tmp_path / "set", clock_s)
    assert np.array_equal(dataset.episode(0).timestamps_s, clock_s)
    assert read_codes(dataset.episode(0).frames()) == [0, 1, 2, 3]
    assert CLOCK in dataset.meta.features
    again = convert(tmp_path / "set", tmp_path / "again")
    assert np.array_equal(again.episode(0).timestamps_s, clock_s)
    assert read_codes(again.episode(0).frames()) == [0, 1, 2, 3]
    plain = recorded(tmp_path / "plain", np.arange(4) / 10)
    assert CLOCK not in plain.meta.features


def test_declared_convention_intrinsics_and_success_survive_conversion(tmp_path: Path) -> None:
    matrix = np.array([[60.5, 0, 32], [0, 60.5, 31.7], [0, 0, 1]])
    dataset = recorded(tmp_path / "set", np.arange(4) / 10, intrinsics={"top": matrix}, success=True)
    assert dataset.convention.gripper_at == (1,)
    episode = dataset.episode(0)
    assert np.array_equal(episode.intrinsics["top"], matrix)
    assert episode.success is True
    assert episode.columns["next.success"].tolist() == [False, False, False, True]
    file = tmp_path / "set/meta/vjepa_world.json"
    file.write_text(json.dumps({"convention": {"rotatoin": "xyz"}}))
    with pytest.raises(
        DataError, match=r"vjepa_world.json: convention has an unknown key 'rotatoin'; did you mean 'rota"
    ):
        LeRobotDataset(tmp_path / "set")


def test_cameras_with_different_times_are_reported(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "slow.mp4", [200 * t for t in range(4)])
    slow = VideoSpan(path=path, from_s=0.0, to_s=0.8, times_s=np.arange(4) / 5)
    with pytest.raises(
        DataError, match=r"row 1: camera top shows it 0\.1000 s .*another camera 0\.2000 s.*--reencode"
    ):
        recorded(tmp_path / "set", np.arange(4) / 10, cameras=("top", "side"), videos={"side": slow})


def test_unusable_episodes_are_left_out_and_listed(tmp_path: Path) -> None:
    old = write_v21(tmp_path / "old", (4,) * 10)
    (old / "data/chunk-001/episode_000003.parquet").write_bytes(b"words")
    write_coded(old / "videos/chunk-002/observation.images.wrist/episode_000005.mp4", [0, 100])
    new = convert(old, tmp_path / "new")
    before = LeRobotDataset(old)
    kept = [index for index in range(10) if index not in (3, 5)]
    assert new.num_episodes == 8
    for ours, theirs in enumerate(kept):
        assert np.array_equal(new.episode(ours).states, before.episode(theirs).states)
        assert read_codes(new.episode(ours).frames(camera="wrist")) == [0, 1, 2, 3]
    with open(tmp_path / "new" / BAD_FILE, newline="") as stream:
        listed = {row["path"]: row["reason"] for row in csv.DictReader(stream)}
    assert list(listed) == [f"episode {index} of {old}" for index in (3, 5)]
    reasons = list(listed.values())
    assert "episode_000003.parquet cannot be read as parquet" in reasons[0]
    assert "ends at 0.200 s, but episode 5 has 4 rows" in reasons[1]


def test_too_many_unusable_episodes_stop_it(tmp_path: Path) -> None:
    old = write_v21(tmp_path / "old", (4,) * 10)
    for index in (3, 5, 7):
        (old / f"data/chunk-00{index // 2}/episode_00000{index}.parquet").write_bytes(b"words")
    with pytest.raises(DataError, match=r"3 of 10 episodes are bad; --max-bad-fraction=0.2 allows 2"):
        convert(old, tmp_path / "new")
    assert not (tmp_path / "new/meta/info.json").exists()
    assert (tmp_path / "new" / BAD_FILE).is_file()
    assert convert(old, tmp_path / "new", bear=0.3).num_episodes == 7


def test_no_usable_episode_is_an_error(tmp_path: Path) -> None:
    old = write_v21(tmp_path / "old", (4, 4))
    for file in old.glob("data/*/*.parquet"):
        file.write_bytes(b"words")
    with pytest.raises(
        DataError, match=r"has 2 episodes, and none is readable. The first: .* cannot be read"
    ):
        convert(old, tmp_path / "new")
    for file in old.glob("data/*/*.parquet"):
        file.unlink()
    with pytest.raises(DataError, match="none of the 2 episodes has all of its files"):
        convert(old, tmp_path / "new")


def test_a_destination_with_other_content_is_refused(old: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/plan.txt").write_text("mine")
    with pytest.raises(DataError, match="notes exists and is not a stopped conversion. Give a new folder"):
        convert(old, tmp_path / "notes")
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["plan.txt"]
    convert(old, tmp_path / "new")
    with pytest.raises(DataError, match="new is a finished dataset"):
        convert(old, tmp_path / "new")
    copy = shutil.copytree(old, tmp_path / "copy")
    with pytest.raises(DataError, match="copy is a finished dataset"):
        convert(old, copy)


KILLED = """
import sys
from pathlib import Path
from vjepa_world.data.trajectories.convert import ConversionConfig, convert_trajectories

if __name__ == "__main__":
    conversion = ConversionConfig(source=Path(sys.argv[1]), destination=Path(sys.argv[2]))
    convert_trajectories(conversion, workers=1)
"""


def test_a_killed_conversion_resumes_to_the_same_dataset(tmp_path: Path) -> None:
    old = write_v21(tmp_path / "old", (3,) * 75)
    (old / "data/chunk-004/episode_000008.parquet").write_bytes(b"words")
    (tmp_path / "program.py").write_text(KILLED)
    program = subprocess.Popen(
        [sys.executable, str(tmp_path / "program.py"), str(old), str(tmp_path / "new")],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not finished_shards(tmp_path / "new") and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    finished = finished_shards(tmp_path / "new")
    assert 0 < len(finished) < 3
    with pytest.raises(DataError, match="is an unfinished dataset"):
        LeRobotDataset(tmp_path / "new")
    with pytest.raises(
        DataError, match=r"stopped conversion with other settings \(reencode was False, is now True\)"
    ):
        convert(old, tmp_path / "new", reencode=True)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "new").rglob(f"shard-{finished[0]:05d}/*")}
    seen: list[tuple[int, int]] = []
    done = convert_trajectories(
        ConversionConfig(source=old, destination=tmp_path / "new"),
        workers=2,
        progress=lambda count, total: seen.append((count, total)),
    )
    assert kept and (done.episodes, done.frames, len(done.bad)) == (74, 222, 1)
    assert len(seen) == 3 - len(finished) and seen[-1] == (75, 75)
    convert(old, tmp_path / "whole")
    ours = sorted(
        path.relative_to(tmp_path / "new") for path in (tmp_path / "new").rglob("*") if path.is_file()
    )
    theirs = sorted(p.relative_to(tmp_path / "whole") for p in (tmp_path / "whole").rglob("*") if p.is_file())
    assert ours == theirs
    for path in ours:
        assert (tmp_path / "new" / path).read_bytes() == (tmp_path / "whole" / path).read_bytes(), path


def as_snapshot(root: Path, hub: Path) -> Path:
    """Return the same dataset as the Hugging Face cache keeps it: relative links into a folder of blobs."""
    snapshot, blobs = hub / "datasets--a--b/snapshots/0123abc", hub / "datasets--a--b/blobs"
    blobs.mkdir(parents=True)
    for number, file in enumerate(sorted(file for file in root.rglob("*") if file.is_file())):
        shutil.copy(file, blobs / f"{number:040x}")
        link = snapshot / file.relative_to(root)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blobs / f"{number:040x}", link.parent))
    return snapshot


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("can_link", [True, False])
def test_a_snapshot_of_links_becomes_files(
    old: Path,
    dataset_root: Path,
    tmp_path: Path,
    version: str,
    can_link: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = old if version == "v2.1" else dataset_root
    snapshot = as_snapshot(source, tmp_path / "hub")
    if not can_link:

        def refuse(*positions: object) -> None:
            raise OSError("another disk")

        monkeypatch.setattr(os, "link", refuse)
    new, before = convert(snapshot, tmp_path / "new"), LeRobotDataset(source)
    assert not [path for path in new.path.rglob("*") if path.is_symlink()]
    shutil.rmtree(tmp_path / "hub")  # nothing of it is needed any more
    for index in range(before.num_episodes):
        check_equal(new.episode(index), before.episode(index))
        for camera in before.cameras:
            assert torch.equal(
                new.episode(index).frames(camera=camera), before.episode(index).frames(camera=camera)
            )


def test_links_inside_of_a_dataset_become_files(old: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(old, tmp_path / "copy")
    for number, file in enumerate(sorted(copy.rglob("*.mp4"))):
        (copy / "store").mkdir(exist_ok=True)
        shutil.move(file, copy / f"store/{number}.mp4")
        file.symlink_to(os.path.relpath(copy / f"store/{number}.mp4", file.parent))
    new = convert(copy, tmp_path / "new")
    assert not [path for path in new.path.rglob("*") if path.is_symlink()]
    assert read_codes(new.episode(2).frames(camera="wrist")) == list(range(6))


def _dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.mp4")


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()  # it may be a second name of the source's
    path.write_bytes(content[:-200])


LOST: dict[str, tuple[str, Callable[[Path], None], str]] = {
    "a link": ("videos/*/*/*.mp4", _dangling, "is a link, not a file"),
    "no video": ("videos/*/*/*.mp4", Path.unlink, "missing, not a file"),
    "half a video": ("videos/*/*/*.mp4", _cut, "Cannot read .*mp4"),
    "another video": ("videos/*/*/*.mp4", lambda p: _another(p), "lasts 0.200 s, and its episodes last to"),
    "no data": ("data/*/*.parquet", Path.unlink, "missing, not a file"),
    "half of the data": ("data/*/*.parquet", _cut, "parquet"),
    "no list": ("meta/episodes/*/*.parquet", Path.unlink, "has no meta/episodes"),
}


def _another(path: Path) -> None:
    path.unlink()
    write_coded(path, [0, 100])


@pytest.mark.parametrize("loss", LOST)
def test_a_conversion_that_does_not_read_back_is_not_finished(
    loss: str, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern, harm, message = LOST[loss]

    def gather_and_damage(root: Path, *words: object) -> None:
        gather(root, *words)  # type: ignore[arg-type]
        harm(sorted(root.glob(pattern))[0])

    monkeypatch.setattr(lerobot_writer, "gather", gather_and_damage)
    with pytest.raises(DataError, match=f"was written, but cannot be read back: .*{message}"):
        convert(old, tmp_path / "new")
    assert not (tmp_path / "new/meta/info.json").exists()
    monkeypatch.undo()
    assert convert(old, tmp_path / "new").num_episodes == 3  # the shards exist, so it resumes


def test_a_truncated_copy_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tmp_path / "a.mp4", tmp_path / "b.mp4"
    source.write_bytes(b"12345678")
    monkeypatch.setattr(os, "link", lambda real, other: Path(other).write_bytes(b"1234"))
    with pytest.raises(DataError, match=r"Cannot write .*b\.mp4: the copy of .*a\.mp4 has 4 bytes, not 8"):
        place_file(source, target)
    assert not target.exists()


def test_a_dangling_destination_is_refused(old: Path, tmp_path: Path) -> None:
    (tmp_path / "new").symlink_to("nowhere")
    with pytest.raises(DataError, match="new exists and is not a stopped conversion"):
        convert(old, tmp_path / "new")

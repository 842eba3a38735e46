"""Tiny datasets of every format, with known numbers and frames that show their number."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.data.coded_video import coded_frame
from tests.data.trajectories.tf_writer import example, write_records
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.data.video.writer import write_video

LENGTHS = (7, 5, 6)


@dataclass
class Content:
    """What an episode is to hold.

    Attributes:
        states: [T,S].
        actions: [T,A], with a row for the last observation too, as most files have.
        frames: By camera, uint8 [T,H,W,3].
        task: In words.
    """

    states: np.ndarray
    actions: np.ndarray
    frames: dict[str, np.ndarray]
    task: str


@dataclass(frozen=True)
class Kind:
    """A format, and how to make a dataset of it.

    Attributes:
        name: What the tests call it.
        format: What the dataset says it is.
        make: Writes contents into a folder and returns the dataset's path.
        sizes: Numbers of a state and of an action.
        cameras: Their names, in the reader's order.
        fps: Rows per second.
        numbers_in: A file that holds numbers of the last episode, relative to the folder.
        declared: Whether there is a pose in its states by default.
    """

    name: str
    format: str
    make: Callable[[Path, Sequence[Content]], Path]
    sizes: tuple[int, int]
    cameras: tuple[str, ...]
    fps: float
    numbers_in: str
    declared: bool = False


def code(episode: int, row: int, camera: int) -> int:
    """Return the number that a frame shows."""
    return 20 * episode + row + 100 * camera


def contents(kind: Kind) -> list[Content]:
    """Return what the episodes of a tiny dataset hold; the numbers are poses where the format has them."""
    found = []
    for episode, length in enumerate(LENGTHS):
        rng = np.random.default_rng(episode)
        states = rng.uniform(-0.5, 0.5, (length, kind.sizes[0])).astype(np.float32)
        frames = {
            name: np.stack([coded_frame(code(episode, row, camera)) for row in range(length)])
            for camera, name in enumerate(kind.cameras)
        }
        actions = rng.uniform(-1, 1, (length, kind.sizes[1])).astype(np.float32)
        found.append(Content(states, actions, frames, f"task {episode % 2}"))
    return found


def make_lerobot(root: Path, episodes: Sequence[Content]) -> Path:
    first = episodes[0]
    height, width = first.frames["main"].shape[1:3]
    spec = DatasetSpec(
        fps=5,
        state_names=tuple(f"s{i}" for i in range(first.states.shape[1])),
        action_names=tuple(f"a{i}" for i in range(first.actions.shape[1])),
        robot_type="test_arm",
        cameras={"main": VideoSpec.encoded(height, width, 5)},
    )
    writer = LeRobotWriter(root, spec)
    with writer.shard(0) as out:
        for episode in episodes:
            out.add_episode(episode.frames["main"], episode.states, episode.actions[:-1], task=episode.task)
    return writer.finalize()


def make_lerobot_v21(root: Path, episodes: Sequence[Content]) -> Path:
    def write_lines(name: str, rows: list[dict[str, object]]) -> None:
        (root / "meta" / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    (root / "meta").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    key = "observation.images.main"
    tasks = sorted({episode.task for episode in episodes})
    start = 0
    for index, episode in enumerate(episodes):
        rows = np.arange(len(episode.states))
        table = {
            "observation.state": pa.array(list(episode.states)),
            "action": pa.array(list(episode.actions)),
            "timestamp": pa.array((rows / 5).astype(np.float32)),
            "frame_index": pa.array(rows),
            "episode_index": pa.array(np.full(len(rows), index)),
            "index": pa.array(rows + start),
            "task_index": pa.array(np.full(len(rows), tasks.index(episode.task))),
        }
        pq.write_table(pa.table(table), root / f"data/chunk-000/episode_{index:06d}.parquet")
        write_video(root / f"videos/chunk-000/{key}/episode_{index:06d}.mp4", episode.frames["main"], 5)
        start += len(rows)
    first = episodes[0]
    features = {
        key: {"dtype": "video", "shape": [64, 64, 3], "names": ["height", "width", "channels"]},
        "observation.state": {"dtype": "float32", "shape": [first.states.shape[1]], "names": None},
        "action": {"dtype": "float32", "shape": [first.actions.shape[1]], "names": None},
        "timestamp": {"dtype": "float32", "shape": [1], "names": None},
        **{
            name: {"dtype": "int64", "shape": [1], "names": None}
            for name in ("frame_index", "episode_index", "index", "task_index")
        },
    }
    info = {
        "codebase_version": "v2.1",
        "robot_type": "test_arm",
        "fps": 5,
        "total_episodes": len(episodes),
        "total_frames": start,
        "total_tasks": len(tasks),
        "total_videos": len(episodes),
        "total_chunks": 1,
        "chunks_size": 1000,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    write_lines("tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(tasks)])
    write_lines(
        "episodes.jsonl",
        [
            {"episode_index": i, "tasks": [episode.task], "length": len(episode.states)}
            for i, episode in enumerate(episodes)
        ],
    )
    return root


def make_droid(root: Path, episodes: Sequence[Content]) -> Path:
    for index, episode in enumerate(episodes):
        outcome = "failure" if index == 1 else "success"
        folder = root / outcome / "2023-05-15" / f"Mon_May_15_00:5{index}:15_2023"
        videos = folder / "recordings/MP4"
        videos.mkdir(parents=True)
        metadata: dict[str, object] = {"success": outcome == "success", "current_task": episode.task}
        with h5py.File(folder / "trajectory.h5", "w") as file:
            state = file.create_group("observation/robot_state")
            state["cartesian_position"] = episode.states[:, :6].astype(np.float64)
            state["gripper_position"] = episode.states[:, 6].astype(np.float64)
            state["joint_positions"] = np.zeros((len(episode.states), 7))
            file["action/cartesian_position"] = episode.actions[:, :6].astype(np.float64)
            file["action/gripper_position"] = episode.actions[:, 6].astype(np.float64)
            for number, (camera, frames) in enumerate(episode.frames.items()):
                serial = f"{index}{number}345678"
                metadata[f"{camera}_mp4_path"] = f"{outcome}/x/recordings/MP4/{serial}.mp4"
                pose = np.full((len(episode.states), 6), 0.1 * (number + 1))
                file[f"observation/camera_extrinsics/{serial}_left"] = pose
                write_video(videos / f"{serial}.mp4", frames, 15)
        (folder / f"metadata_lab+{index}.json").write_text(json.dumps(metadata))
    return root


def make_robomimic(root: Path, episodes: Sequence[Content]) -> Path:
    root.mkdir(parents=True)
    path = root / "image.hdf5"
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_name": "Lift", "env_kwargs": {"control_freq": 10}})
        # Written last first, and enough of them that the order of names is not that of numbers.
        for index in reversed(range(len(episodes))):
            episode = episodes[index]
            demo = data.create_group(f"demo_{(1, 2, 10)[index]}")
            demo.attrs["ep_meta"] = json.dumps({"lang": episode.task})
            demo["actions"] = episode.actions.astype(np.float64)
            demo["states"] = np.zeros((len(episode.states), 11))
            demo["rewards"] = np.eye(len(episode.states))[-1] * (index != 1)
            demo["obs/robot0_eef_pos"] = episode.states[:, :3]
            demo["obs/robot0_eef_quat"] = episode.states[:, 3:7]
            demo["obs/robot0_gripper_qpos"] = episode.states[:, 7:]
            for camera, frames in episode.frames.items():
                demo[f"obs/{camera}_image"] = frames
    return path


def make_ogbench(root: Path, episodes: Sequence[Content]) -> Path:
    return _save_ogbench(root, episodes, images=True)


def make_ogbench_compressed(root: Path, episodes: Sequence[Content]) -> Path:
    return _save_ogbench(root, episodes, images=True, save=np.savez_compressed)


def make_ogbench_vectors(root: Path, episodes: Sequence[Content]) -> Path:
    return _save_ogbench(root, episodes, images=False)


def _save_ogbench(
    root: Path, episodes: Sequence[Content], *, images: bool, save: Callable[..., None] = np.savez
) -> Path:
    root.mkdir(parents=True)
    states = np.concatenate([episode.states for episode in episodes])
    ends = np.concatenate([np.eye(len(episode.states))[-1] for episode in episodes])
    arrays = {
        "actions": np.concatenate([episode.actions for episode in episodes]),
        "terminals": ends.astype(np.float32),
    }
    if images:
        arrays["observations"] = np.concatenate([episode.frames["main"] for episode in episodes])
        arrays["qpos"], arrays["qvel"] = states[:, :5], states[:, 5:]
    else:
        arrays["observations"] = states
    save(root / "play.npz", **arrays)
    return root / "play.npz"


def make_rlds(root: Path, episodes: Sequence[Content]) -> Path:
    root.mkdir(parents=True)
    records = [rlds_example(episode, index) for index, episode in enumerate(episodes)]
    for shard, part in enumerate((records[:2], records[2:])):
        write_records(root / f"bridge_dataset-train.tfrecord-{shard:05d}-of-00002", part)
    (root / "dataset_info.json").write_text(json.dumps({"name": "bridge_dataset", "version": "1.0.0"}))
    return root


def rlds_example(episode: Content, index: int, **changes: object) -> bytes:
    rows = len(episode.states)
    features: dict[str, object] = {
        "steps/observation/state": episode.states,
        "steps/action": episode.actions,
        "steps/reward": np.zeros(rows, np.float32),
        "steps/is_first": (np.arange(rows) == 0).astype(np.int64),
        "steps/is_last": (np.arange(rows) == rows - 1).astype(np.int64),
        "steps/language_instruction": [episode.task.encode()] * rows,
        "episode_metadata/success": np.array([index != 1], np.int64),
        **{
            f"steps/observation/{camera}": [png(frame) for frame in frames]
            for camera, frames in episode.frames.items()
        },
    }
    return example({**features, **changes})  # type: ignore[dict-item]


def png(frame: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(frame).save(out, "png")
    return out.getvalue()


KINDS = (
    Kind(
        "lerobot", "LeRobotDataset", make_lerobot, (7, 7), ("main",), 5.0, "data/chunk-000/file-000.parquet"
    ),
    Kind(
        "lerobot_v21",
        "LeRobotDataset",
        make_lerobot_v21,
        (7, 7),
        ("main",),
        5.0,
        "data/chunk-000/episode_000002.parquet",
    ),
    Kind(
        "droid",
        "droid",
        make_droid,
        (7, 7),
        ("left", "wrist"),
        15.0,
        "success/2023-05-15/Mon_May_15_00:52:15_2023/trajectory.h5",
        declared=True,
    ),
    Kind(
        "robomimic",
        "robomimic",
        make_robomimic,
        (9, 7),
        ("agentview", "eye_in_hand"),
        10.0,
        "image.hdf5",
        declared=True,
    ),
    Kind("ogbench", "ogbench", make_ogbench, (7, 5), ("main",), 20.0, "play.npz"),
    Kind("ogbench_compressed", "ogbench", make_ogbench_compressed, (7, 5), ("main",), 20.0, "play.npz"),
    Kind("ogbench_vectors", "ogbench", make_ogbench_vectors, (28, 5), (), 20.0, "play.npz"),
    Kind(
        "rlds",
        "rlds",
        make_rlds,
        (7, 7),
        ("image_0", "image_1"),
        5.0,
        "bridge_dataset-train.tfrecord-00001-of-00002",
        declared=True,
    ),
)

BY_NAME = {kind.name: kind for kind in KINDS}


def changed(episodes: Sequence[Content], index: int, **changes: object) -> list[Content]:
    """Return the episodes with one of them changed."""
    return [
        replace(episode, **changes) if number == index else episode  # type: ignore[arg-type]
        for number, episode in enumerate(episodes)
    ]

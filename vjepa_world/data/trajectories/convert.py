"""Converts trajectories of any format to a LeRobotDataset v3.0: numbers bit-exact, video files unchanged.

It works in shards of episodes, so that a stopped conversion continues when it is started again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.loading.worker_pool import ProcessWording, spawned_map
from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.columns import dataset_columns
from vjepa_world.data.trajectories.formats.lerobot.layout import (
    ACTION,
    STATE,
    ColumnSpec,
    DatasetSpec,
    VideoSpec,
)
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter, finished_shards
from vjepa_world.data.trajectories.reader_helpers import first_readable, read_json
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
from vjepa_world.data.video.reader import pixel_format, probe_video
from vjepa_world.errors import DataError
from vjepa_world.files.atomic import WriteError, atomic_path
from vjepa_world.ops.convention import Convention
from vjepa_world.system.cpu import available_cores

BAD_FILE = "bad_episodes.csv"
_SHARD_EPISODES = 25
_SETTINGS_FILE = f"{layout.SHARDS}/conversion.json"


@dataclass(frozen=True, kw_only=True)
class ConversionConfig:
    """The settings of a conversion; started again with the same settings, it continues.

    Attributes:
        source: A dataset of any known format.
        destination: A new folder.
        convention: How its numbers are written, if it does not declare that itself.
        reencode: Encode frames even if the source has video files.
        crf: x264 quality of encoded frames, 0 (lossless) to 51 (worst).
    """

    source: Path
    destination: Path
    convention: Convention | None = None
    reencode: bool = False
    crf: int = 18

    def open(self) -> TrajectoryDataset:
        """Open the source."""
        return open_trajectories(self.source, convention=self.convention)


@dataclass(frozen=True, kw_only=True)
class ConversionResult:
    """The result of a conversion.

    Attributes:
        episodes: Number of episodes written and verified.
        frames: Number of frames of these episodes.
        bad: Episodes that are left out, with their reasons.
        left_out: Other parts of the source that are left out (columns, cameras, missing episodes), with their reasons.
    """

    episodes: int
    frames: int
    bad: dict[str, str]
    left_out: Mapping[str, str]


def convert_trajectories(
    conversion: ConversionConfig,
    *,
    max_bad_fraction: float = 0.2,
    workers: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> ConversionResult:
    """Write a LeRobotDataset v3.0 with the same episodes; unusable ones are left out and listed in a CSV file.

    Args:
        conversion: The settings.
        max_bad_fraction: Share of unusable episodes above which to stop.
        workers: Number of processes; 0 takes one for each core, 1 only this one.
        progress: Called with the number of finished episodes and of all episodes.

    Raises:
        DataError: The destination is a finished dataset or something else, the source cannot be read or has too many
            unusable episodes, or a process died.
        WriteError: The destination cannot be written.
    """
    dataset = conversion.open()
    try:
        total = dataset.num_episodes
        _prepare_destination(conversion, dataset)
        spec = first_readable(
            total, lambda index: spec_of(dataset, dataset.episode(index), conversion.reencode), dataset.path
        )
        writer = LeRobotWriter(conversion.destination, spec, crf=conversion.crf)
        done = set(writer.finished_shards())
        bad = BadFiles(max_bad_fraction, writer.skipped(), what="episodes", option="--max-bad-fraction")
        finished = sum(len(_episodes(shard, total)) for shard in done)
        work = [
            _Shard(writer, conversion, shard, total) for shard in range(_count(total)) if shard not in done
        ]
        try:
            for count, skipped in _run(work, dataset, workers or available_cores()):
                finished += count
                for name, reason in skipped.items():
                    bad.add(name, reason)
                bad.check(total)
                if progress is not None:
                    progress(finished, total)
            bad.check(total)
        finally:
            if len(bad):
                bad.write(conversion.destination / BAD_FILE)
        episodes, frames = writer.num_recorded()
        writer.finalize()
        left_out = dict(dataset.about.get("left_out", {}))
        return ConversionResult(episodes=episodes, frames=frames, bad=bad.reasons, left_out=left_out)
    finally:
        dataset.close()


def spec_of(dataset: TrajectoryDataset, first: Trajectory, reencode: bool) -> DatasetSpec:
    """Return the specification of a LeRobotDataset of these trajectories, taken from the first.

    Raises:
        DataError: Its frames cannot be read or encoded.
    """
    numbers = dataset_columns(first)
    return DatasetSpec(
        fps=dataset.fps,
        state_names=dataset.state_names,
        action_names=dataset.action_names,
        robot_type=str(dataset.about.get("robot") or "unknown"),
        cameras={camera: _video_spec(dataset, first, camera, reencode) for camera in dataset.cameras},
        state_dtype=first.states.dtype.name,
        action_dtype=first.actions.dtype.name,
        columns={
            name: ColumnSpec.of(values) for name, values in numbers.items() if name not in (STATE, ACTION)
        },
        convention=dataset.convention,
        environment=dict(dataset.about.get("environment", {})),
    )


def _video_spec(dataset: TrajectoryDataset, first: Trajectory, camera: str, reencode: bool) -> VideoSpec:
    if reencode or camera not in first.videos:
        _, _, height, width = first.frames([0], camera).shape
        return VideoSpec.encoded(height, width, dataset.fps)
    path = first.videos[camera].path
    info = probe_video(path)
    return VideoSpec(
        height=info.height,
        width=info.width,
        fps=info.fps,
        codec=info.codec,
        pix_fmt=pixel_format(path) or "unknown",
    )


def _prepare_destination(conversion: ConversionConfig, dataset: TrajectoryDataset) -> None:
    """Write the settings into a new destination, or check that it is a stopped conversion with the same settings.

    Raises:
        DataError: It is something else, or a conversion with other settings.
    """
    destination, file = conversion.destination, conversion.destination / _SETTINGS_FILE
    settings = {
        "source": str(conversion.source.resolve()),
        "files": dataset.fingerprint(),
        "convention": json.loads(json.dumps(dataclasses.asdict(dataset.convention))),
        "reencode": conversion.reencode,
        "crf": conversion.crf,
    }
    if file.is_file():
        before = read_json(file)
        differing = [
            f"{name} was {before.get(name)}, is now {value}"
            for name, value in settings.items()
            if before.get(name) != value
        ]
        if differing:
            raise DataError(
                f"{destination} is a stopped conversion with other settings ({'; '.join(differing)}). Use the same to "
                "continue, or give another folder."
            )
        return
    if (destination / layout.INFO_PATH).exists():
        raise DataError(f"{destination} is a finished dataset. Give a new folder, or remove it first.")
    others = [entry.name for entry in destination.iterdir()] if destination.is_dir() else []
    is_other = destination.is_file() or (destination.is_symlink() and not destination.exists())
    if set(others) - {layout.SHARDS} or finished_shards(destination) or is_other:
        raise DataError(f"{destination} exists and is not a stopped conversion. Give a new folder.")
    with atomic_path(file) as temporary:
        temporary.write_text(json.dumps(settings, indent=2), encoding="utf-8")


def _count(total: int) -> int:
    return -(-total // _SHARD_EPISODES)


def _episodes(shard: int, total: int) -> range:
    return range(shard * _SHARD_EPISODES, min((shard + 1) * _SHARD_EPISODES, total))


@dataclass(frozen=True)
class _Shard:
    """A shard to write; small, and sent to worker processes."""

    writer: LeRobotWriter
    conversion: ConversionConfig
    index: int
    total: int

    def write(self, dataset: TrajectoryDataset) -> tuple[int, dict[str, str]]:
        """Write it; return its number of episodes, and those left out with their reasons."""
        episodes, skipped = _episodes(self.index, self.total), {}
        with self.writer.shard(self.index) as out:
            for index in episodes:
                try:
                    out.add(dataset.episode(index), reencode=self.conversion.reencode)
                except WriteError:
                    raise
                except DataError as error:
                    skipped[f"episode {index} of {self.conversion.source}"] = str(error)
            for name, reason in skipped.items():
                out.skip(name, reason)
        return len(episodes), skipped


def _run(
    work: Sequence[_Shard], dataset: TrajectoryDataset, workers: int
) -> Iterator[tuple[int, dict[str, str]]]:
    """Write the shards, in this process or in several; yield the result of each."""
    if workers == 1 or len(work) < 2:
        yield from (shard.write(dataset) for shard in work)
        return
    words = ProcessWording(
        "converting process", "converting", "start it again with fewer --workers, and it continues"
    )
    name = f"shard {{}} of {work[0].conversion.source}"
    # Spawned, since forked processes would share the threads and files of decoders.
    yield from spawned_map(_write_shard, work, workers, lambda shard: name.format(shard.index), words)


#: The source, opened in each worker process, since open files cannot be sent.
_source: list[Any] = []


def _write_shard(shard: _Shard) -> tuple[int, dict[str, str]]:
    if not _source:
        _source.append(shard.conversion.open())
    return shard.write(_source[0])

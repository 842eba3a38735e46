"""Writes a LeRobotDataset v3.0 from any number of processes: each writes shards, and `finalize` gathers them.

A shard appears only when it is complete, so that a killed recording continues with the missing shards. `meta/info.json`
is written last: a folder without it is unfinished.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.gather import Shard, gather
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec
from vjepa_world.data.trajectories.formats.lerobot.shard import ShardWriter
from vjepa_world.data.trajectories.formats.lerobot.verify import verify_written
from vjepa_world.errors import DataError

_SHARD_NAME = re.compile(r"shard-(\d{5,})")


class LeRobotWriter:
    """Writes a LeRobotDataset v3.0, shard by shard. It is small and can be sent to worker processes.

        spec = DatasetSpec(
            fps=10,
            state_names=("x", "y"),
            action_names=("dx", "dy"),
            robot_type="gantry",
            cameras={"top": VideoSpec.encoded(128, 128, 10)},
        )
        writer = LeRobotWriter("dataset", spec)
        with writer.shard(0) as shard:
            for frames, states, actions in recorded:  # uint8 [T, H, W, 3], [T, 2], [T-1, 2]
                shard.add_episode(frames, states, actions, task="move")
        writer.finalize()

    A shard is committed when its block ends without an error; after a crash the finished shards remain, and writing
    continues with the missing ones.

    Args:
        root: The dataset's folder.
        spec: What all episodes have in common.
        crf: x264 quality of encoded frames, 0 (lossless) to 51 (worst).
    """

    def __init__(self, root: str | os.PathLike[str], spec: DatasetSpec, *, crf: int = 20) -> None:
        self.root, self.spec, self.crf = Path(root), spec, crf

    @property
    def is_finished(self) -> bool:
        """Whether the dataset is complete and readable."""
        return (self.root / layout.INFO_PATH).exists()

    def shard(self, index: int) -> ShardWriter:
        """Start shard `index`; episodes are numbered in the order of shards.

        Raises:
            DataError: This shard or the whole dataset is finished, or the folder cannot be written.
        """
        folder = self._shard_folder(index)
        if self.is_finished or folder.exists():
            what = f"shard {index} of it" if folder.exists() else "it"
            raise DataError(
                f"Cannot record into {self.root}: {what} is finished. Choose another folder or name."
            )
        return ShardWriter(folder, self.spec, self.crf)

    def finished_shards(self) -> list[int]:
        """Return the indices of the complete shards, sorted.

        Raises:
            DataError: A shard was recorded with other settings than this writer's.
        """
        indices = finished_shards(self.root)
        for index in indices:
            self._load(index)
        return indices

    def recorded(self) -> dict[int, int]:
        """Return the number of episodes of each complete shard."""
        return {index: len(self._load(index).episodes) for index in finished_shards(self.root)}

    def num_recorded(self) -> tuple[int, int]:
        """Return the numbers of episodes and frames in the complete shards."""
        lengths = [
            episode["length"]
            for index in finished_shards(self.root)
            for episode in self._load(index).episodes
        ]
        return len(lengths), sum(lengths)

    def skipped(self) -> dict[str, str]:
        """Return the episodes that the complete shards left out, with their reasons."""
        return {
            name: reason
            for index in finished_shards(self.root)
            for name, reason in self._load(index).bad.items()
        }

    def finalize(self) -> Path:
        """Gather the finished shards into the v3.0 layout and return the folder; it can be repeated if killed.

        Raises:
            DataError: No shard is finished, a shard has other settings, the disk is full, or the written dataset cannot
                be read back; it then stays unfinished.
        """
        if not self.is_finished:
            shards = [self._load(index) for index in self.finished_shards()]
            if not any(shard.episodes for shard in shards):
                raise DataError(
                    f"Nothing to gather in {self.root}: no shard is finished. Record episodes first."
                )
            gather(self.root, self.spec, [shard for shard in shards if shard.episodes])
            verify_written(self.root, *self.num_recorded())
        shutil.rmtree(self.root / layout.SHARDS, ignore_errors=True)
        return self.root

    def _shard_folder(self, index: int) -> Path:
        return self.root / layout.SHARDS / f"shard-{index:05d}"

    def _load(self, index: int) -> Shard:
        folder = self._shard_folder(index)
        try:
            record = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} is damaged ({error}). Delete it; it is then recorded again."
            ) from error
        recorded, current = record["spec"], self.spec.to_dict()
        differing = [
            f"{key}: {recorded.get(key)} there, {current[key]} here"
            for key in current
            if recorded.get(key) != current[key]
        ]
        if differing:
            raise DataError(
                f"{folder} was recorded with other settings ({'; '.join(differing)}). Use the same settings to "
                "continue, or another folder or name to start again."
            )
        return Shard(folder=folder, episodes=tuple(record["episodes"]), bad=record["bad"])


def finished_shards(root: str | os.PathLike[str]) -> list[int]:
    """Return the indices of the complete shards in the folder of an unfinished dataset, sorted."""
    folder = Path(root) / layout.SHARDS
    matches = (_SHARD_NAME.fullmatch(entry.name) for entry in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match.group(1)) for match in matches if match)

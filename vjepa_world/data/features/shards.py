"""The files of a feature cache: which episodes go where, and how a file is written, checked and mapped.

    FOLDER/plan.json              written first: rows of each episode, and the episodes of each shard
    FOLDER/shard-00000.safetensors
        features.CAMERA [F,N,D] bfloat16, thumbnails.CAMERA [F,3,s,s] uint8; which episodes, in the metadata
    FOLDER/about.json             written last: the key, and what the shards hold

Legend: F frames of a shard, N tokens a frame, D width, s side of a thumbnail [pixels].
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vjepa_world.errors import DataError
from vjepa_world.files.atomic import atomic_path
from vjepa_world.files.checksums import UNSEALED, is_damaged, seal
from vjepa_world.files.validation import entries, inner_path, mapping, text, whole_number

PLAN, ABOUT = "plan.json", "about.json"

#: A shard is closed when it has this many frames or bytes: what a killed build loses, and what it keeps in memory.
SHARD_FRAMES, SHARD_BYTES = 2048, 128_000_000


@dataclass(frozen=True)
class Plan:
    """How a dataset is cut.

    Attributes:
        lengths: Rows of each episode whose numbers can be read.
        bad: Why the others cannot.
        shards: Episodes of each shard.
    """

    lengths: dict[int, int]
    bad: dict[int, str]
    shards: tuple[tuple[int, ...], ...]

    def frames(self, shard: int) -> int:
        """Return how many rows a shard's episodes have."""
        return sum(self.lengths[episode] for episode in self.shards[shard])

    @classmethod
    def cut(cls, lengths: dict[int, int], bad: dict[int, str], frame_bytes: int) -> Plan:
        """Put whole episodes into shards, in order, until one is large enough."""
        full = min(SHARD_FRAMES, SHARD_BYTES // frame_bytes)
        shards: list[list[int]] = []
        filled = full
        for episode, length in lengths.items():
            if filled >= full:
                shards.append([])
                filled = 0
            shards[-1].append(episode)
            filled += length
        return cls(lengths, bad, tuple(map(tuple, shards)))

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        content = {"lengths": pairs(self.lengths), "bad": pairs(self.bad), "shards": self.shards}
        write_json(folder / PLAN, content)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read it.

        Raises:
            DataError: It is not there, or broken.
        """
        content = read_json(folder / PLAN)
        with _typed(folder / PLAN):
            lengths, bad = _lengths(content["lengths"]), _reasons(content["bad"])
            shards = tuple(tuple(map(_number, entries(shard, "a shard"))) for shard in content["shards"])
            if sorted(episode for shard in shards for episode in shard) != sorted(lengths):
                raise DataError("its shards have other episodes than its lengths")
        return cls(lengths, bad, shards)


@dataclass(frozen=True)
class ShardContent:
    """What is in a shard.

    Attributes:
        episodes: Episode and rows of each that is in it, in order.
        bad: Why the others of its episodes are not.
    """

    episodes: tuple[tuple[int, int], ...]
    bad: dict[int, str]


def shard_path(folder: Path, number: int) -> Path:
    """Return where shard `number` lies."""
    return folder / f"shard-{number:05d}.safetensors"


def write_shard(path: Path, tensors: Mapping[str, Tensor], content: ShardContent) -> None:
    """Write a shard, whole or not at all.

    Args:
        path: Where.
        tensors: `features.CAMERA` and `thumbnails.CAMERA`.
        content: Whose they are.

    Raises:
        DataError: The disk is full or the folder cannot be written.
    """
    # One entry: several are stored in an order that differs from run to run.
    about = {"checksum": UNSEALED, "episodes": content.episodes, "bad": pairs(content.bad)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(dict(tensors), {"content": json.dumps(about)}))
        seal(temporary)


def read_content(path: Path) -> ShardContent | None:
    """Return what a shard holds; None where there is none, or not a whole one."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (FileNotFoundError, SafetensorError):
        return None
    try:
        with _typed(path):
            content = json.loads(metadata["content"])
            return ShardContent(tuple(_lengths(content["episodes"]).items()), _reasons(content["bad"]))
    except DataError:
        return None


def is_whole(path: Path, plan: Plan, number: int) -> bool:
    """Return whether a shard is there and holds the episodes that it was planned for."""
    content = read_content(path)
    if content is None:
        return False
    lengths = {episode: plan.lengths[episode] for episode in plan.shards[number]}
    return dict(content.episodes) == {e: n for e, n in lengths.items() if e not in content.bad}


def map_shard(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Return tensors of a shard that are read from the disk when they are indexed; its checksum is compared first.

    Raises:
        DataError: The file is gone, cut off, without one of them, or a bit of it has changed since it was written.
    """
    try:
        if is_damaged(path):
            raise DataError(
                f"{path} has changed since it was written: its checksum is another one. Remove it and build the "
                "features again: what is whole is kept, this file is computed anew."
            )
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise shard_error(path, str(error)) from error


@dataclass(frozen=True)
class ShardRecord:
    """What a cache's `about.json` says of a shard.

    Attributes:
        path: Its file.
        size: Bytes of it.
        episodes: Episode and rows of each that is in it, in order.
    """

    path: Path
    size: int
    episodes: tuple[tuple[int, int], ...]

    @property
    def frames(self) -> int:
        """Rows of all its episodes."""
        return sum(length for _, length in self.episodes)


def read_about(folder: Path) -> tuple[Mapping[str, Any], tuple[ShardRecord, ...], dict[int, str]]:
    """Read what a cache holds: the parts of its key, its shards, and why other episodes are in none.

    Raises:
        DataError: It is not there, or broken.
    """
    content = read_json(folder / ABOUT)
    with _typed(folder / ABOUT):
        shards = tuple(
            ShardRecord(
                inner_path(folder, shard["file"], "a file"),
                whole_number(shard["bytes"], "a size"),
                tuple(_lengths(shard["episodes"]).items()),
            )
            for shard in content["shards"]
        )
        bad = _reasons(content["bad"])
        episodes = [episode for shard in shards for episode, _ in shard.episodes] + list(bad)
        if sorted(episodes) != list(range(len(episodes))):
            raise DataError("its episodes are not each there once")
        return mapping(content["key"], "key"), shards, bad


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    """Name the file in which a value is missing or of another type."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, DataError) as error:
        raise DataError(
            f"{path} is broken ({type(error).__name__}: {error}). Remove its folder; it is then built anew."
        ) from error


def _number(value: object) -> int:
    return whole_number(value, "an episode")


def _lengths(found: object) -> dict[int, int]:
    pairs_there = [entries(pair, "an episode with its rows", length=2) for pair in entries(found, "episodes")]
    return {_number(episode): whole_number(rows, "rows") for episode, rows in pairs_there}


def _reasons(found: object) -> dict[int, str]:
    pairs_there = [entries(pair, "an episode with a reason", length=2) for pair in entries(found, "bad")]
    return {_number(episode): text(reason, "a reason") for episode, reason in pairs_there}


def shard_error(path: Path, reason: str) -> DataError:
    """Return the error for a shard that cannot be used."""
    return DataError(
        f"{path} is broken ({reason}). Build the features again: what is whole is kept, this file is computed anew."
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all.

    Raises:
        DataError: The disk is full or the folder cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read an object of a cache.

    Raises:
        DataError: It is not there, or broken.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is not there: the features are not built, or not yet, or the processes that build them do not "
            "share this folder. Build them first, in a folder that all processes see."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({error}). Remove its folder; it is then built anew."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object. Remove its folder; it is then built anew.")
    return content


def pairs(values: Mapping[int, Any]) -> list[tuple[int, Any]]:
    """Return a mapping as JSON can have it: its keys are words there."""
    return list(values.items())

"""The files of a feature cache: the plan of shards, and writing, checking and mapping them.

    FOLDER/plan.json              written first: rows of each episode, and the episodes of each shard
    FOLDER/shard-00000.safetensors
        features.CAMERA [F, N, D] bfloat16, thumbnails.CAMERA [F, 3, s, s] uint8; which episodes, in the metadata
    FOLDER/about.json             written last: the key, and what the shards hold

Shapes: F frames of a shard, N tokens per frame, D width, s side of a thumbnail [pixels].
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

#: A shard is closed when it has this many frames or bytes: the loss if a build is killed, and its memory.
SHARD_FRAMES, SHARD_BYTES = 2048, 128_000_000


@dataclass(frozen=True)
class Plan:
    """How a dataset is divided into shards.

    Attributes:
        lengths: Number of rows by episode, of readable ones.
        bad: Reason by episode, of unreadable ones.
        shards: The episodes of each shard.
    """

    lengths: dict[int, int]
    bad: dict[int, str]
    shards: tuple[tuple[int, ...], ...]

    def frames(self, shard: int) -> int:
        """Return the number of rows of a shard's episodes."""
        return sum(self.lengths[episode] for episode in self.shards[shard])

    @classmethod
    def cut(cls, lengths: dict[int, int], bad: dict[int, str], frame_bytes: int) -> Plan:
        """Assign whole episodes to shards, in order, until each is large enough."""
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
        """Write it atomically.

        Raises:
            DataError: The disk is full or the folder cannot be written.
        """
        content = {"lengths": pairs(self.lengths), "bad": pairs(self.bad), "shards": self.shards}
        write_json(folder / PLAN, content)

    @classmethod
    def read(cls, folder: Path) -> Plan:
        """Read it.

        Raises:
            DataError: It is missing or damaged.
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
    """The content of a shard.

    Attributes:
        episodes: Number and rows of each episode in it, in order.
        bad: Reason by episode, of those planned for it that could not be decoded.
    """

    episodes: tuple[tuple[int, int], ...]
    bad: dict[int, str]


def shard_path(folder: Path, number: int) -> Path:
    """Return the path of shard `number`."""
    return folder / f"shard-{number:05d}.safetensors"


def write_shard(path: Path, tensors: Mapping[str, Tensor], content: ShardContent) -> None:
    """Write a shard atomically.

    Args:
        path: The file.
        tensors: `features.CAMERA`, `[F, N, D]`, and `thumbnails.CAMERA`, `[F, 3, s, s]`.
        content: The episodes of its rows.

    Raises:
        DataError: The disk is full or the folder cannot be written.
    """
    # One entry: the library stores several in an order that differs between runs.
    about = {"checksum": UNSEALED, "episodes": content.episodes, "bad": pairs(content.bad)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(dict(tensors), {"content": json.dumps(about)}))
        seal(temporary)


def read_content(path: Path) -> ShardContent | None:
    """Return the content of a shard; None if it is missing or damaged."""
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
    """Return whether a shard exists and has the episodes that were planned for it."""
    content = read_content(path)
    if content is None:
        return False
    lengths = {episode: plan.lengths[episode] for episode in plan.shards[number]}
    return dict(content.episodes) == {e: n for e, n in lengths.items() if e not in content.bad}


def map_shard(path: Path, names: Sequence[str]) -> dict[str, Tensor]:
    """Return memory-mapped tensors of a shard, of the shapes of :func:`write_shard`, after comparing its checksum.

    Raises:
        DataError: The file is missing, truncated, lacks a tensor, or its checksum differs.
    """
    try:
        if is_damaged(path):
            raise DataError(
                f"{path} has changed since it was written: its checksum is another one. Remove it and build the "
                "features again: only this file is computed again."
            )
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise shard_error(path, str(error)) from error


@dataclass(frozen=True)
class ShardRecord:
    """A shard's entry in a cache's `about.json`.

    Attributes:
        path: Its file.
        size: Size of the file [bytes].
        episodes: Number and rows of each episode in it, in order.
    """

    path: Path
    size: int
    episodes: tuple[tuple[int, int], ...]

    @property
    def frames(self) -> int:
        """Number of rows of all its episodes."""
        return sum(length for _, length in self.episodes)


def read_about(folder: Path) -> tuple[Mapping[str, Any], tuple[ShardRecord, ...], dict[int, str]]:
    """Read a cache's `about.json`: the parts of its key, its shards, and the reasons of unreadable episodes.

    Raises:
        DataError: It is missing or damaged.
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
            raise DataError("its episodes are not each listed once")
        return mapping(content["key"], "key"), shards, bad


@contextmanager
def _typed(path: Path) -> Iterator[None]:
    """Turn errors about missing or mistyped values into one that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RecursionError, DataError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error}). Remove its folder; it is then built again."
        ) from error


def _number(value: object) -> int:
    return whole_number(value, "an episode")


def _lengths(found: object) -> dict[int, int]:
    found_pairs = [entries(pair, "an episode with its rows", length=2) for pair in entries(found, "episodes")]
    return {_number(episode): whole_number(rows, "rows") for episode, rows in found_pairs}


def _reasons(found: object) -> dict[int, str]:
    found_pairs = [entries(pair, "an episode with a reason", length=2) for pair in entries(found, "bad")]
    return {_number(episode): text(reason, "a reason") for episode, reason in found_pairs}


def shard_error(path: Path, reason: str) -> DataError:
    """Return the error for a shard that cannot be used."""
    return DataError(
        f"{path} is damaged ({reason}). Build the features again: only this file is computed again."
    )


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically.

    Raises:
        DataError: The disk is full or the folder cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a cache.

    Raises:
        DataError: It is missing or damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: the features are not built yet, or the processes that build them do not share this "
            "folder. Build them first, in a folder that all processes see."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read ({error}). Remove its folder; it is then built again."
        ) from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is not a JSON object. Remove its folder; it is then built again.")
    return content


def pairs(values: Mapping[int, Any]) -> list[tuple[int, Any]]:
    """Return a mapping with int keys as JSON can hold it: a list of pairs."""
    return list(values.items())

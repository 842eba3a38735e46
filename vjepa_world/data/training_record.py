"""What a checkpoint records of the episodes that it was trained on, so that an evaluation on them is noticed.

An episode is known by its content (a hash of its states and actions, see `windows.fingerprint`), and one that was
recorded in an environment also by the environment's id and the seed of its reset. Numbers are packed: about 4 bytes for
a seed of 32 bits, 10 for a hash of 64.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import fingerprint
from vjepa_world.errors import DataError
from vjepa_world.system.progress import track

#: What episodes were used for: to train, or held out of it to select and tune.
USES = ("trained", "held_out")


@dataclass(frozen=True)
class UsedEpisodes:
    """How the episodes of a dataset are used in a training.

    Attributes:
        dataset: The dataset.
        trained: Fingerprints of the episodes trained on, by index in the dataset; empty where not known.
        held_out: The same of the held-out episodes.
    """

    dataset: TrajectoryDataset
    trained: Mapping[int, str]
    held_out: Mapping[int, str]


def all_episodes(dataset: TrajectoryDataset) -> UsedEpisodes:
    """Return a dataset all of whose episodes are trained on, as those whose videos an encoder is trained on.

    Episodes that cannot be read have no fingerprint.
    """
    prints: dict[int, str] = {}
    for index in track(range(dataset.num_episodes), "episodes of the videos", unit="episode", delay_s=2.0):
        try:
            prints[index] = fingerprint(dataset.episode(index))
        except DataError:  # its numbers are not trained on
            prints[index] = ""
    return UsedEpisodes(dataset, prints, {})


def training_record(used: Sequence[UsedEpisodes]) -> dict[str, Any]:
    """Return what a checkpoint records: `episodes` by content and `environments` with seeds, each by use.

    An episode that is both trained on and held out counts as trained on.
    """
    hashes = _by_use(
        [{use: filter(None, getattr(part, use).values()) for use in USES} for part in used],
        lambda text: int(text, 16),
    )
    seeds: dict[tuple[str, str], list[dict[str, Iterable[Any]]]] = {}
    for part in used:
        about = part.dataset.about
        environment, of_episodes = about.get("environment"), about.get("episode_seeds")
        if environment and of_episodes:
            key = (str(environment.get("id", "")), str(environment.get("variation", "")))
            seeds.setdefault(key, []).append(
                {use: [of_episodes[index] for index in getattr(part, use)] for use in USES}
            )
    environments = [
        {"id": name, "variation": variation, **_by_use(parts, int)}
        for (name, variation), parts in seeds.items()
    ]
    return {"episodes": hashes, "environments": environments}


def _by_use(parts: Sequence[Mapping[str, Iterable[Any]]], number: Any) -> dict[str, str]:
    sets = {use: {number(entry) for part in parts for entry in part[use]} for use in USES}
    return {"trained": pack(sets["trained"]), "held_out": pack(sets["held_out"] - sets["trained"])}


def pack(numbers: Iterable[int]) -> str:
    """Return different numbers from 0 to 2^64 - 1 as text: their sorted differences, compressed."""
    values = np.array(sorted(set(numbers)), dtype=np.uint64)
    differences = np.diff(values, prepend=np.uint64(0)).astype("<u8")
    # All lowest bytes come first, then the next ones: the high bytes are zeros and take almost no space.
    planes = differences.view(np.uint8).reshape(-1, 8).T.tobytes()
    return base64.b85encode(zlib.compress(planes, 9)).decode()


def unpack(packed: str | Sequence[str]) -> set[int]:
    """Return the numbers of :func:`pack`, or of a list of hexadecimal hashes, as older checkpoints have them.

    Raises:
        DataError: If the text is damaged.
    """
    try:
        if not isinstance(packed, str):
            return {int(text, 16) for text in packed}
        planes = np.frombuffer(zlib.decompress(base64.b85decode(packed)), dtype=np.uint8)
        differences = np.ascontiguousarray(planes.reshape(8, -1).T).view("<u8")[:, 0]
        return set(np.cumsum(differences, dtype=np.uint64).tolist())
    except (ValueError, TypeError, zlib.error) as error:
        raise DataError(
            f"a checkpoint's record of its training episodes is damaged ({error}). Copy the checkpoint again."
        ) from error


def recorded_seeds(record: Mapping[str, Any], environment: str) -> dict[str, set[int]]:
    """Return the seeds of an environment's episodes that a training used, by use, in whatever variation.

    Args:
        record: As :func:`training_record` returns it.
        environment: Gymnasium id; the module before its colon does not count.

    Raises:
        DataError: If the record is damaged.
    """
    name = _without_module(environment)
    entries = [e for e in record.get("environments", ()) if _without_module(e["id"]) == name]
    return {use: {seed for entry in entries for seed in unpack(entry[use])} for use in USES}


def other_environments(record: Mapping[str, Any], environment: str) -> list[str]:
    """Return the ids of the recorded environments, if `environment` is not among them; none where none is recorded.

    Args:
        record: As :func:`training_record` returns it.
        environment: Gymnasium id; the module before its colon does not count.
    """
    ids = sorted({_without_module(entry["id"]) for entry in record.get("environments", ())})
    return [] if _without_module(environment) in ids else ids


def _without_module(environment: object) -> str:
    return str(environment).rpartition(":")[2]


def hash_number(fingerprint: str) -> int | None:
    """Return an episode's fingerprint as a number of :func:`unpack`; None if it has none."""
    return int(fingerprint, 16) if fingerprint else None

"""What a checkpoint's provenance says of its training data: the convention of its numbers, and its episodes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.training_record import USES, hash_number, recorded_seeds, unpack
from vjepa_world.data.trajectories.formats.lerobot.layout import DECLARED_PATH
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import EpisodeNumbers, read_episodes
from vjepa_world.errors import ConfigError, DataError, counted
from vjepa_world.ops.convention import Convention

logger = logging.getLogger(__name__)

ALL_TAKEN = "All episodes were taken, including those that the model may have been trained on."


def trained_convention(
    path: str | Path, provenance: Mapping[str, Any], embodiment: str = ""
) -> tuple[Convention | None, list[str]]:
    """Return the convention that the training was given for its data, if the dataset at `path` declares none.

    Args:
        path: A dataset.
        provenance: The checkpoint's.
        embodiment: Name of the robot; empty for the first one.

    Returns:
        The convention, or None for what the dataset declares; and notes for the reader of the results.
    """
    settings = provenance.get("config")
    if (Path(path) / DECLARED_PATH).is_file() or not isinstance(settings, Mapping):
        return None, []
    given = _convention_keys(settings, embodiment)
    try:
        convention = Convention(**given) if given else None
    except (TypeError, ConfigError):
        convention = None  # of another version; sizes and meanings are compared later
    if convention is None:
        return None, []
    note = "Numbers are read as in training, since neither the data nor data.convention says how they are written."
    logger.info("%s", note)
    return convention, [note]


def _convention_keys(settings: Mapping[str, Any], embodiment: str) -> dict[str, Any]:
    """Return the options of the convention of one robot's data, from a training configuration with dotted keys."""
    sources = dict.fromkeys(
        key.split(".")[2] for key in settings if key.startswith("data.sources.") and key.count(".") > 2
    )
    prefix = "data.convention."
    for name in sources:
        if embodiment in ("", name, settings.get(f"data.sources.{name}.embodiment")):
            prefix = f"data.sources.{name}.convention."
            break
    return {key.removeprefix(prefix): value for key, value in settings.items() if key.startswith(prefix)}


def trained_fps(provenance: Mapping[str, Any]) -> float:
    """Return the frames per second of the training; 0 if they are not known."""
    settings = provenance.get("config")
    return float(settings.get("data.fps", 0) or 0) if isinstance(settings, Mapping) else 0.0


def held_out_episodes(
    dataset: TrajectoryDataset, provenance: Mapping[str, Any], *, max_bad_fraction: float
) -> tuple[list[EpisodeNumbers], BadFiles, list[str]]:
    """Return the episodes of a dataset that a checkpoint was not trained on.

    Args:
        dataset: The episodes.
        provenance: The checkpoint's. It knows its episodes by their content; older ones by the path of their dataset.
        max_bad_fraction: Share of unusable episodes above which to stop.

    Returns:
        The usable episodes, the unusable ones, and notes for the reader of the results.

    Raises:
        DataError: If all episodes were trained on, or too many are unusable.
    """
    known = provenance.get("episodes")
    indices, notes = (None, []) if isinstance(known, dict) else _by_path(dataset, provenance)
    episodes, bad = read_episodes(dataset, max_bad_fraction=max_bad_fraction, indices=indices)
    if isinstance(known, dict):
        episodes, notes = _by_content(dataset, episodes, known)
    return episodes, bad, [*notes, *_of_seen_scenes(dataset, episodes, provenance)]


def _of_seen_scenes(
    dataset: TrajectoryDataset, episodes: Sequence[EpisodeNumbers], provenance: Mapping[str, Any]
) -> list[str]:
    """Return a note if episodes were recorded with seeds of an environment that the checkpoint was trained on."""
    environment, seeds = dataset.about.get("environment"), dataset.about.get("episode_seeds")
    if not environment or not seeds:
        return []
    trained = recorded_seeds(provenance, str(environment.get("id", "")))["trained"]
    found = sum(seeds[episode.index] in trained for episode in episodes)
    if not found:
        return []
    note = (
        f"LEAKAGE: {found} of {counted(len(episodes), 'episode')} were recorded with seeds of {environment['id']} "
        "that the checkpoint was trained on, so in scenes that it knows: errors are not those of unseen scenes. Record "
        "others with another seed=."
    )
    logger.warning("%s", note)
    return [note]


def _by_content(
    dataset: TrajectoryDataset, episodes: list[EpisodeNumbers], known: Mapping[str, str | Sequence[str]]
) -> tuple[list[EpisodeNumbers], list[str]]:
    """Return the episodes whose fingerprints are not among those trained on, and notes."""
    trained, held_out = (unpack(known.get(use, ())) for use in USES)
    left = [episode for episode in episodes if hash_number(episode.fingerprint) not in trained]
    found = sum(hash_number(episode.fingerprint) in held_out for episode in left)
    if not left and episodes:
        raise DataError(
            f"all {len(episodes)} episodes of {dataset.path} were trained on; give the held-out ones or other "
            "data, or take them nevertheless with data.split=all."
        )
    if len(left) == len(episodes) and not found:
        note = f"All episodes were taken: the checkpoint was trained on none of those of {dataset.path}."
    elif found < len(left):
        note = (
            f"{len(left)} of {len(episodes)} episodes were taken: {found} that were held out of training, and "
            f"{len(left) - found} that the checkpoint does not know; the others were trained on."
        )
    else:
        return left, []
    logger.info("%s", note)
    return left, [note]


def _by_path(dataset: TrajectoryDataset, provenance: Mapping[str, Any]) -> tuple[list[int] | None, list[str]]:
    """Return the indices of the episodes to read, None for all, and notes; the dataset is known by its path alone."""
    held_out = provenance.get("held_out") or {}
    for path, episodes in held_out.items():
        if Path(path).resolve() == dataset.path.resolve():
            note = (
                f"The checkpoint does not know its episodes by their content: that those at {path} are the ones it was "
                "trained on is taken from the path. Fine-tune again to be sure."
            )
            logger.warning("%s", note)
            return [int(episode) for episode in episodes], [note]
    trained_on = ", ".join(held_out) or "datasets that it does not name"
    note = (
        f"All episodes were taken: the checkpoint was trained on {trained_on}, and {dataset.path} is not one "
        "of them. It knows datasets by their path alone: a moved or copied one is not recognised."
    )
    logger.warning("%s", note)
    return None, [note]

"""Records data with stable-worldmodel's own worlds and policies: in its format, and as a LeRobot dataset to train on.

Legend: T rows of an episode, S state size, A action size, H W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.convert import spec_of
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.errors import DataError, counted
from vjepa_world.evaluation.stable_worldmodel.worlds import WorldSpec, package

logger = logging.getLogger(__name__)

#: Names in the folder of a recording.
OWN_FORMAT, LEROBOT = "stable_worldmodel.lance", "lerobot"
_FPS = 10.0
#: Episodes that are in memory at once.
_SHARD = 25


@dataclass(frozen=True)
class WorldRecording:
    """A recording.

    Attributes:
        own: In stable-worldmodel's format, which `World.evaluate(dataset=...)` takes starts and goals from.
        lerobot: The same episodes as a LeRobot dataset, for `finetune data.path=`; without those of a single row.
    """

    own: Path
    lerobot: Path


def record_world(
    spec: WorldSpec, folder: Path, *, episodes: int, steps: int, seed: int, image_size: int, envs: int = 4
) -> WorldRecording:
    """Record a world with the policy that the package collects its data with.

    Args:
        spec: The world.
        folder: A new folder.
        episodes: Episodes to record; some are shorter, where the world ends them.
        steps: Most steps of an episode.
        seed: Of worlds and policy.
        image_size: Height and width of the images [pixels].
        envs: Environments that run together.

    Raises:
        InstallationError: If the package or one that it needs cannot be imported.
    """
    world = spec.make(envs, image_size, steps, recording=True)
    world.set_policy(spec.make_behaviour(seed))
    gathered = _Gathered()
    world.collect(writer=gathered, episodes=episodes, seed=seed, progress=False)
    world.close()
    folder.mkdir(parents=True)
    recording = WorldRecording(folder / OWN_FORMAT, folder / LEROBOT)
    with package().data.get_format("lance").open_writer(str(recording.own)) as writer:
        writer.write_episodes(iter(gathered.episodes))
    write_lerobot(spec, recording.own, recording.lerobot)
    return recording


def write_lerobot(spec: WorldSpec, own: Path, folder: Path) -> None:
    """Write a dataset of stable-worldmodel, in any of its formats, as a LeRobot dataset.

    Episodes of a single row, which a world ends at the first action, are left out: no action connects two rows.

    Args:
        spec: The world that it is of: it says which columns are the state.
        own: The dataset.
        folder: A new folder.

    Raises:
        DataError: If no episode has two rows.
    """
    source = package().data.load_dataset(str(own))
    numbers = [number for number, rows in enumerate(source.lengths) if rows > 1]
    if not numbers:
        raise DataError(
            f"none of the {counted(len(source.lengths), 'episode')} of {own} has two rows; record longer ones."
        )
    if single := len(source.lengths) - len(numbers):
        logger.warning("%s of %s left out: a single row has no next one", counted(single, "episode"), own)
    writer = None
    for shard, begin in enumerate(range(0, len(numbers), _SHARD)):
        arrays = [_arrays(spec, source.load_episode(number)) for number in numbers[begin : begin + _SHARD]]
        dataset = InMemoryDataset(arrays, fps=_FPS, robot=spec.env_id, name=str(own))
        writer = writer or LeRobotWriter(folder, spec_of(dataset, dataset.episode(0), reencode=True))
        with writer.shard(shard) as out:
            for index in range(len(arrays)):
                out.add(dataset.episode(index), reencode=True)
    assert writer is not None  # there are episodes
    writer.finalize()


def _arrays(spec: WorldSpec, episode: dict[str, Any]) -> EpisodeArrays:
    """Return an episode: frames `[T, 3, H, W]`, and the action at each row but the last, which led to no other."""
    rows = len(episode["pixels"])
    states = [np.asarray(episode[name], np.float32).reshape(rows, -1) for name in spec.state]
    return EpisodeArrays(
        states=np.concatenate(states, axis=1),
        actions=np.asarray(episode["action"], np.float32)[:-1],
        frames=np.asarray(episode["pixels"], np.uint8),
    )


class _Gathered:
    """Keeps episodes in memory; writers of the package may step the world in a thread, which OpenGL does not allow."""

    def __init__(self) -> None:
        self.episodes: list[dict[str, Any]] = []

    def __enter__(self) -> _Gathered:
        return self

    def __exit__(self, *error: object) -> None:
        """Keep what there is."""

    def write_episodes(self, episodes: Iterable[dict[str, Any]]) -> None:
        """Take all episodes."""
        self.episodes = list(episodes)

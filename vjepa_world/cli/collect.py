"""`collect`: record a dataset of observations and actions while a seeded policy explores with the simulated arm."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from vjepa_world.cli.shared.common import SIMULATED_ROBOT, EnvConfig
from vjepa_world.config.ranges import EPISODES, SEED, STEPS, WORKERS
from vjepa_world.errors import ConfigError, DataError, counted
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.runs import RESULT_FILE, open_run
from vjepa_world.system.cpu import available_cores
from vjepa_world.system.memory import refuse_beyond_memory
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    import gymnasium
    from gymnasium import spaces

    from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter

logger = logging.getLogger(__name__)

POSE_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "closure")
SHARD_EPISODES = 25

#: All else decides what a shard holds.
MAY_CHANGE = ("workers",)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to record.

    Attributes:
        name: The run goes to runs/collect/NAME, which is then the dataset.
        seed: Where all randomness comes from.
        resume: Go on with a recording that was stopped.
        env: The environment.
        episodes: Episodes to record.
        steps: Actions in an episode.
        workers: Parallel processes; 0 takes one a core.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    env: EnvConfig = field(default_factory=EnvConfig)
    episodes: int = field(default=200, metadata=EPISODES)
    steps: int = field(default=40, metadata=STEPS)
    workers: int = field(default=0, metadata=WORKERS)

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.steps < 1:
            raise ConfigError(
                f"episodes is {self.episodes} and steps is {self.steps}; both must be at least 1."
            )

    def unused(self) -> dict[str, str]:
        """Return what a recording does not use: its episodes have `steps` actions."""
        return {"env.max_steps": "collect, whose episodes have steps=N actions,"}


def run(config: Config) -> None:
    """Record the dataset; `resume=true` continues a killed recording, shard by shard."""
    workers = min(config.workers or available_cores(), -(-config.episodes // SHARD_EPISODES))
    refuse_beyond_memory(
        2 * workers * (config.steps + 1) * 3 * config.env.image_size**2,
        f"the pictures of {counted(workers, 'episode')} of {counted(config.steps, 'action')}",
        "lower steps, workers or env.image_size",
    )
    config.env.make().close()
    with open_run("collect", config, may_change=MAY_CHANGE) as folder:
        _record(config, folder)


def _record(config: Config, folder: Path) -> None:
    import time

    from vjepa_world.data.loading.worker_pool import ProcessWording, spawned_map

    words = ProcessWording("recording process", "recording", "lower workers, and continue with resume=true")
    writer = dataset_writer(folder, config.env)
    shards = range(-(-config.episodes // SHARD_EPISODES))
    if not writer.is_finished:
        done = set(writer.finished_shards())
        missing = [shard for shard in shards if shard not in done]
        recorded, _ = writer.num_recorded()
        begin = time.perf_counter()
        work = functools.partial(_record_shard, writer, config)
        workers = config.workers or available_cores()
        bar = progress("collect", unit="episode", total=config.episodes, initial=recorded)
        # Forked children would share an OpenGL state that was never made for two.
        for episodes in spawned_map(work, missing, workers, "shard {} of the recording".format, words):
            bar.update(episodes)
            rate = (bar.n - recorded) * (config.steps + 1) / (time.perf_counter() - begin)
            bar.set_postfix({"recorded frames/s": f"{rate:.0f}"})
        bar.close()
        _check_recorded(config, *writer.num_recorded(), folder)
        writer.finalize()
        seconds = time.perf_counter() - begin
        frames = (config.episodes - recorded) * (config.steps + 1)
        write_json_atomic(
            folder / RESULT_FILE,
            {
                "episodes": config.episodes,
                "frames": frames,
                "seconds": seconds,
                "frames_per_s": frames / seconds,
            },
        )
        print(
            f"{counted(config.episodes, 'episode')} at {config.env.fps} frames/s in {folder} (recording speed: "
            f"{frames / seconds:.0f} frames/s)"
        )
    else:
        from vjepa_world.data.trajectories.formats.lerobot.verify import check_complete

        check_complete(folder, config.episodes, config.episodes * (config.steps + 1))
        print(f"{folder} is complete already")


def _check_recorded(config: Config, episodes: int, frames: int, folder: Path) -> None:
    """Refuse to call a recording complete that has other counts than were asked for.

    Raises:
        DataError: It has.
    """
    expected = (config.episodes, config.episodes * (config.steps + 1))
    if (episodes, frames) != expected:
        raise DataError(
            f"{folder} has {episodes} episodes and {frames} frames on disk, and {expected[0]} and {expected[1]} were "
            "to be recorded. A shard was lost: record with resume=true, or under another name=."
        )


def dataset_writer(folder: Path, env: EnvConfig) -> LeRobotWriter:
    """Return the writer of a dataset of this environment."""
    from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
    from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
    from vjepa_world.ops.convention import Convention

    spec = DatasetSpec(
        fps=env.fps,
        state_names=POSE_NAMES,
        action_names=tuple(f"delta_{name}" for name in POSE_NAMES),
        robot_type=SIMULATED_ROBOT,
        cameras={"main": VideoSpec.encoded(env.image_size, env.image_size, env.fps)},
        convention=Convention(actions="delta"),
    )
    return LeRobotWriter(folder, spec)


def _record_shard(writer: LeRobotWriter, config: Config, shard: int) -> int:
    """Record one shard; what it holds is a function of the seed and the shard's number alone."""
    from envs import Explorer

    episodes = range(shard * SHARD_EPISODES, min((shard + 1) * SHARD_EPISODES, config.episodes))
    env = _worker_env(config.env)
    with writer.shard(shard) as out:
        for episode in episodes:
            env_seed, behaviour_seed = np.random.SeedSequence([config.seed, episode]).generate_state(2)
            observation, _ = env.reset(seed=int(env_seed))
            explorer = Explorer(np.random.default_rng(behaviour_seed), cast("spaces.Box", env.action_space))
            frames, states, actions = [observation["image"]], [observation["state"]], []
            for _ in range(config.steps):
                action = explorer.act(observation)
                observation = env.step(action)[0]
                frames.append(observation["image"])
                states.append(observation["state"])
                actions.append(action)
            out.add_episode(
                np.stack(frames), np.stack(states), np.stack(actions), task="explore the workspace"
            )
    return len(episodes)


@functools.cache
def _worker_env(config: EnvConfig) -> gymnasium.Env[Any, Any]:
    """Return this process's environment, made once: a new renderer costs more than a hundred milliseconds."""
    return config.make().unwrapped

"""`collect`: record a dataset of observations and actions while a seeded behaviour acts in an environment."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_world.config.ranges import EPISODES, SEED, STEPS, WORKERS
from vjepa_world.environments.config import EnvConfig
from vjepa_world.errors import ConfigError, DataError, counted
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.runs import RESULT_FILE, open_run, resume_words
from vjepa_world.system.cpu import available_cores
from vjepa_world.system.memory import refuse_beyond_memory
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec
    from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
    from vjepa_world.environments.recording import Recorder

logger = logging.getLogger(__name__)

SHARD_EPISODES = 25
#: A shard that takes longer is ended [s]: the episodes of an unfinished one are lost when the process is stopped.
LONGEST_SHARD_S = 30.0

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
        behaviour: What acts: module:function, called as function(env, rng), which returns a function from an
            observation to an action; empty for the arm's `behaviours`, and in other environments for noise.
        behaviours: Behaviours of the arm by weight, behaviours.NAME=WEIGHT; none for all that suit the task, alike.
        episodes: Episodes to record.
        steps: Actions in an episode; one that the environment ends earlier has fewer.
        workers: Parallel processes; 0 takes one a core.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    env: EnvConfig = field(default_factory=EnvConfig)
    behaviour: str = ""
    behaviours: dict[str, float] = field(default_factory=dict)
    episodes: int = field(default=200, metadata=EPISODES)
    steps: int = field(default=40, metadata=STEPS)
    workers: int = field(default=0, metadata=WORKERS)

    def __post_init__(self) -> None:
        if self.episodes < 1 or self.steps < 1:
            raise ConfigError(
                f"episodes is {self.episodes} and steps is {self.steps}; both must be at least 1."
            )

    def unused(self) -> dict[str, str]:
        """Return what a recording does not use: its episodes have `steps` actions, and no goals."""
        goals = ("goal", "goal_data", "goal_steps", "restore", "success", "success_distance")
        return {
            "env.max_steps": "collect, whose episodes have steps=N actions,",
            **{f"env.{key}": "collect, which records without goals," for key in goals},
        }


@dataclass(frozen=True)
class _Part:
    """Episodes of one shard: `count` of them from number `first`, which is the shard's index."""

    first: int
    count: int


@dataclass(frozen=True)
class _Recorded:
    """What a process recorded: episodes, frames, and why it stopped before the end; empty if it did not."""

    episodes: int
    frames: int
    failure: str


def run(config: Config) -> None:
    """Record the dataset; `resume=true` continues a stopped recording with the episodes that are missing."""
    spec = _first_look(config)
    with open_run("collect", config, may_change=MAY_CHANGE) as folder:
        try:
            _record(config, spec, folder)
        except KeyboardInterrupt:
            _say_what_is_kept(config, spec, folder)
            raise


def _say_what_is_kept(config: Config, spec: DatasetSpec, folder: Path) -> None:
    """Log how many episodes of an interrupted recording are on disk, and how it goes on."""
    from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter

    writer = LeRobotWriter(folder, spec)
    logger.info(
        "kept %d of %s; continue with %s",
        config.episodes if writer.is_finished else writer.num_recorded()[0],
        counted(config.episodes, "episode"),
        resume_words(folder),
    )


def _first_look(config: Config) -> DatasetSpec:
    """Return the specification of the dataset, after checking what can be checked before anything is recorded."""
    from vjepa_world.environments.behaviours import behaviour_of
    from vjepa_world.environments.observed import ObservedEnv
    from vjepa_world.environments.recording import Recorder

    recorder = Recorder.of(config.env)
    behaviour_of(recorder.env, config.behaviour, config.behaviours)
    spec = recorder.spec()
    if isinstance(recorder.env, ObservedEnv):
        logger.info("%s: %s", config.env.id, recorder.env.sources())
    _warn_of_unused_seeds(recorder)
    recorder.env.close()
    workers = min(config.workers or available_cores(), -(-config.episodes // SHARD_EPISODES))
    pixels = sum(video.height * video.width for video in spec.cameras.values())
    refuse_beyond_memory(
        2 * workers * (config.steps + 1) * 3 * pixels,
        f"the pictures of {counted(workers, 'episode')} of {counted(config.steps, 'action')}",
        "lower steps, workers or env.image_size",
    )
    return spec


def _warn_of_unused_seeds(recorder: Recorder) -> None:
    """Warn if the environment begins another episode when it is reset with the same seed again."""
    from vjepa_world.evaluation.closed_loop.pairs.appearance import Appearance

    def start() -> Appearance:
        observation = recorder.env.reset(seed=0)[0]
        return Appearance.of(observation, observation["image"])

    if start().differences(start()):
        logger.warning(
            "%s starts differently when it is reset with the same seed again. Its episodes can be trained on, but not "
            "be repeated as goals, and evaluate will refuse it; draw all that is random in reset from its seed.",
            recorder.config.id,
        )


def _record(config: Config, spec: DatasetSpec, folder: Path) -> None:
    from vjepa_world.data.trajectories.formats.lerobot.verify import check_complete
    from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter

    writer = LeRobotWriter(folder, spec)
    if writer.is_finished:
        check_complete(folder, config.episodes)
        print(f"{folder} is complete already")
        return
    begin = time.perf_counter()
    writer.finished_shards()  # refuses those of other settings
    episodes_before, frames_before = writer.num_recorded()
    frames = _record_missing(writer, config, episodes_before)
    _check_recorded(config, *writer.num_recorded(), frames_before + frames, folder)
    writer.finalize()
    seconds = time.perf_counter() - begin
    result: dict[str, Any] = {
        "episodes": config.episodes,
        "frames": frames_before + frames,
        "seconds": seconds,
        "frames_per_s": frames / seconds,
        "labels": _label_shares(folder, spec),
    }
    write_json_atomic(folder / RESULT_FILE, result)
    print(
        f"{counted(config.episodes, 'episode')} at {config.env.fps} frames/s in {folder} (recording speed: "
        f"{frames / seconds:.0f} frames/s)"
    )
    if result["labels"]:
        print("frames with " + ", ".join(f"{_WORDS[n]} {100 * s:.0f} %" for n, s in result["labels"].items()))


#: What a label says, in the summary.
_WORDS = {"contact": "contact", "object_moving": "a moving object", "object_lifted": "a lifted object"}


def _label_shares(folder: Path, spec: DatasetSpec) -> Mapping[str, float]:
    """Return the share of frames with each label that the environment reports."""
    import json

    from vjepa_world.data.trajectories.formats.lerobot.layout import STATS_PATH

    stats = json.loads((folder / STATS_PATH).read_text(encoding="utf-8"))
    return {name: float(np.ravel(stats[name]["mean"])[0]) for name in spec.columns}


def _record_missing(writer: LeRobotWriter, config: Config, recorded: int) -> int:
    """Record the episodes that no shard has yet, and return the number of their frames.

    Raises:
        DataError: The environment failed; what was recorded until then is kept.
    """
    from vjepa_world.data.loading.worker_pool import ProcessWording, spawned_map

    words = ProcessWording("recording process", "recording", "lower workers, and continue with resume=true")
    begin, frames, failures = time.perf_counter(), 0, list[str]()
    parts = _missing(writer, config.episodes)
    work = functools.partial(_record_part, writer, config)
    # Forked children would share an OpenGL state that was never made for two.
    found_parts = spawned_map(
        work,
        parts,
        config.workers or available_cores(),
        lambda part: f"shard {part.first} of the recording",
        words,
        is_last=lambda found: bool(found.failure),
    )
    with progress("collect", unit="episode", total=config.episodes, initial=recorded) as bar:
        for found in found_parts:
            bar.update(found.episodes)
            frames += found.frames
            bar.set_postfix({"recorded frames/s": f"{frames / (time.perf_counter() - begin):.0f}"})
            failures += [found.failure] if found.failure else []
    if failures:
        raise DataError(
            f"{failures[0].rstrip('. ')}. The {counted(writer.num_recorded()[0], 'episode')} recorded so far are kept "
            f"in {writer.root}: repair the environment, and continue with resume=true."
        )
    return frames


def _missing(writer: LeRobotWriter, episodes: int) -> list[_Part]:
    """Return the parts to record. A shard is numbered by its first episode; one that was cut short is continued."""
    recorded, parts = writer.recorded(), list[_Part]()
    for begin in range(0, episodes, SHARD_EPISODES):
        first, end = begin, min(begin + SHARD_EPISODES, episodes)
        while first in recorded and first < end:
            first += recorded[first]
        if first < end:
            parts.append(_Part(first, end - first))
    return parts


def _check_recorded(config: Config, episodes: int, frames: int, expected: int, folder: Path) -> None:
    """Refuse to call a recording complete that has other counts than were recorded.

    Raises:
        DataError: It has.
    """
    if (episodes, frames) != (config.episodes, expected):
        raise DataError(
            f"{folder} has {episodes} episodes and {frames} frames on disk, and {config.episodes} and {expected} were "
            "to be recorded. A shard was lost: record with resume=true, or under another name=."
        )


def _record_part(writer: LeRobotWriter, config: Config, part: _Part) -> _Recorded:
    """Record a shard; what it holds is a function of the seed and the episodes' numbers alone.

    If the environment fails, the shard ends with the episode before. In a slow environment, what is recorded is kept as
    several shorter shards, so that little is lost if the process is stopped.
    """
    from vjepa_world.environments.behaviours import behaviour_of
    from vjepa_world.environments.errors import EnvironmentFailure

    recorder = _worker_recorder(config.env)
    behaviour = behaviour_of(recorder.env, config.behaviour, config.behaviours)
    episodes, frames, failure = 0, 0, ""
    out, begin = writer.shard(part.first), time.monotonic()
    try:
        for episode in range(part.first, part.first + part.count):
            env_seed, behaviour_seed = np.random.SeedSequence([config.seed, episode]).generate_state(2)
            rng = np.random.default_rng(behaviour_seed)
            try:
                recorded = recorder.record(
                    behaviour, seed=int(env_seed), rng=rng, steps=config.steps, index=episode
                )
            except EnvironmentFailure as error:
                failure = str(error)
                _recorders.clear()  # the environment may be in any state
                break
            out.add(recorded)
            episodes, frames = episodes + 1, frames + len(recorded)
            if time.monotonic() - begin > LONGEST_SHARD_S and episodes < part.count:
                out.commit()
                out, begin = writer.shard(episode + 1), time.monotonic()
    except BaseException:
        out.discard()
        raise
    if out.is_empty:
        out.discard()
    else:
        out.commit()
    return _Recorded(episodes, frames, failure)


#: This process's environment, made once: a new renderer costs more than a hundred milliseconds.
_recorders: dict[str, Recorder] = {}


def _worker_recorder(config: EnvConfig) -> Recorder:
    from vjepa_world.environments.recording import Recorder

    key = repr(config)
    if key not in _recorders:
        _recorders.clear()
        _recorders[key] = Recorder.of(config)
    return _recorders[key]

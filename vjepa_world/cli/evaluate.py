"""`evaluate`: drive the arm to goal images in test scenes and count successes, with controls for comparison."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from vjepa_world.cli.shared.closed_loop_controls import Controls, ControlsConfig, build_controls
from vjepa_world.cli.shared.closed_loop_table import table
from vjepa_world.cli.shared.common import refuse_taken_run
from vjepa_world.config import flatten
from vjepa_world.config.ranges import EPISODES, LARGEST, SEED, THREADS
from vjepa_world.environments.config import EnvConfig
from vjepa_world.errors import CheckpointError, ConfigError, DataError, counted
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.planning.config import SHIPPED, PlanningConfig
from vjepa_world.runs import RESULT_FILE, open_run
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from typing import Self

    import torch

    from vjepa_world.evaluation.closed_loop.environment import Environment
    from vjepa_world.evaluation.closed_loop.episode import Recording
    from vjepa_world.evaluation.closed_loop.goals import SubGoalSchedule
    from vjepa_world.evaluation.closed_loop.pairs.drawing import Pairs
    from vjepa_world.evaluation.closed_loop.pairs.manifest import Manifest
    from vjepa_world.planning.planner_policy import PlannerPolicy
    from vjepa_world.planning.policy import RandomPolicy
    from vjepa_world.system.progress import Progress

logger = logging.getLogger(__name__)

#: What an evaluation writes to its folder.
OUTPUTS = (RESULT_FILE, "manifest.json", "episodes.jsonl", "report.html", "videos")

#: Frames per second of the episode videos: slow enough to follow.
PANEL_FPS = 4

#: Episodes that run together on a GPU, where the search for several is about as fast as for one.
GPU_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Config(PlanningConfig):
    """What to evaluate in the simulator.

    Attributes:
        name: The run goes to runs/evaluate/NAME.
        seed: Where the pairs of start and goal come from.
        resume: Run again in the same folder; the evaluation starts over.
        device: auto, cpu, cuda or cuda:N.
        checkpoint: A finetune run or a world model's checkpoint; shipped and shipped-objects are in the package.
        episodes: Pairs to draw; those solved at reset are left out and counted.
        manifest: A manifest.json, or the run that wrote it, whose pairs are evaluated again; null draws new ones.
        pairs_from: A dataset of recorded episodes of the arm, whose states become starts and goals; empty draws them.
        goal_steps: Rows from start to goal in a recorded episode; 0 takes its first and last.
        goals: What the policies are given: final (the goal image) or subgoals (the images of the sub-goals, one after
            the other; the environment needs some).
        subgoal_steps: Actions for each sub-goal, such as [4,10,4]; [] goes on once the environment reports that one is
            reached.
        batch: Episodes that run together, each in an environment of its own; 0 takes 1 on a CPU and 16 on a GPU.
        env: The environment; test scenes differ from those of training.
        controls: Policies to compare with, on the same pairs.
        videos: Episodes that become a video.
        threads: Threads of torch; 0 takes one a core.
    """

    moved: ClassVar = {
        **dict.fromkeys(
            ("data", "open_loop"),
            "evaluation on recorded episodes is a command of its own: vjepa-world evaluate-open-loop",
        ),
        "encoder": "an encoder alone is measured with mode=encoder",
        "mode": "it is a word of the command line alone: vjepa-world evaluate mode=encoder",
    }

    name: str = ""
    seed: int = field(default=20_000, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    checkpoint: str = SHIPPED
    episodes: int = field(default=100, metadata=EPISODES)
    manifest: Path | None = None
    pairs_from: str = ""
    goal_steps: int = field(default=0, metadata={"range": (0, LARGEST)})
    goals: Literal["final", "subgoals"] = "final"
    subgoal_steps: tuple[int, ...] = ()
    batch: int = field(default=0, metadata={"range": (0, 1024)})
    env: EnvConfig = field(default_factory=lambda: EnvConfig(variation="test"))
    controls: ControlsConfig = field(default_factory=ControlsConfig)
    videos: int = field(default=1000, metadata={"range": (0, LARGEST)})
    threads: int = field(default=0, metadata=THREADS)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.episodes < 1:
            raise ConfigError(f"episodes is {self.episodes}; it must be at least 1.")

    def unused(self) -> dict[str, str]:
        """Return what a closed loop does not use."""
        taken = {"env.fps": "a closed loop, which has no clock,"}
        if self.goals == "final":
            taken["subgoal_steps"] = "goals=final"
        if self.manifest:
            taken |= dict.fromkeys(("episodes", "seed", "pairs_from", "goal_steps"), "a given manifest")
        return taken if self.pairs_from else {"goal_steps": "an evaluation without pairs_from"} | taken


def run(config: Config) -> None:
    """Evaluate, write the results, and print the table."""
    refuse_taken_run("evaluate", config)
    with ExitStack() as held:
        evaluate_into(lambda: held.enter_context(open_run("evaluate", config, outputs=OUTPUTS)), config)


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """What is evaluated, once all inputs were found good.

    Attributes:
        env: The first copy of the environment.
        policy: The world model's policy; None if random actions are evaluated.
        made_from: What the checkpoint records of how it was made.
        subgoals: When policies are given the next sub-goal.
        controls: The policies to compare with.
        manifest: The pairs.
    """

    env: Environment
    policy: PlannerPolicy | None
    made_from: Mapping[str, Any]
    subgoals: SubGoalSchedule | None
    controls: Controls
    manifest: Manifest


def evaluate_into(make_folder: Callable[[], Path], config: Config) -> dict[str, Any]:
    """Run the evaluation and return what `result.json` holds.

    The folder is made once all inputs are found good and the pairs are drawn.
    """
    from vjepa_world.evaluation.closed_loop.evaluate import evaluate
    from vjepa_world.evaluation.closed_loop.pairs.leakage import find_leakage
    from vjepa_world.evaluation.closed_loop.pairs.manifest import MANIFEST_FILE
    from vjepa_world.system.device import resolve_device, set_threads

    device = resolve_device(config.device)
    set_threads(config.threads)
    with ExitStack() as stack:
        found = _prepare(config, device, stack)
        controls, pairs = found.controls, found.manifest.pairs
        folder = make_folder()
        found.manifest.write(folder / MANIFEST_FILE)
        leakage = find_leakage(found.made_from, config.env.id, pairs.pairs)
        if leakage.seen:
            logger.warning("%s", leakage.text)
        together = min(_batch(config, device), len(pairs.pairs))
        envs = [found.env, *(_open(config.env, stack) for _ in range(together - 1))]
        random_policy = _random_policy(found)
        about = _about(config, found, batch=together)
        totals = defaultdict(lambda: len(pairs.pairs), controls.only_first)
        with _Record(folder, totals, config.videos, about["policy"]) as record:
            evaluated = evaluate(
                envs,
                found.policy or random_policy,
                name=about["policy"],
                pairs=pairs,
                max_actions=config.env.max_steps,
                subgoals=found.subgoals,
                random_policy=random_policy,
                controls=controls.policies,
                only_first=controls.only_first,
                on_episode=record.add,
            )
    result = evaluated.metrics() | about | {"left_out": controls.left_out, "leakage": leakage.as_json()}
    write_json_atomic(folder / RESULT_FILE, result)
    print(table(result))
    print(f"{folder / RESULT_FILE}{_videos_written(folder, min(config.videos, len(pairs.pairs)))}")
    return result


def _prepare(config: Config, device: torch.device, stack: ExitStack) -> _Prepared:
    """Open what is evaluated, and draw the pairs or check those that were given."""
    from vjepa_world.evaluation.closed_loop.environment import action_bounds
    from vjepa_world.planning.build import checkpoint_provenance, load_policy

    given = _given_manifest(config)
    env = _open(config.env, stack)
    low, high = action_bounds(env.action_space)

    def load(checkpoint: str) -> PlannerPolicy:
        return load_policy(checkpoint, config, device, action_low=low, action_high=high)

    policy = _policy_or_none(config.checkpoint, load)
    made_from = {} if policy is None else checkpoint_provenance(config.checkpoint)
    if policy is not None and policy.views > 1:
        _check_cameras(config, env, policy.views, made_from)
    _warn_of_another_environment(config.env.id, made_from)
    return _Prepared(
        env=env,
        policy=policy,
        made_from=made_from,
        subgoals=_subgoals(config, env),
        controls=build_controls(config.controls, env, policy, config, load),
        manifest=_manifest(given, config, env),
    )


def _warn_of_another_environment(environment: str, made_from: Mapping[str, Any]) -> None:
    """Warn if a checkpoint records the environments of its training data, and this is none of them."""
    from vjepa_world.data.training_record import other_environments

    if trained := other_environments(made_from, environment):
        logger.warning(
            "the checkpoint was trained on episodes of %s, and none of %s, in which it is evaluated; for a model of "
            "this environment, collect episodes in it and give the checkpoint of a finetune run on them",
            " and ".join(trained),
            environment,
        )


def _random_policy(found: _Prepared) -> RandomPolicy:
    """Return random actions within the bounds of the model's actions, or of the environment's without a model."""
    from vjepa_world.evaluation.closed_loop.environment import action_bounds
    from vjepa_world.planning.policy import RandomPolicy

    if found.policy is None:
        return RandomPolicy(*action_bounds(found.env.action_space))
    model = found.policy.model
    return RandomPolicy(model.action_low.cpu().numpy(), model.action_high.cpu().numpy())


def _about(config: Config, found: _Prepared, *, batch: int) -> dict[str, Any]:
    """Return what `result.json` says of what was evaluated, and where."""
    from vjepa_world.evaluation.closed_loop.evaluate import POLICY, RANDOM

    return {
        "checkpoint": config.checkpoint if found.policy is not None else "",
        "policy": POLICY if found.policy is not None else RANDOM,
        "seed": found.manifest.seed,
        "environment": dict(found.manifest.environment),
        "goals": {"kind": config.goals, "steps": list(config.subgoal_steps)},
        "batch": batch,
    }


def _policy_or_none(checkpoint: str, load: Callable[[str], PlannerPolicy]) -> PlannerPolicy | None:
    """Return a checkpoint's policy; None if none was given, and the shipped one does not fit the environment.

    Raises:
        CheckpointError: If a given checkpoint does not fit, or cannot be loaded.
    """
    try:
        return load(checkpoint)
    except CheckpointError as error:
        if checkpoint != SHIPPED:
            raise
        logger.warning(
            "no checkpoint is given, and the shipped one does not fit (%s) Only policies without a model are "
            "evaluated; give checkpoint=runs/finetune/NAME.",
            error,
        )
        return None


def _open(config: EnvConfig, stack: ExitStack) -> Environment:
    """Return a new environment, which is closed when the stack is."""
    env: Environment = stack.enter_context(closing(config.make()))
    return env


def _subgoals(config: Config, env: Environment) -> SubGoalSchedule | None:
    """Return when policies are given the next sub-goal; None if they are given the goal alone.

    Raises:
        EvaluationError: If the environment has no sub-goals, or not as many as the option says.
    """
    from vjepa_world.evaluation.closed_loop.environment import Pair
    from vjepa_world.evaluation.closed_loop.goals import GoalSequence, SubGoalSchedule

    if config.goals == "final":
        return None
    schedule = SubGoalSchedule(config.subgoal_steps)
    GoalSequence(Pair(config.seed).reset(env, "goal_image")[1], schedule)
    return schedule


def _check_cameras(config: Config, env: Environment, views: int, made_from: Mapping[str, Any]) -> None:
    """Check that an environment and its goals are shown by as many cameras as a model looks at, and warn of others.

    Raises:
        ConfigError: If there are fewer cameras, or the goal is shown by others.
    """
    from vjepa_world.environments.spaces import camera_name
    from vjepa_world.evaluation.closed_loop.environment import Pair
    from vjepa_world.planning.cameras import side_by_side

    observation, info = Pair(config.seed).reset(env, "goal_image")
    side_by_side(observation, views=views)
    side_by_side(info, "goal_image", views=views)
    shown = [key for key in observation if key.startswith("image")][:views]
    goals = [key.removeprefix("goal_") for key in info if key.startswith("goal_image")][:views]
    if goals != shown:
        raise ConfigError(
            f"the world model looks at {counted(views, 'camera')}, which are {', '.join(shown)} in observations and "
            f"{', '.join(goals)} of the goal; both must be shown by the same ones. Give the goal's images of "
            f"{', '.join(shown)}, or name other env.cameras."
        )
    names = [camera_name(key) for key in shown]
    trained = [list(cameras) for cameras in made_from.get("cameras", {}).values()]
    if trained and names not in trained:
        logger.warning(
            "the checkpoint was trained on the cameras %s, and the environment shows %s, in this order; "
            "the first of an environment is called main here",
            " or ".join(", ".join(cameras) for cameras in trained),
            ", ".join(names),
        )


def _batch(config: Config, device: torch.device) -> int:
    return config.batch or (1 if device.type == "cpu" else GPU_BATCH)


def _environment(config: EnvConfig) -> dict[str, Any]:
    """Return what decides the pairs of an environment and the length of its episodes, with dotted keys."""
    return {key: value for key, value in flatten(config).items() if key != "fps"}


def _given_manifest(config: Config) -> Manifest | None:
    """Return the manifest that was given, of the same environment.

    Raises:
        EvaluationError: If it is missing, broken, of another environment, or lists a pair twice.
    """
    from vjepa_world.evaluation.closed_loop.pairs.manifest import read_manifest

    if config.manifest is None:
        return None
    given = read_manifest(config.manifest)
    given.check_environment(_environment(config.env))
    given.check_distinct()
    return given


def _manifest(given: Manifest | None, config: Config, env: Environment) -> Manifest:
    """Return the given manifest, once its pairs are reproduced, or a new one.

    Raises:
        EvaluationError: If the environment has changed since it was written, or nearly all pairs begin solved.
    """
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.evaluation.closed_loop.pairs.drawing import check_reproduced, draw_pairs
    from vjepa_world.evaluation.closed_loop.pairs.manifest import Manifest
    from vjepa_world.evaluation.closed_loop.pairs.recorded import with_episodes

    total = config.episodes if given is None else len(given.pairs.pairs)
    with progress("pairs", unit="pair", total=total) as bar:
        if given is None:
            found = (
                _recorded_pairs(config, env, bar.update)
                if config.pairs_from
                else draw_pairs(env, config.seed, config.episodes, on_reset=bar.update)
            )
            if config.env.goal_data:
                found = with_episodes(found, open_trajectories(config.env.goal_data))
            return Manifest(_environment(config.env), found, seed=config.seed, recorded=config.pairs_from)
        if not check_reproduced(env, given.pairs, on_reset=bar.update):
            logger.warning(
                "the manifest's images are reproduced up to small differences, such as those between graphics drivers"
            )
    return given


def _recorded_pairs(config: Config, env: Environment, on_reset: Callable[[], object]) -> Pairs:
    """Return pairs from recorded episodes; those that the arm cannot be put into are left out and counted.

    Raises:
        EvaluationError: If the environment refuses all of them, or they are solved at the reset.
    """
    from envs import EnvError
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.evaluation.closed_loop.pairs.drawing import unsolved
    from vjepa_world.evaluation.closed_loop.pairs.recorded import check_recorded, recorded_pairs
    from vjepa_world.evaluation.statistics import EvaluationError

    dataset = open_trajectories(config.pairs_from)
    candidates = recorded_pairs(
        dataset, seed=config.seed, goal_steps=config.goal_steps, n=2 * config.episodes
    )
    found = unsolved(
        env, candidates, config.episodes, skips=(EnvError,), check=check_recorded, on_reset=on_reset
    )
    if not found.pairs:
        raise EvaluationError(
            f"all {len(candidates)} pairs from {config.pairs_from} are solved at the reset; raise goal_steps."
        )
    if len(found.pairs) < config.episodes:
        logger.warning(
            "%s requested, and %s has %s that can be used; give a dataset with more, or another goal_steps",
            counted(config.episodes, "pair"),
            config.pairs_from,
            counted(len(found.pairs), "different one"),
        )
    if found.refused:
        logger.warning(
            "%s of recorded episodes left out, out of the arm's reach", counted(found.refused, "pair")
        )
    return found


class _Record:
    """Shows the progress of each policy, and writes the episodes' numbers and the videos of the evaluated one."""

    def __init__(self, folder: Path, totals: Mapping[str, int], videos: int, evaluated: str) -> None:
        from vjepa_world.evaluation.closed_loop.episode_log import EpisodeLog

        self.folder, self.totals, self.videos, self.evaluated = folder, totals, videos, evaluated
        self.name, self.done, self.successes = "", 0, 0
        self.bar: Progress | None = None
        self.log = EpisodeLog(folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close_bar()
        self.log.close()

    def _close_bar(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def add(self, name: str, recording: Recording) -> None:
        """Write an episode of a policy; its first one opens a new bar."""
        if name != self.name or self.bar is None:
            self._close_bar()
            self.bar = progress(name, unit="episode", total=self.totals[name])
            self.name, self.done, self.successes = name, 0, 0
        episode, video = recording.episode, ""
        if name == self.evaluated and episode.index < self.videos:
            video = _write_video(self.folder, recording)
        self.log.add(name, episode, video)
        self.done += 1
        self.successes += episode.success
        self.bar.update()
        self.bar.set_postfix({"success": f"{self.successes}/{self.done}"})


def _videos_written(folder: Path, expected: int) -> str:
    """Return where the videos are, in words; nothing where none was asked for.

    Raises:
        DataError: Others are there than were to be written.
    """
    found = len(list((folder / "videos").glob("*.mp4")))
    if found != expected:
        raise DataError(
            f"{folder / 'videos'} has {found} videos, and {expected} were to be written; look at the disk."
        )
    return f"; videos in {folder / 'videos'}" if expected else ""


def _write_video(folder: Path, recording: Recording) -> str:
    """Write the video of an episode, and return its path in the run folder."""
    from vjepa_world.data.video.writer import write_video
    from vjepa_world.reports.plots.episode_panels import episode_panel

    episode = recording.episode
    path = f"videos/{episode.index:03d}_{'reached' if episode.success else 'missed'}.mp4"
    write_video(folder / path, episode_panel(recording), PANEL_FPS)
    return path

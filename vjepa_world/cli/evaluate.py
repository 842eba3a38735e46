"""`evaluate`: drive the arm to goal images in test scenes and count successes, with control models for comparison."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from vjepa_world.cli.shared.common import EnvConfig
from vjepa_world.config.ranges import EPISODES, LARGEST, SEED, THREADS
from vjepa_world.errors import ConfigError, DataError, counted
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.planning.config import SHIPPED, PlanningConfig
from vjepa_world.runs import RESULT_FILE, open_run
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from typing import Self

    import gymnasium

    from vjepa_world.evaluation.closed_loop.rollout import Episode
    from vjepa_world.system.progress import Progress

logger = logging.getLogger(__name__)

#: What an evaluation writes to its folder.
OUTPUTS = (RESULT_FILE, "videos")

#: Frames per second of the episode videos: slow enough to follow.
PANEL_FPS = 4


@dataclass(frozen=True, kw_only=True)
class ControlsConfig:
    """World models to compare with, on the same episodes.

    Attributes:
        untrained: Checkpoint of a predictor trained in the same way on an untrained encoder; empty for none.
        pixels: Checkpoint of a predictor trained in the same way on raw pixels; empty for none.
    """

    untrained: str = ""
    pixels: str = ""


@dataclass(frozen=True, kw_only=True)
class Config(PlanningConfig):
    """What to evaluate in the simulator.

    Attributes:
        name: The run goes to runs/evaluate/NAME.
        seed: Where the episodes come from.
        resume: Run again in the same folder; the evaluation starts over.
        device: auto, cpu, cuda or cuda:N.
        checkpoint: A finetune run or a world model's checkpoint; shipped is the one in the package.
        episodes: Episodes to run; those solved at reset are redrawn and counted.
        env: The environment; test scenes differ from those of training.
        controls: World models to compare with, on the same episodes.
        videos: Episodes that become a video.
        threads: Threads of torch; 0 takes one a core.
    """

    moved: ClassVar = dict.fromkeys(
        ("mode", "data", "open_loop"),
        "evaluation on recorded episodes is a command of its own: vjepa-world evaluate-open-loop",
    )

    name: str = ""
    seed: int = field(default=20_000, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    checkpoint: str = SHIPPED
    episodes: int = field(default=50, metadata=EPISODES)
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
        return {"env.fps": "a closed loop, which has no clock,"}


def run(config: Config) -> None:
    """Evaluate, write `result.json` and the videos, and print the table."""
    with ExitStack() as held:
        evaluate_into(lambda: held.enter_context(open_run("evaluate", config, outputs=OUTPUTS)), config)


def evaluate_into(make_folder: Callable[[], Path], config: Config) -> dict[str, Any]:
    """Run the evaluation and return what `result.json` holds; the folder is made once all inputs are found good."""
    from vjepa_world.evaluation.closed_loop.evaluate import evaluate
    from vjepa_world.planning.build import load_policy
    from vjepa_world.planning.policy import PlannerPolicy, RandomPolicy
    from vjepa_world.system.device import resolve_device, set_threads

    device = resolve_device(config.device)
    set_threads(config.threads)
    env = config.env.make()
    box = cast("gymnasium.spaces.Box", env.action_space)

    def load(checkpoint: str) -> PlannerPolicy:
        return load_policy(checkpoint, config, device, action_low=box.low, action_high=box.high)

    policy = load(config.checkpoint)
    named = {"untrained encoder": config.controls.untrained, "raw pixels": config.controls.pixels}
    controls = {name: load(path) for name, path in named.items() if path}
    folder = make_folder()
    bounds = (tensor.cpu().numpy() for tensor in (policy.model.action_low, policy.model.action_high))
    with _Record(folder, config.episodes, config.videos) as record:
        found = evaluate(
            env,
            policy,
            episodes=config.episodes,
            seed=config.seed,
            max_actions=config.env.max_steps,
            random_policy=RandomPolicy(*bounds),
            controls=controls,
            on_episode=record.add,
        )
    result = found.metrics()
    result |= {"checkpoint": config.checkpoint, "seed": config.seed, "variation": config.env.variation}
    result["max_steps"] = config.env.max_steps
    env.close()
    write_json_atomic(folder / RESULT_FILE, result)
    print(table(result))
    print(f"{folder / RESULT_FILE}{_videos_written(folder, min(config.videos, config.episodes))}")
    return result


class _Record:
    """Shows the progress of each policy, and writes the videos of the evaluated one."""

    def __init__(self, folder: Path, episodes: int, videos: int) -> None:
        self.folder, self.episodes, self.videos = folder, episodes, videos
        self.name, self.done, self.successes = "", 0, 0
        self.bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def add(self, name: str, episode: Episode) -> None:
        """Count an episode of a policy; its first one opens a new bar."""
        from vjepa_world.evaluation.closed_loop.evaluate import POLICY

        if name != self.name or self.bar is None:
            self.__exit__()
            self.bar = progress(name, unit="episode", total=self.episodes)
            self.name, self.done, self.successes = name, 0, 0
        if name == POLICY and self.done < self.videos:
            _write_video(self.folder, self.done, episode)
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


def _write_video(folder: Path, index: int, episode: Episode) -> None:
    from vjepa_world.data.video.writer import write_video
    from vjepa_world.reports.plots.episode_panels import episode_panel

    outcome = "reached" if episode.success else "missed"
    write_video(folder / "videos" / f"{index:03d}_{outcome}.mp4", episode_panel(episode), PANEL_FPS)


def table(result: dict[str, Any]) -> str:
    """Return the metrics as a table: the world model, random actions, and the controls that were run."""
    header = f"{'':18}  {'success':>8}  {'95 % interval':>15}  {'final distance':>14}"
    header += f"  {'s/action':>8}  {'p95':>5}  {'p99':>5}"
    lines = [header, _line("world model", result), _random_line(result)]
    lines += [_line(name, metrics) for name, metrics in result["controls"].items()]
    lines.append(
        f"{counted(result['episodes'], 'episode')}, {result['variation']} scenes, {result['solved_at_reset']} redrawn "
        f"because solved at reset; final distance: median (start {100 * result['initial_distance_m']['median']:.1f} cm)"
    )
    return "\n".join(lines)


def _line(name: str, metrics: dict[str, Any]) -> str:
    interval = f"{100 * metrics['wilson_low']:.0f} - {100 * metrics['wilson_high']:.0f} %"
    distance = f"{100 * metrics['final_distance_m']['median']:.1f} cm"
    p50, p95, p99 = (metrics["seconds_per_action"][percent] for percent in ("p50", "p95", "p99"))
    seconds = f"{p50:>8.2f}  {p95:>5.2f}  {p99:>5.2f}"
    return f"{name:18}  {100 * metrics['success_rate']:6.0f} %  {interval:>15}  {distance:>14}  {seconds}"


def _random_line(result: dict[str, Any]) -> str:
    interval = f"{100 * result['random_wilson_low']:.0f} - {100 * result['random_wilson_high']:.0f} %"
    distance = f"{100 * result['random_final_distance_m']['median']:.1f} cm"
    rate = 100 * result["random_success_rate"]
    return f"{'random actions':18}  {rate:6.0f} %  {interval:>15}  {distance:>14}  {'-':>8}"

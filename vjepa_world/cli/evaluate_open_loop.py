"""`evaluate-open-loop`: measure a world model on recorded episodes that it was not trained on, without a simulator."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from vjepa_world.config.ranges import FPS, SEED, THREADS
from vjepa_world.errors import ConfigError, counted
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.files.atomic import write_json_atomic, write_text_atomic
from vjepa_world.ops.convention import Convention
from vjepa_world.planning.config import SHIPPED, PlanningConfig
from vjepa_world.runs import RESULT_FILE, open_run
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from vjepa_world.evaluation.open_loop.protocols import Progress

REPORT, BAD_EPISODES = "report.html", "bad_episodes.csv"

#: Options of plans of several steps and of their execution, which an open loop does not have.
EXECUTION = (
    "execution.replan_every",
    "execution.warm_start",
    "execution.deadline_s",
    "penalties.smoothness",
    "energy.discount",
)


@dataclass(frozen=True, kw_only=True)
class OpenLoopDataConfig:
    """The recorded episodes.

    Attributes:
        path: A trajectory dataset of any known format.
        cameras: Cameras that are shown, as many as the model has views; [] takes the first ones.
        convention: How the numbers are written, whole; nothing takes what the dataset declares or its format has.
        fps: Frames per second; 0 takes what the checkpoint was trained with, else every row.
        windows: Windows that are measured, drawn by the seed.
        split: held_out takes the episodes that the checkpoint was not trained on (all of an unknown dataset), all every
            one.
        embodiment: Which of the checkpoint's robots it is of; empty for the first.
        max_bad_fraction: Share of unusable episodes above which the run stops.
    """

    path: str = field(metadata={"example": "DATASET"})
    cameras: tuple[str, ...] = ()
    convention: Convention | None = None
    fps: float = field(default=0.0, metadata=FPS)
    windows: int = 256
    split: Literal["held_out", "all"] = "held_out"
    embodiment: str = ""
    max_bad_fraction: float = 0.2

    def __post_init__(self) -> None:
        if self.windows < 2:
            raise ConfigError(f"data.windows is {self.windows}; it must be at least 2.")
        if self.fps < 0:
            raise ConfigError(f"data.fps is {self.fps}; it must be more than 0, or 0 for the checkpoint's.")
        if not 0 <= self.max_bad_fraction < 1:
            raise ConfigError(
                f"data.max_bad_fraction is {self.max_bad_fraction}; it is a share, from 0 to below 1."
            )


@dataclass(frozen=True, kw_only=True)
class Config(PlanningConfig):
    """What to evaluate, and on which recorded episodes.

    Attributes:
        name: The run goes to runs/evaluate_open_loop/NAME.
        seed: Draws the windows.
        resume: Run again in the same folder; the evaluation starts over.
        device: auto, cpu, cuda or cuda:N.
        checkpoint: A finetune run or a world model's checkpoint; shipped and shipped-objects are in the package.
        data: The recorded episodes.
        open_loop: What is measured.
        threads: Threads of torch; 0 takes one a core.
    """

    name: str = ""
    seed: int = field(default=20_000, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    checkpoint: str = SHIPPED
    data: OpenLoopDataConfig
    open_loop: OpenLoopConfig = field(default_factory=OpenLoopConfig)
    threads: int = field(default=0, metadata=THREADS)

    def unused(self) -> dict[str, str]:
        """Return the planner's options for carrying out plans."""
        return dict.fromkeys(EXECUTION, "an open loop, which carries no plan out,")


def run(config: Config) -> None:
    """Evaluate, write `result.json` and `report.html`, and print the assessment."""
    with ExitStack() as held:
        outputs = (RESULT_FILE, REPORT, BAD_EPISODES)
        evaluate_into(
            config, lambda: held.enter_context(open_run("evaluate_open_loop", config, outputs=outputs))
        )


def evaluate_into(config: Config, make_folder: Callable[[], Path]) -> dict[str, Any]:
    """Evaluate, write `result.json` and `report.html`, print the assessment, and return what `result.json` holds.

    The folder is made once all inputs are found good.

    Raises:
        CheckpointError: If the checkpoint cannot be read or does not fit the data.
        ConfigError: If several steps are to be planned.
        DataError: If the data cannot be used.
        MissingLibraryError: If a library that makes the report is not installed.
    """
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.evaluation.open_loop.evaluate import evaluate_open_loop
    from vjepa_world.evaluation.open_loop.training_data import trained_convention
    from vjepa_world.planning.build import checkpoint_provenance, load_planner
    from vjepa_world.reports.pages.open_loop import open_loop_report
    from vjepa_world.reports.theme import require
    from vjepa_world.system.device import resolve_device, set_threads

    data = config.data
    if config.planner.horizon != 1:
        raise ConfigError(
            f"planner.horizon is {config.planner.horizon}, and an open loop looks for single actions; set "
            "planner.horizon=1."
        )
    require()
    set_threads(config.threads)
    known = checkpoint_provenance(config.checkpoint)
    convention, notes = data.convention, list[str]()
    if convention is None:
        convention, notes = trained_convention(data.path, known, data.embodiment)
    dataset = open_trajectories(data.path, convention=convention)
    loaded = load_planner(
        config.checkpoint, config, resolve_device(config.device), embodiment=data.embodiment or None
    )
    folders: list[Path] = []
    with _Bars() as bars:
        found = evaluate_open_loop(
            loaded.model,
            dataset,
            loaded.planner,
            loaded.energy,
            config=config.open_loop,
            windows=data.windows,
            cameras=data.cameras,
            fps=data.fps,
            split=data.split,
            provenance=known,
            max_bad_fraction=data.max_bad_fraction,
            seed=config.seed,
            notes=notes,
            on_start=lambda: folders.append(make_folder()),
            progress_bar=bars.open,
        )
    dataset.close()
    [folder] = folders
    about = {"mode": "open_loop", "checkpoint": config.checkpoint, "data": data.path, "split": data.split}
    result = about | found.metrics()
    write_json_atomic(folder / RESULT_FILE, result)
    write_text_atomic(folder / REPORT, open_loop_report(found, f"{config.checkpoint} on {data.path}"))
    if len(found.bad):
        found.bad.write(folder / BAD_EPISODES)
    print(table_of(result))
    print(f"{folder / REPORT}; metrics in {folder / RESULT_FILE}")
    return result


def table_of(result: dict[str, Any]) -> str:
    """Return the assessment as text, with what was measured below."""
    from vjepa_world.evaluation.open_loop.assessment import LEAST_EPISODES, remarks_on, summary_table

    lines = [summary_table(result)]
    brackets = "; in brackets: 95 % intervals over episodes" if result["episodes"] >= LEAST_EPISODES else ""
    lines.append(
        f"{counted(result['windows'], 'window')} of {counted(result['episodes'], 'episode')} at {result['fps']:g} "
        f"frames per second{brackets}"
    )
    return "\n".join([*lines, *remarks_on(result), *result["notes"]])


class _Bars:
    """Progress bars, one after the other."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def open(self, what: str, total: int) -> Progress:
        """Close the bar before and open one."""
        self.close()
        self._bar = progress(what, unit="window", total=total)
        return lambda count: self._bar.update(count)

    def close(self) -> None:
        """Close the open bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

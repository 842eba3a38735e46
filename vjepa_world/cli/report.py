"""`report`: one HTML file of a run: of a training its curves and features, of an evaluation its episodes and rates."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from vjepa_world.errors import counted
from vjepa_world.files.atomic import write_text_atomic
from vjepa_world.runs import METRICS_FILE, RunError, no_such_run, read_metrics

REPORT = "report.html"

#: Commands that write the report of a run themselves.
DRAWN_ALREADY = ("evaluate-open-loop", "evaluate-encoder")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which run.

    Attributes:
        run: A run folder, such as runs/pretrain/NAME or runs/evaluate/NAME.
        output: The file to write; null for report.html in the run folder, from which it plays an evaluation's videos.
        device: auto, cpu, cuda or cuda:N.
    """

    run: Path = field(metadata={"example": "runs/pretrain/NAME"})
    output: Path | None = None
    device: str = "auto"


def run(config: Config) -> None:
    """Write the report and print its path.

    Where a run's data or checkpoint is missing, the report says so and shows the rest.

    Raises:
        RunError: If there is no such run, it has logged nothing or was stopped, or the file's folder does not exist.
        EvaluationError: If the files of an evaluation are broken.
        ConfigError: If the device is not available, or a library of the extra `reports` is not installed.
    """
    from vjepa_world.evaluation.closed_loop.comparison import is_evaluation
    from vjepa_world.reports.theme import require

    require()
    output = config.output or config.run / REPORT
    if is_evaluation(config.run):
        _check_folder_of(output)
        _report_evaluation(config.run, output)
    else:
        _report_training(config.run, output, config.device)


def _report_evaluation(folder: Path, output: Path) -> None:
    from vjepa_world.reports.pages.evaluation import evaluation_page

    write_text_atomic(output, evaluation_page(folder, output))
    print(f"report in {output}")


def _report_training(folder: Path, output: Path, device_name: str) -> None:
    from vjepa_world.reports.pages.run_report import run_page
    from vjepa_world.system.device import resolve_device

    lines, device = metrics_of(folder), resolve_device(device_name)
    _check_folder_of(output)
    write_text_atomic(output, run_page(folder, lines, device))
    print(f"report in {output}: {counted(len(lines), 'logged step')}, the last at step {lines[-1]['step']}")


def _check_folder_of(output: Path) -> None:
    if not output.parent.is_dir():
        raise RunError(f"output={output} is in no folder that exists; make {output.parent}, or leave it out.")


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """Return the logged metrics of a run.

    Raises:
        RunError: If there is no such run, or it has none.
    """
    if not folder.is_dir():
        raise RunError(f"{no_such_run(folder)}.")
    lines = read_metrics(folder)
    if not lines:
        raise RunError(
            f"{folder} {_why_not_drawn(folder)} Allowed are runs of pretrain, finetune and probe that have logged a "
            "step (trainer.log_every), and of evaluate and demo that have finished an episode."
        )
    return lines


def _why_not_drawn(folder: Path) -> str:
    """Return why a folder without metrics has nothing to draw, and what to do, as a predicate."""
    command = folder.resolve().parent.name.replace("_", "-")
    if command in DRAWN_ALREADY and (folder / REPORT).is_file():
        return f"is a run of {command}, which has drawn its report itself: open {folder / REPORT}."
    if command in DRAWN_ALREADY:
        return f"is a run of {command} that was stopped: run it again with resume=true, and it draws its report itself."
    return f"has no metrics to draw: its {METRICS_FILE} is missing or empty."

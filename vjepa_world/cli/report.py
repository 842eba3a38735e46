"""`report`: one HTML file of a run: its curves, what was hidden, what the features tell apart, what went wrong."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa_world.errors import nearest
from vjepa_world.runs import METRICS_FILE, RunError, read_metrics, write_text_atomic

if TYPE_CHECKING:
    import torch

REPORT = "report.html"


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Draw a run's curves, masks and features into one HTML file."
    )
    parser.add_argument("run", type=Path, help="a run folder, such as runs/pretrain/NAME")
    parser.add_argument("--output", type=Path, help=f"the file to write (default: RUN/{REPORT})")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write the report and say where it is.

    What is missing of a run (its data, its checkpoint) is said in the report, and the rest is drawn.

    Raises:
        RunError: If there is no such run, it has logged nothing yet, or the file's folder does not exist.
        ConfigError: If the device is not there.
    """
    from vjepa_world.system.device import resolve_device

    folder, output = arguments.run, arguments.output or arguments.run / REPORT
    lines, device = metrics_of(folder), resolve_device(arguments.device)
    if not output.parent.is_dir():
        raise RunError(
            f"--output {output} is in no folder that exists; make {output.parent}, or leave it out."
        )
    write_text_atomic(output, report(folder, lines, device))
    print(f"report in {output}: {len(lines)} logged steps, the last one {lines[-1]['step']}")


def metrics_of(folder: Path) -> list[dict[str, float]]:
    """Return the logged figures of a run.

    Raises:
        RunError: If there is no such run, or it has none.
    """
    if not folder.is_dir():
        home = folder.parent
        runs = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
        known = f"runs in {home}: {nearest(folder.name, runs)}" if runs else f"{home} holds no runs."
        raise RunError(f"there is no run {folder}; {known}")
    lines = read_metrics(folder)
    if not lines:
        raise RunError(
            f"{folder} has no figures to draw: its {METRICS_FILE} is missing or empty. Name a run of pretrain, "
            "finetune or probe that has logged a step (trainer.log_every)."
        )
    return lines


def report(folder: Path, lines: list[dict[str, float]], device: torch.device) -> str:
    """Return the report of a run as HTML; `lines` are its logged figures."""
    from vjepa_world.reports import page as html
    from vjepa_world.reports import pretraining as pretrain
    from vjepa_world.reports import tables

    notes: list[str] = []
    config = pretrain.read_settings(folder, notes)
    clips = None if config is None else pretrain.first_clips(config, notes)
    above, below = {}, {}
    if config is not None and clips is not None:
        families = pretrain.draw_masks(config, clips)
        below["Masks over the first clip"] = pretrain.masks_section(clips, families)
        below["Features, coloured by their three main directions"] = pretrain.features_section(
            folder, config, clips, device, notes
        )
        above["Alarms"] = pretrain.alarms(lines, config, families)
    else:
        above["Alarms"] = pretrain.alarms(lines, config, [])
    sections = {
        **above,
        **html.curves(lines),
        **below,
        "Not drawn": "".join(html.paragraph(note, "note") for note in notes),
        "Files that could not be read": tables.bad_files(folder),
        "Settings": tables.settings(folder),
    }
    asked = f" of {config.trainer.steps}" if config is not None else ""
    title = f"{folder.resolve().parent.name} / {folder.resolve().name}"
    return html.page(title, f"{folder}, {int(lines[-1]['step']) + 1}{asked} steps", sections)

"""`demo`: the shipped model reaches goal images in unseen scenes, beside random actions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vjepa_world.runs import run_folder
from vjepa_world.verbs.evaluate import ClosedLoopConfig, evaluate_into


@dataclass(frozen=True, kw_only=True)
class Config(ClosedLoopConfig):
    """The evaluation of the shipped model, in short; see `evaluate` for all its keys.

    Attributes:
        name: The run goes to runs/demo/NAME; empty for runs/demo itself, which each run replaces.
        episodes: Episodes to run.
    """

    episodes: int = 20


def run(config: Config) -> None:
    """Run the demo and say where its videos are."""
    evaluate_into(lambda: _folder(config), config)


def _folder(config: Config) -> Path:
    if config.name:
        return run_folder("demo", config.name, config.resume, config=config)
    folder = Path("runs") / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    return folder

"""`demo`: the shipped model reaches goal images in unseen scenes, beside random actions."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

from vjepa_world.verbs.evaluate import Config as EvaluateConfig
from vjepa_world.verbs.evaluate import evaluate_into


@dataclass(frozen=True, kw_only=True)
class Config(EvaluateConfig):
    """The evaluation of the shipped model, in short; see `evaluate` for all its keys.

    Attributes:
        name: The run goes to runs/demo/NAME; empty for runs/demo itself, which each run replaces.
        episodes: Episodes to run.
    """

    episodes: int = 20


def run(config: Config) -> None:
    """Run the demo and say where its videos are."""
    from vjepa_world.runs import run_folder

    if config.name:
        folder = run_folder("demo", config.name, resume=False, config=config)
    else:
        folder = Path("runs") / "demo"
        for old in (folder / "videos", folder / "result.json"):
            shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
    evaluate_into(folder, EvaluateConfig(**{f.name: getattr(config, f.name) for f in dataclasses.fields(EvaluateConfig)}))

"""`finetune`: learn, in the features of a frozen encoder, what the robot's actions do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vjepa_world.cli.shared.common import refuse_taken_run
from vjepa_world.environments.config import words_of
from vjepa_world.training.finetune.config import FinetuneConfig

if TYPE_CHECKING:
    from vjepa_world.training.finetune.trajectory_sources import TrajectorySource

Config = FinetuneConfig


def run(config: FinetuneConfig) -> None:
    """Train, write checkpoints, and print where they are."""
    refuse_taken_run("finetune", config)
    from vjepa_world.pretrained.native import find_checkpoint
    from vjepa_world.training.finetune.finetune import finetune

    result = finetune(config)
    if result.is_main:
        find_checkpoint(result.folder)  # fails if there is none
        name, words = _evaluation(config, result.sources)
        command = " ".join(["vjepa-world", name, shlex.quote(f"checkpoint={result.folder}"), *words])
        print(f"world model in {result.folder}; try it with: {command}")


def _evaluation(config: FinetuneConfig, sources: Sequence[TrajectorySource]) -> tuple[str, list[str]]:
    """Return the command that evaluates the first robot, and its words: `evaluate` for a recorded environment."""
    first = sources[0]
    environment = first.dataset.about.get("environment")
    if environment and (config.data.views == "one" or len(first.cameras) == 1):
        words = [shlex.quote(word) for word in words_of(environment)]
        if first.dataset.convention.choices:
            words.append("planner=categorical_cem")
        return "evaluate", words if environment.get("id", "").startswith("vjepa_world/") else [
            "env=gym",
            *words,
        ]
    words = [shlex.quote(f"data.path={first.dataset.path}")]
    if len(sources) > 1:
        words.append(shlex.quote(f"data.embodiment={first.embodiment}"))
    if not config.data.val_fraction:
        words.append("data.split=all")
    return "evaluate-open-loop", words

"""`demo`: the shipped model reaches goal images in test scenes; random actions for comparison."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from vjepa_world.cli.evaluate import OUTPUTS, evaluate_into
from vjepa_world.cli.evaluate import Config as EvaluateConfig
from vjepa_world.cli.shared.closed_loop_controls import ControlsConfig
from vjepa_world.cli.shared.common import refuse_taken_run
from vjepa_world.files.folder_lock import locked_folder
from vjepa_world.runs import open_run, remove_outputs


@dataclass(frozen=True, kw_only=True)
class Config(EvaluateConfig):
    """The evaluation of the shipped model, in short; see `evaluate` for all its keys.

    Attributes:
        name: The run goes to runs/demo/NAME; empty for runs/demo itself, which each run replaces.
        episodes: Pairs to draw.
        controls: Policies to compare with, on the same pairs; only random actions unless others are requested.
    """

    episodes: int = 20
    controls: ControlsConfig = field(
        default_factory=lambda: ControlsConfig(hold=False, expert=False, inverse=False)
    )

    def unused(self) -> dict[str, str]:
        """Return what a demo without a name does not use: it replaces the one before."""
        return {**super().unused(), **({} if self.name else {"resume": "a demo without a name"})}


def run(config: Config) -> None:
    """Run the demo and say where its videos are."""
    if config.name:
        refuse_taken_run("demo", config)
    with ExitStack() as held:
        evaluate_into(lambda: _folder(config, held), config)


def _folder(config: Config, held: ExitStack) -> Path:
    if config.name:
        return held.enter_context(open_run("demo", config, outputs=OUTPUTS))
    folder = Path("runs") / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    held.enter_context(locked_folder(folder))
    remove_outputs(folder, OUTPUTS)
    return folder

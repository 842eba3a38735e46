"""The table of commands, and how their words become a configuration."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from vjepa_world.errors import ConfigError, nearest


@dataclass(frozen=True)
class Command:
    """One command of the command line.

    Attributes:
        description: One line for the table of `--help`.
        kind: A `job` has a run folder and can be launched on a cluster; a `file` command prints facts about files.
        example: What may follow the command.
        positional: Keys that words without `=` are given to, in this order; a key that holds a list takes all of them.
        common: The keys and sections that `--help` lists; `--help-all` lists the others as well.
    """

    description: str
    kind: Literal["job", "file"]
    example: str
    positional: tuple[str, ...] = ()
    common: tuple[str, ...] = ()


_RUN = ("name", "seed", "resume", "device")
_TRAINER = tuple(
    f"trainer.{key}" for key in ("steps", "batch_size", "lr", "precision", "workers", "checkpoint_every")
)
_PLANNER = ("planner.kind", "planner.horizon", "planner.num_samples", "planner.num_iterations", "energy.kind")

COMMANDS = {
    "collect": Command(
        "record episodes of the arm as a LeRobot dataset",
        "job",
        "name=first episodes=100",
        common=("name", "seed", "resume", "episodes", "steps", "workers", "env"),
    ),
    "pretrain": Command(
        "train a video encoder on unlabeled clips",
        "job",
        "data.path=FOLDER name=first",
        common=(
            *_RUN, "init", "data.path", "data.fps", "data.sources", "model.image_size", "model.num_frames",
            "objective.kind", *_TRAINER,
        ),
    ),
    "finetune": Command(
        "train the action-conditioned predictor on a frozen encoder",
        "job",
        "encoder=RUN data.path=DATASET name=first",
        common=(
            *_RUN, "encoder", "data.path", "data.fps", "data.frames", "data.val_fraction", "data.sources",
            "latents.kind", "objective.rollout", *_TRAINER,
        ),
    ),
    "plan": Command(
        "plan the actions from an image to a goal image",
        "file",
        "--image NOW.png --goal GOAL.png --state 0.4 0 0.3 3.1 0 0 1",
        common=(
            "image", "goal", "state", "checkpoint", "seed", "device", *_PLANNER,
            "execution.deadline_s", "json", "html",
        ),
    ),
    "evaluate": Command(
        "drive the arm to goal images in the simulator and count successes",
        "job",
        "checkpoint=FOLDER name=first",
        common=(*_RUN, "checkpoint", "episodes", "videos", "env.variation", "env.max_steps", *_PLANNER, "controls"),
    ),
    "evaluate-open-loop": Command(
        "measure a world model on recorded episodes, without a simulator",
        "job",
        "checkpoint=FOLDER data.path=DATASET name=first",
        common=(
            *_RUN, "checkpoint", "data.path", "data.cameras", "data.fps", "data.windows", "data.split",
            "data.embodiment",
            *_PLANNER, "open_loop.horizon", "open_loop.samples",
        ),
    ),
    "evaluate-encoder": Command(
        "measure what frozen encoders are worth for planning, without a predictor",
        "job",
        "encoder=FOLDER env=grasp name=first",
        common=(
            *_RUN, "encoder", "others", "tokens", "scenes", "states", "radii_m", "env.variation", "data.path",
            "energy.kind",
        ),
    ),
    "probe": Command(
        "measure a frozen encoder's features with a probe on labelled videos or episodes",
        "job",
        "encoder=FOLDER data.path=FOLDER name=first",
        common=(
            *_RUN, "encoder", "target", "data.path", "data.fps", "data.frames", "probe.kind", "lrs", "trainer.steps",
        ),
    ),
    "predict": Command("print the classes of a video, or its numbers", "file", "VIDEO --probe FOLDER", ("video",)),
    "inspect": Command(
        "describe videos, trajectories or a checkpoint, and list problems found", "file", "PATH", ("path",)
    ),
    "envs": Command("list the tasks of the simulated arm, the robots and the factors of variation", "file", ""),
    "report": Command(
        "draw a run into one HTML file: curves and features, or an evaluation's episodes",
        "file",
        "RUN",
        ("run",),
    ),
    "compare": Command(
        "compare evaluations pair by pair, or encoders' features with probes on test scenes",
        "file",
        "RUN RUN ...",
        ("runs",),
    ),
    "convert": Command(
        "convert a checkpoint between formats, or trajectories to LeRobot v3.0",
        "file",
        "SOURCE DESTINATION",
        ("source", "destination"),
    ),
    "demo": Command(
        "watch the shipped model reach goal images",
        "job",
        "",
        common=("name", "seed", "device", "episodes", "videos", "env.variation", *_PLANNER),
    ),
    "bench": Command("measure speed next to a baseline and the machine's limit", "job", "NAME", ("bench",)),
}  # fmt: skip

#: Values of the word `mode=` of a command, each with the command that it selects.
MODES = {
    "evaluate": {
        "closed_loop": "evaluate",
        "encoder": "evaluate-encoder",
        "open_loop": "evaluate-open-loop",
    }
}


def by_mode(command: str, words: Sequence[str]) -> tuple[str, list[str]]:
    """Return the command that `mode=VALUE` selects, and the other words: `evaluate mode=encoder` is `evaluate-encoder`.

    Raises:
        ConfigError: If the command has no such mode.
    """
    modes, left, rest = MODES.get(command, {}), list(words), list[str]()
    while left:
        word = left.pop(0)
        if word == "--mode" and left:
            word = f"mode={left.pop(0)}"
        key, _, mode = word.removeprefix("--").partition("=")
        if not modes or key != "mode":
            rest.append(word)
        elif mode in modes:
            command = modes[mode]
        else:
            raise ConfigError(f"mode got '{mode}'; {nearest(mode, modes, in_order=True)}")
    return command, rest


def command_module(command: str) -> ModuleType:
    """Return the module of a command."""
    return importlib.import_module(f"vjepa_world.cli.{file_name(command)}")


def file_name(command: str) -> str:
    """Return how a command's files are named: its module, its YAML and the folder of its runs."""
    return command.replace("-", "_")


def config_of(command: str, words: Sequence[str], *, file: Path | None = None) -> Any:
    """Return the configuration of a command.

    Args:
        command: The command.
        words: What follows it on the command line. Of a run that is resumed, the settings that are not given are those
            that it was started with.
        file: A YAML file with keys of the configuration.

    Raises:
        ConfigError: If a word is not allowed.
    """
    from vjepa_world.cli.shared.words import key_values
    from vjepa_world.config import compose

    schema = command_module(command).Config
    overrides = key_values(words, schema, COMMANDS[command].positional)
    if file is None and (file := _settings_of_run(command, overrides, schema)) is not None:
        overrides = _without_groups_of_run(command, overrides, schema, file)
    return compose(file_name(command), schema, overrides, file=file)


def _settings_of_run(command: str, overrides: Sequence[str], schema: type) -> Path | None:
    """Return the settings of the run that is resumed; None where there are none that can be taken over."""
    from vjepa_world.config import from_yaml
    from vjepa_world.config.groups import groups_of
    from vjepa_world.config.location import config_root
    from vjepa_world.config.schema import type_at
    from vjepa_world.runs import CONFIG_FILE

    given = dict(word.split("=", 1) for word in overrides if "=" in word)
    path = Path("runs", file_name(command), given.get("name", ""), CONFIG_FILE)
    if given.get("resume") != "true" or not given.get("name") or not path.is_file():
        return None
    if any(
        group in given and type_at(schema, group) is None
        for group in groups_of(file_name(command), config_root())
    ):
        return None  # a group such as recipe= sets keys of several sections
    try:
        from_yaml(path.read_text(encoding="utf-8"), schema)
    except (ConfigError, UnicodeDecodeError):
        return None  # of another release: the run folder, once it is opened, names the keys that differ
    return path


def _without_groups_of_run(command: str, overrides: Sequence[str], schema: type, run: Path) -> list[str]:
    """Return the words without those groups, such as env=gym, whose settings the resumed run has: its others stay too.

    A group that selects a kind, such as planner=cem, stands for the kind's defaults and is kept.

    Args:
        command: The command.
        overrides: Words `key=value` and `group=option`.
        schema: The command's dataclass.
        run: The settings of the run.

    Raises:
        ConfigError: If an option does not fit the run and needs keys that are not given.
    """
    from vjepa_world.config.groups import groups_of, option_tree
    from vjepa_world.config.location import config_root
    from vjepa_world.config.schema import kinds_of, type_at
    from vjepa_world.config.text import read_yaml_file
    from vjepa_world.config.values import MISSING, leaves, with_defaults

    groups = groups_of(file_name(command), config_root())
    own = dict(leaves(with_defaults(schema, read_yaml_file(run)), ""))
    given, left = {word.split("=", 1)[0] for word in overrides}, []
    for word in overrides:
        group, _, option = word.partition("=")
        file = config_root() / group / f"{option}.yaml"
        if group not in groups or kinds_of(type_at(schema, group)) or not file.is_file():
            left.append(word)
            continue
        keys = {key: value for key, value in leaves(option_tree(group, file), "") if key not in given}
        lacking = [key for key, value in keys.items() if value == MISSING]
        others = [key for key, value in keys.items() if key not in lacking and own.get(key) != value]
        if others and lacking:
            raise ConfigError(
                f"{word} does not fit the run that is resumed: its {others[0]} is {own.get(others[0])}, and "
                f"{keys[others[0]]} in {word}. Leave {word} out: a run is resumed with its own settings."
            )
        if others:
            left.append(word)
    return left


def help_of_command(
    command: str,
    words: Sequence[str] = (),
    *,
    file: Path | None = None,
    everything: bool = False,
    width: int | None = None,
) -> str:
    """Return the help of a command.

    Args:
        command: The command.
        words: What follows it on the command line; the options of the kinds that it selects are shown.
        file: A YAML file with keys of the configuration, which may select kinds as well.
        everything: Whether to list all keys, not only the common ones.
        width: Letters of a line, beyond which the text continues on the next; None for no limit.

    Raises:
        ConfigError: If a kind or option is selected that does not exist, or the file cannot be used.
    """
    from vjepa_world.cli.shared.words import key_values
    from vjepa_world.config.help import describe

    about, schema, given = COMMANDS[command], command_module(command).Config, list[str]()
    with contextlib.suppress(ConfigError):  # a wrong flag may be why the user asks for help
        given = key_values(words, schema, about.positional)
    keys = None if everything or not about.common else about.common
    text = describe(file_name(command), schema, words=given, file=file, keys=keys, width=width)
    return (
        f"usage: vjepa-world {command} {about.example}".rstrip()
        + f"\n\n{about.description}\n\n{text}\n\n{_OPTIONS}"
    )


_OPTIONS = """\
Keys may be given as flags: --key value, --key=value, --flag, --no-flag.
  --config FILE   start from the keys of a YAML file
  --print-config  print the configuration as YAML, and do nothing else
  --help-all      list all keys"""

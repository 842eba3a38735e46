"""`compare`: evaluations pair by pair; or encoders, with probes of their features on scenes of the simulated arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.config.ranges import LARGEST, SEED, THREADS
from vjepa_world.errors import ConfigError
from vjepa_world.runs import RunError, no_such_run
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from torch import Tensor

    from vjepa_world.cli.shared.scene_clips import SceneClips
    from vjepa_world.models.encoder import VideoEncoder
    from vjepa_world.training.probe.scene_probes import Question

UNTRAINED, CHANCE = "untrained", "chance"

#: The gripper, the object, the direction.
QUESTIONS = 3


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which evaluations; or which encoders, and on how many scenes.

    Evaluations on the same pairs of start and goal are compared with the first one, pair by pair. Of encoders, the
    positions of the gripper and an object and the direction of movement are read off frozen features, by a linear and
    by an attentive probe, in scenes unlike those of training in colours, textures, light and camera.

    Attributes:
        runs: Runs of evaluate on the same pairs; or runs of pretrain, checkpoints, or other frozen encoders.
        train_scenes: Scenes that probes are fitted to.
        test_scenes: Test scenes that they are measured on.
        seed: Draws the scenes.
        threads: Threads of torch; 0 takes one a core.
        output: A JSON file for the metrics; null for none.
    """

    runs: tuple[str, ...] = field(metadata={"example": "[RUN,RUN]"})
    train_scenes: int = field(default=3000, metadata={"range": (100, LARGEST)})
    test_scenes: int = field(default=500, metadata={"range": (10, LARGEST)})
    seed: int = field(default=0, metadata=SEED)
    threads: int = field(default=0, metadata=THREADS)
    output: Path | None = None


def run(config: Config) -> None:
    """Print a table, and write the metrics.

    Raises:
        EvaluationError: If evaluations are of different environments or pairs, or only one is given.
        ConfigError: If both evaluations and encoders are given.
        RunError: If one that is given next to an evaluation does not exist.
        CheckpointError: If an encoder cannot be read.
    """
    from vjepa_world.evaluation.closed_loop.comparison import is_evaluation
    from vjepa_world.models.encoders.registered import is_registered

    evaluated = [run for run in config.runs if is_evaluation(Path(run))]
    if not evaluated:
        _compare_encoders(config)
    elif len(evaluated) == len(config.runs):
        _compare_evaluations(config)
    else:
        others = [run for run in config.runs if run not in evaluated]
        for run in others:
            if not Path(run).is_dir() and not is_registered(run):
                raise RunError(
                    f"{no_such_run(run)}. {evaluated[0]} is an evaluation, which others are compared with."
                )
        raise ConfigError(
            f"{', '.join(evaluated)} is an evaluation, and {', '.join(others)} is not; give evaluations alone, or "
            "encoders alone."
        )


def _compare_evaluations(config: Config) -> None:
    from vjepa_world.evaluation.closed_loop.comparison import (
        compare_evaluations,
        comparison_table,
        read_evaluation,
    )

    rows = compare_evaluations([read_evaluation(Path(run)) for run in config.runs])
    print(comparison_table(rows))
    _write(config.output, {"evaluations": rows})


def _write(path: Path | None, metrics: Mapping[str, Any]) -> None:
    """Write the metrics, if a file is given for them.

    Raises:
        WriteError: If it cannot be written.
    """
    from vjepa_world.files.atomic import write_error, write_json_atomic

    if path is not None:
        try:
            write_json_atomic(path, dict(metrics))
        except OSError as error:
            raise write_error(path, error) from error


def _compare_encoders(config: Config) -> None:
    from vjepa_world.cli.shared.scene_clips import record_scenes
    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.models.encoders.registered import RegisteredEncoder
    from vjepa_world.pretrained import load_encoder
    from vjepa_world.system.device import set_threads

    set_threads(config.threads)
    encoders = {name: load_encoder(source) for name, source in _named(config.runs).items()}
    size = max(encoder.preprocessing.size for encoder in encoders.values())
    own = [encoder for encoder in encoders.values() if not isinstance(encoder, RegisteredEncoder)]
    if own:  # the architecture of a foreign encoder is not known
        encoders[UNTRAINED] = untrained_encoder(own[0].config, config.seed)
    train = record_scenes("train", config.train_scenes, config.seed, size)
    test = record_scenes("test", config.test_scenes, config.seed + 1, size)
    rows = _chance(train, test)
    with progress("probes", unit="question", total=QUESTIONS * len(encoders)) as bar:
        for name, encoder in encoders.items():
            rows += _rows(name, encoder, train, test, config.seed, bar.update)
            # With those encoders that are done.
            _write(config.output, {"scenes": [len(train.clips), len(test.clips)], "rows": rows})
    print(_table(rows))


def _named(sources: Sequence[str]) -> dict[str, str]:
    """Return each source by its last part, or by all of it where several end alike or as a row of ours is called."""
    ends = [Path(source).name for source in sources]
    taken = (UNTRAINED, CHANCE, "")
    return {
        source if ends.count(end) > 1 or end in taken else end: source
        for source, end in zip(sources, ends, strict=True)
    }


def _rows(
    name: str,
    encoder: VideoEncoder,
    train: SceneClips,
    test: SceneClips,
    seed: int,
    tick: Callable[[], object],
) -> list[dict[str, Any]]:
    """Return an encoder's errors for each question and probe."""
    from vjepa_world.training.probe.scene_probes import Question, attentive_errors, linear_errors, tokens

    grid, heads = encoder.config.grid_size, encoder.config.num_heads
    stills = tuple(tokens(encoder, scenes.clips[:, :1]) for scenes in (train, test))
    clips = tuple(tokens(encoder, scenes.clips) for scenes in (train, test))
    questions: list[tuple[str, Question, int, Callable[[Tensor], Tensor]]] = [
        ("gripper [cm]", Question((stills[0], train.gripper), (stills[1], test.gripper)), 3, _centimetres),
        ("object [cm]", Question((stills[0], train.object), (stills[1], test.object)), 2, _centimetres),
        (
            "direction [% missed]",
            Question((clips[0], train.direction), (clips[1], test.direction)),
            6,
            _percent,
        ),
    ]
    rows = []
    for what, question, outputs, unit in questions:
        for probe, errors in (
            ("linear", linear_errors(question, grid)),
            ("attentive", attentive_errors(question, grid, heads, outputs, seed)),
        ):
            rows.append(_row(name, what, probe, unit(errors)))
        tick()
    return rows


def _chance(train: SceneClips, test: SceneClips) -> list[dict[str, Any]]:
    gripper = (test.gripper - train.gripper.mean(dim=0)).norm(dim=1)
    thing = (test.object - train.object.mean(dim=0)).norm(dim=1)
    missed = (test.direction != train.direction.bincount().argmax()).double()
    what = ("gripper [cm]", "object [cm]", "direction [% missed]")
    errors = (_centimetres(gripper), _centimetres(thing), _percent(missed))
    return [_row(CHANCE, name, "", error) for name, error in zip(what, errors, strict=True)]


def _row(encoder: str, what: str, probe: str, errors: Tensor) -> dict[str, Any]:
    import numpy as np

    from vjepa_world.evaluation.statistics import mean

    values = errors.double().numpy()
    estimate = mean(values, np.arange(len(values)), np.random.default_rng(0))
    return {
        "encoder": encoder,
        "what": what,
        "probe": probe,
        "error": float(values.mean()),
        "interval": [estimate.low, estimate.high],
    }


def _centimetres(errors: Tensor) -> Tensor:
    return 100 * errors


def _percent(missed: Tensor) -> Tensor:
    return 100 * missed


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the errors as a table: a line per encoder, a column per question and probe."""
    columns = list(dict.fromkeys((row["what"], row["probe"]) for row in rows if row["probe"]))
    names = sorted(dict.fromkeys(row["encoder"] for row in rows), key=lambda name: name == CHANCE)
    width = max(map(len, names))
    heads = [f"{what}, {probe}" for what, probe in columns]
    lines = [" " * width + "  " + "  ".join(heads)]
    for name in names:
        found = {(row["what"], row["probe"]): row for row in rows if row["encoder"] == name}
        cells = []
        for (what, probe), head in zip(columns, heads, strict=True):
            row = found.get((what, probe)) or found.get((what, ""))
            low, high = row["interval"] if row else (0, 0)
            text = f"{row['error']:.1f} ({low:.1f}-{high:.1f})" if row else ""
            cells.append(text.rjust(len(head)))
        lines.append(f"{name:<{width}}  " + "  ".join(cells))
    return "\n".join(lines)

"""Manifests: the environment and the pairs of an evaluation in a file, with which others run the same one again."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from vjepa_world.errors import counted, word_of
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.pairs.appearance import Appearance
from vjepa_world.evaluation.closed_loop.pairs.drawing import Pairs, start_and_goal
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.files.validation import mapping, read_json_object

MANIFEST_FILE = "manifest.json"

FORMAT, VERSION = "vjepa-world evaluation pairs", 1

#: Packages whose versions a manifest records, to explain differences.
_PACKAGES = ("vjepa-world", "gymnasium", "mujoco", "numpy")


@dataclass(frozen=True)
class Manifest:
    """The pairs of an evaluation.

    Attributes:
        environment: Id, arguments, variation, image size and the like, with dotted keys; all decide what a pair looks
            like or how long an episode lasts.
        pairs: Starts and goals.
        seed: Seed of the list, of pairs that were drawn.
        recorded: The dataset of recorded episodes, of pairs that are from one; empty otherwise.
        versions: Versions of the packages.
    """

    environment: Mapping[str, Any]
    pairs: Pairs
    seed: int | None = None
    recorded: str = ""
    versions: Mapping[str, str] = field(default_factory=lambda: _versions())

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        pairs = [
            {name: value for name, value in asdict(pair).items() if value or name == "seed"} | asdict(looks)
            for pair, looks in zip(self.pairs.pairs, self.pairs.appearances, strict=True)
        ]
        write_json_atomic(
            path,
            {
                "format": FORMAT,
                "version": VERSION,
                "environment": dict(self.environment),
                "seed": self.seed,
                "recorded": self.recorded,
                "solved_at_reset": self.pairs.solved_at_reset,
                "refused": self.pairs.refused,
                "versions": dict(self.versions),
                "pairs": pairs,
            },
        )

    def check_environment(self, environment: Mapping[str, Any]) -> None:
        """Check that an evaluation is of the manifest's environment.

        Raises:
            EvaluationError: If it is not; the message has the words that make it so.
        """
        different = different_keys(self.environment, environment)
        if different:
            listed = "; ".join(
                f"env.{key} is {environment.get(key)!r}, the manifest's {self.environment.get(key)!r}"
                for key in different
            )
            words = " ".join(
                f"env.{key}={word_of(self.environment[key])}" for key in different if key in self.environment
            )
            raise EvaluationError(
                f"the manifest is of another task or environment: {listed}. "
                + (f"Evaluate in the manifest's with {words}, or draw" if words else "Draw")
                + " new pairs without manifest=."
            )

    def check_distinct(self) -> None:
        """Check that no pair is listed twice: it would be counted as two independent episodes.

        Raises:
            EvaluationError: If one is.
        """
        first: dict[str, int] = {}
        repeats: dict[int, int] = {}
        for index, (pair, looks) in enumerate(zip(self.pairs.pairs, self.pairs.appearances, strict=True)):
            # Options that lead to a recorded episode decide on start and goal, whatever the seed is.
            keys = [f"{pair.seed} {json.dumps(dict(pair.options), sort_keys=True)}"]
            keys += [start_and_goal(pair, looks)] if pair.options else []
            earlier = min(first.setdefault(key, index) for key in keys)
            if earlier != index:
                repeats[index] = earlier
        if repeats:
            index, earlier = next(iter(repeats.items()))
            raise EvaluationError(
                f"the manifest repeats {len(repeats)} of {counted(len(self.pairs.pairs), 'pair')}: pair {index} (seed "
                f"{self.pairs.pairs[index].seed}) is the same as pair {earlier}. Each pair counts as one independent "
                "episode; remove the repeated ones from the file, or draw new pairs without manifest=."
            )


def different_keys(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """Return the keys in which two environments of manifests differ, sorted."""
    return sorted(key for key in first.keys() | second.keys() if first.get(key) != second.get(key))


def environment_in_words(environment: Mapping[str, Any]) -> str:
    """Return the environment of a manifest in words; the arm's tasks have a variation of their scenes."""
    name = str(environment.get("id"))
    return f"{name}, {environment.get('variation')} scenes" if name.startswith("vjepa_world/") else name


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at a path: a file, or the run folder of an evaluation.

    Raises:
        EvaluationError: If there is none, or it is of another format or version, or malformed.
    """
    path = path / MANIFEST_FILE if path.is_dir() else path
    if not path.is_file():
        raise EvaluationError(
            f"there is no manifest {path}; give a {MANIFEST_FILE} that evaluate wrote, or the folder of its run."
        )
    found = read_json_object(path, again="Evaluate again to write it.", error=EvaluationError)
    if found.get("format") != FORMAT or found.get("version") != VERSION:
        raise EvaluationError(
            f"{path} has format {found.get('format')!r} and version {found.get('version')!r}; allowed is {FORMAT!r}, "
            f"version {VERSION}. Give a {MANIFEST_FILE} that this release of evaluate wrote."
        )
    try:
        rows = [mapping(row, f"{path}: pairs", error=EvaluationError) for row in found["pairs"]]
        pairs = [
            Pair(_count(row["seed"], "seed"), dict(row.get("options", {})), _fingerprint(row)) for row in rows
        ]
        looks = [Appearance.from_json(row) for row in rows]
        solved, refused = (_count(found[name], name) for name in ("solved_at_reset", "refused"))
        environment = mapping(found["environment"], f"{path}: environment", error=EvaluationError)
    except KeyError as error:
        raise EvaluationError(f"{path} has no {error.args[0]}; evaluate again to write it.") from error
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{path} is malformed ({error}); evaluate again to write it.") from error
    if not pairs:
        raise EvaluationError(f"{path} has no pairs; evaluate again to write it.")
    return Manifest(
        environment,
        Pairs(pairs, looks, solved, refused),
        seed=found.get("seed"),
        recorded=str(found.get("recorded", "")),
        versions=mapping(found.get("versions", {}), f"{path}: versions", error=EvaluationError),
    )


def _count(value: Any, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is {value!r}, and allowed are whole numbers from 0")
    return value


def _fingerprint(row: Mapping[str, Any]) -> str:
    """Return the fingerprint of a pair's recorded episode: a hexadecimal number; empty for a drawn pair."""
    found = str(row.get("episode", ""))
    if found and not set(found) <= set(string.hexdigits):
        raise ValueError(f"episode is {found!r}, and allowed are hexadecimal numbers")
    return found


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

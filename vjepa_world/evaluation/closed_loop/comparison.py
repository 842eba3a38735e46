"""Compares evaluations on the same pairs: differences of success rates and distances, pair by pair, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.errors import counted
from vjepa_world.evaluation.closed_loop.episode import Episode
from vjepa_world.evaluation.closed_loop.episode_log import EPISODES_FILE, evaluated, read_episodes
from vjepa_world.evaluation.closed_loop.pairs.manifest import Manifest, different_keys, read_manifest
from vjepa_world.evaluation.closed_loop.summary import summarise
from vjepa_world.evaluation.closed_loop.wording import distance_text, percent, percent_interval, points
from vjepa_world.evaluation.statistics import EvaluationError, median, paired_difference


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation.

    Attributes:
        name: Its folder's name.
        manifest: Environment and pairs.
        episodes: Those of the evaluated policy, in the order of the pairs.
    """

    name: str
    manifest: Manifest
    episodes: Sequence[Episode]


def is_evaluation(folder: Path) -> bool:
    """Return whether a folder is a run of evaluate or demo."""
    return (folder / EPISODES_FILE).is_file()


def read_evaluation(folder: Path) -> Evaluation:
    """Return the evaluation in a run folder.

    Raises:
        EvaluationError: If it is not one, or was stopped.
    """
    manifest = read_manifest(folder)
    episodes = [line.episode for line in evaluated(read_episodes(folder))]
    if [episode.pair for episode in episodes] != list(manifest.pairs.pairs):
        raise EvaluationError(
            f"{folder} has {counted(len(episodes), 'episode')} of {counted(len(manifest.pairs.pairs), 'pair')}: it was "
            "stopped. Run it again with resume=true."
        )
    return Evaluation(str(folder), manifest, episodes)


def compare_evaluations(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    """Return the metrics of each evaluation, and of all but the first their differences to it.

    `difference` and `held_difference` are of success rates (Newcombe's interval), `distance_difference` is the median
    of the differences of final distances (bootstrap over pairs). `only_here` and `only_first` count the pairs that only
    this evaluation, or only the first, solved.

    Raises:
        EvaluationError: If there are fewer than two, or they are of different environments or pairs.
    """
    if len(evaluations) < 2:
        raise EvaluationError(
            f"{counted(len(evaluations), 'evaluation')} given; allowed are two or more, of which the first is compared "
            "with the others."
        )
    first, *others = evaluations
    for other in others:
        _check_same(first, other)
    rows = [{"name": entry.name, **summarise(entry.episodes)} for entry in evaluations]
    for row, other in zip(rows[1:], others, strict=True):
        row |= _differences(first.episodes, other.episodes)
    return rows


def _check_same(first: Evaluation, other: Evaluation) -> None:
    a, b = first.manifest, other.manifest
    if keys := different_keys(a.environment, b.environment):
        reason = "; ".join(
            f"env.{key} is {a.environment.get(key)!r} in the first and {b.environment.get(key)!r} in the second"
            for key in keys
        )
    elif list(a.pairs.pairs) != list(b.pairs.pairs):
        reason = f"their pairs differ ({len(a.pairs.pairs)} and {len(b.pairs.pairs)})"
    else:
        return
    raise EvaluationError(
        f"{first.name} and {other.name} cannot be compared pair by pair: {reason}. Evaluate the second with "
        f"manifest={first.name}."
    )


def _differences(first: Sequence[Episode], other: Sequence[Episode]) -> dict[str, Any]:
    ours, theirs = (np.array([episode.success for episode in episodes]) for episodes in (other, first))
    found: dict[str, Any] = {
        "difference": paired_difference(ours, theirs).as_json(),
        "only_here": int((ours & ~theirs).sum()),
        "only_first": int((theirs & ~ours).sum()),
    }
    if all(episode.held is not None for episode in (*first, *other)):
        held = [np.array([bool(episode.held) for episode in episodes]) for episodes in (other, first)]
        found["held_difference"] = paired_difference(held[0], held[1]).as_json()
    off = np.array([b.final_distance - a.final_distance for a, b in zip(first, other, strict=True)])
    known = off[np.isfinite(off)]
    if len(known):
        estimate = median(known, np.arange(len(known)), np.random.default_rng(0))
        found["distance_difference"] = estimate.as_json()
    return found


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the comparison as text: a line for each evaluation."""
    width = max(len(row["name"]) for row in rows)
    head = f"{'':{width}}  success  95 % interval  {'difference':>22}  {'held':>5}  {'final distance':>14}  s/action"
    lines = [head]
    for row in rows:
        lines.append(
            f"{row['name']:{width}}  {percent(row):>7}  {percent_interval(row) + ' %':>13}  "
            f"{points(row.get('difference')):>22}  {percent(row['held']):>5}  "
            f"{distance_text(row['final_distance']['median']):>14}  {row['seconds_per_action']['p50']:8.3f}"
        )
    lines.append(
        f"{counted(rows[0]['episodes'], 'pair')}; difference of success to the first in points, with its 95 % interval"
    )
    for row in rows[1:]:
        lines.append(
            f"{row['name']}: {row['only_here']} solved here alone, {row['only_first']} by the first alone; "
            f"{_clear(row['difference']['interval'])}"
        )
    return "\n".join(lines)


def _clear(interval: Sequence[float]) -> str:
    low, high = interval
    if low <= 0 <= high:
        return "the interval includes 0: more pairs are needed to tell them apart"
    return "better than the first" if low > 0 else "worse than the first"

"""The page of an evaluation in closed loop: failures first, controls, success by factor, energy and distance."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vjepa_world.errors import counted
from vjepa_world.evaluation.closed_loop.episode import Episode
from vjepa_world.evaluation.closed_loop.episode_log import LoggedEpisode, evaluated, read_episodes
from vjepa_world.evaluation.closed_loop.pairs.manifest import environment_in_words
from vjepa_world.evaluation.closed_loop.wording import distance_text, percent, percent_interval, points
from vjepa_world.evaluation.rank_correlation import spearman
from vjepa_world.files.validation import read_json_object
from vjepa_world.reports.pages.page import render
from vjepa_world.reports.plots.closed_loop import Rate, plot_energy_over_distance, plot_rates
from vjepa_world.reports.plots.curves import Chart
from vjepa_world.runs import CONFIG_FILE, RESULT_FILE, RunError

#: Distances are drawn down to this share of the distance at the start.
LEAST_SHARE = 0.02

#: Episodes whose videos are shown, at most: failures, and then successes.
MOST_FAILURES, MOST_SUCCESSES = 60, 24


def evaluation_page(folder: Path, output: Path) -> str:
    """Return the report of an evaluation as HTML. Its videos are those in the run folder.

    Args:
        folder: The run of evaluate or demo.
        output: Where the page will be; links to videos are relative to its folder.

    Raises:
        EvaluationError: If the run's files are missing or broken.
        RunError: If the run was stopped before its result.
    """
    if not (folder / RESULT_FILE).is_file():
        raise RunError(f"{folder} has no {RESULT_FILE}: it was stopped. Run it again with resume=true.")
    result = read_json_object(folder / RESULT_FILE, again="Evaluate again.", error=RunError)
    lines = read_episodes(folder)
    own = evaluated(lines)
    failures = [line for line in own if not line.episode.success]
    successes = [line for line in own if line.episode.success]
    shown = [*failures[:MOST_FAILURES], *successes[:MOST_SUCCESSES]]
    return render(
        "evaluation",
        title=f"{folder.resolve().parent.name} / {folder.resolve().name}",
        subtitle=_subtitle(result),
        result=result,
        leakage_kind=_leakage_kind(result["leakage"]),
        policies=_policies(result),
        rates=_drawn_rates(result),
        events=list(result["events"].items()),
        factors=_factor_rows(result["factors"]),
        constant=_constant_factors([line.episode for line in own]),
        energy=_energy([line.episode for line in own]),
        distances=_distance_chart(lines),
        failures=[_card(line, folder, output) for line in shown if not line.episode.success],
        successes=[_card(line, folder, output) for line in shown if line.episode.success],
        left_out={"failures": len(failures), "successes": len(successes)},
        settings=_settings(folder, result),
    )


def _subtitle(result: Mapping[str, Any]) -> str:
    environment = result["environment"]
    return (
        f"{result['checkpoint'] or result['policy']} in {environment_in_words(environment)}, "
        f"{counted(result['episodes'], 'episode')} of at most {counted(environment['max_steps'], 'action')}"
        f"{', by sub-goals' if result.get('goals', {}).get('kind') == 'subgoals' else ''}"
    )


def _leakage_kind(leakage: Mapping[str, Any]) -> str:
    """Return how the note looks: an alarm, good, or neither where it is not known."""
    if leakage["leaks"]:
        return "alarm"
    return "" if leakage["unknown"] or not leakage["checked"] else "good"


def _rate_and_interval(rate: Mapping[str, Any] | None) -> str:
    return "-" if rate is None else f"{percent(rate)} ({percent_interval(rate, ' to ')})"


def _policies(result: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for each policy."""
    rows = []
    for name, metrics in {result["policy"]: result, **result["controls"]}.items():
        part = "" if metrics["episodes"] == result["episodes"] else f", first {metrics['episodes']}"
        seconds = metrics["seconds_per_action"]
        rows.append(
            [
                f"{name}{part}",
                _rate_and_interval(metrics),
                _rate_and_interval(metrics["held"]),
                points(metrics.get("difference")),
                distance_text(metrics["final_distance"]["median"]),
                *(f"{seconds[p]:.3f}" for p in ("p50", "p95", "p99")),
            ]
        )
    return rows + [[name, reason] for name, reason in result["left_out"].items()]


def _drawn_rates(result: Mapping[str, Any]) -> list[str]:
    """Return the success rates of the policies and of each factor's values as SVG."""
    named = {result["policy"]: result, **result["controls"]}
    drawings = [plot_rates("policies", [_rate(name, metrics) for name, metrics in named.items()])]
    for factor, values in result["factors"].items():
        drawings.append(
            plot_rates(factor.replace("_", " "), [_rate(value, group) for value, group in values.items()])
        )
    if result["subgoals"]:
        rates = [_rate(subgoal["name"], subgoal) for subgoal in result["subgoals"]]
        drawings.append(plot_rates("sub-goals", rates))
    return drawings


def _rate(name: str, metrics: Mapping[str, Any]) -> Rate:
    return Rate(
        name, metrics["episodes"], metrics["success_rate"], metrics["wilson_low"], metrics["wilson_high"]
    )


def _factor_rows(factors: Mapping[str, Mapping[str, Any]]) -> list[list[str]]:
    return [
        _rate_row(f"{name.replace('_', ' ')}: {value}", group)
        for name, values in factors.items()
        for value, group in values.items()
    ]


def _constant_factors(episodes: Sequence[Episode]) -> str:
    """Return the factors that have one value in all episodes, so that nothing can be said about them."""
    values: dict[str, set[Any]] = {}
    for episode in episodes:
        for name, value in episode.factors.items():
            values.setdefault(name, set()).add(value)
    return ", ".join(
        f"{name.replace('_', ' ')} {_factor(*found)}" for name, found in values.items() if len(found) == 1
    )


def _rate_row(name: str, group: Mapping[str, Any]) -> list[str]:
    return [name, str(group["episodes"]), _rate_and_interval(group)]


def _energy(episodes: Sequence[Episode]) -> dict[str, Any] | None:
    """Return the plot of energy over distance with the rank correlations; None without energies or distances.

    Energies to sub-goals are left out, as distances are to the goal.
    """
    points = [
        (distance, energy, episode.success)
        for episode in episodes
        for distance, energy, at_goal in zip(
            (episode.initial_distance, *episode.distances), episode.energies, episode.at_goal, strict=False
        )
        if at_goal and math.isfinite(distance) and math.isfinite(energy)
    ]
    if not points:
        return None
    distances, energies = (np.array([point[k] for point in points], dtype=np.float64) for k in (0, 1))
    reached = np.array([point[2] for point in points], dtype=bool)
    within = [c for episode in episodes if (c := _correlation(episode)) is not None]
    return {
        "plot": plot_energy_over_distance(distances, energies, reached, "distance to the goal"),
        "correlation": float(
            spearman(torch.from_numpy(distances)[None], torch.from_numpy(energies)[None])[0]
        ),
        "within": float(np.median(within)) if within else None,
    }


def _correlation(episode: Episode) -> float | None:
    """Return the rank correlation of energy and distance in an episode; None if it is not defined."""
    distances = np.array((episode.initial_distance, *episode.distances))
    energies = np.array(episode.energies)
    if len(distances) != len(energies):
        return None
    distances, energies = distances[list(episode.at_goal)], energies[list(episode.at_goal)]
    if len(distances) < 3 or not np.isfinite([distances, energies]).all():
        return None
    value = float(spearman(torch.from_numpy(distances)[None], torch.from_numpy(energies)[None])[0])
    return value if math.isfinite(value) else None


def _distance_chart(lines: Iterable[LoggedEpisode]) -> list[Chart]:
    """Return the median distance of each policy after each action; episodes that have ended keep their last one.

    Distances below a share of the first one are drawn there: those of an expert may be a thousand times smaller.
    """
    by_policy: dict[str, list[list[float]]] = {}
    for line in lines:
        episode = line.episode
        by_policy.setdefault(line.policy, []).append([episode.initial_distance, *episode.distances])
    steps = max(len(track) for tracks in by_policy.values() for track in tracks)
    series = {}
    for name, tracks in by_policy.items():
        table = np.array([track + [track[-1]] * (steps - len(track)) for track in tracks])
        if np.isfinite(table).any(axis=0).all():
            medians = np.nanmedian(table, axis=0)
            shown = np.maximum(medians, LEAST_SHARE * medians[0])
            series[name] = [(float(step), float(value)) for step, value in enumerate(shown)]
    return [Chart("median distance to the goal, by action", series)] if series else []


def _card(line: LoggedEpisode, folder: Path, output: Path) -> dict[str, Any]:
    """Return what is shown of an episode."""
    episode = line.episode
    distances = [d for d in (episode.initial_distance, *episode.distances) if math.isfinite(d)]
    words = [f"pair {episode.index}", f"seed {episode.pair.seed}", counted(episode.steps, "action")]
    if distances:
        words.append(f"distance {distances[0]:.3f} to {distances[-1]:.3f}, least {min(distances):.3f}")
    if episode.subgoals:
        words.append(f"{sum(episode.subgoals)} of {counted(len(episode.subgoals), 'sub-goal')}")
    words += [name.replace("_", " ") for name in episode.events]
    held = "" if episode.held is None or not episode.success else (", held" if episode.held else ", not held")
    return {
        "video": os.path.relpath(folder / line.video, output.parent).replace(os.sep, "/")
        if line.video
        else "",
        "outcome": f"reached{held}" if episode.success else "missed",
        "words": ", ".join(words),
        "factors": ", ".join(
            f"{name.replace('_', ' ')}: {_factor(v)}" for name, v in episode.factors.items()
        ),
    }


def _factor(value: bool | str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else value


def _settings(folder: Path, result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    from vjepa_world.config import flatten, read_yaml_file

    path = folder / CONFIG_FILE
    settings = flatten(read_yaml_file(path)) if path.is_file() else {}
    return {"settings": settings, "environment": dict(result["environment"])}

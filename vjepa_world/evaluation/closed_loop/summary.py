"""Metrics of a policy's episodes: success rates with intervals, by factor and sub-goal, distances and times."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from vjepa_world.errors import counted
from vjepa_world.evaluation.closed_loop.episode import Episode
from vjepa_world.evaluation.factors import factor_labels, labels_in_order
from vjepa_world.evaluation.statistics import (
    EvaluationError,
    paired_difference,
    percentiles,
    success_rate,
)


def summarise(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Return the metrics of a policy, ready for JSON.

    Rates have 95 % Wilson intervals. `held` is the rate of the episodes that stayed at the goal for three actions; None
    if the environment ends at the first success. Distances are in the environment's unit, and None where not known.

    Raises:
        EvaluationError: If there are no episodes.
    """
    if not episodes:
        raise EvaluationError("0 episodes were given; allowed is at least one. Run some with evaluate.")
    held = [bool(episode.held) for episode in episodes if episode.held is not None]
    p50, p95, p99 = percentiles([s for e in episodes for s in e.seconds_per_action], (50, 95, 99))
    return {
        "episodes": len(episodes),
        **rate([episode.success for episode in episodes]),
        "held": rate(held) if len(held) == len(episodes) else None,
        "initial_distance": _distances(episode.initial_distance for episode in episodes),
        "final_distance": _distances(episode.final_distance for episode in episodes),
        "seconds_per_action": {"p50": p50, "p95": p95, "p99": p99},
        "factors": by_factor(episodes),
        "subgoals": by_subgoal(episodes),
        "events": {
            name: sum(name in episode.events for episode in episodes)
            for name in dict.fromkeys(name for episode in episodes for name in episode.events)
        },
        "redrawn_scenes": sum(episode.redrawn_scenes for episode in episodes),
    }


def rate(outcomes: Sequence[bool]) -> dict[str, Any]:
    """Return how many of the outcomes are successes, and their rate with its 95 % Wilson interval."""
    found = success_rate(sum(outcomes), len(outcomes))
    return {
        "successes": sum(outcomes),
        "success_rate": found.rate,
        "wilson_low": found.low,
        "wilson_high": found.high,
    }


def by_factor(episodes: Sequence[Episode]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return, for each factor with different values, the number of episodes and the success rate of each value.

    Numbers with more than five different values are divided into thirds of their episodes.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for name in dict.fromkeys(name for episode in episodes for name in episode.factors):
        members = [episode for episode in episodes if name in episode.factors]
        labels = factor_labels([episode.factors[name] for episode in members])
        if len(set(labels)) > 1:
            groups = {
                label: [episode.success for episode, own in zip(members, labels, strict=True) if own == label]
                for label in labels_in_order(labels)
            }
            found[name] = {label: {"episodes": len(group), **rate(group)} for label, group in groups.items()}
    return found


def by_subgoal(episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Return the rate at which each sub-goal was reached, in order; empty for a task without sub-goals."""
    count = max(len(episode.subgoals) for episode in episodes)
    found = []
    for index in range(count):
        members = [episode for episode in episodes if index < len(episode.subgoals)]
        names = [e.subgoal_names[index] for e in members if index < len(e.subgoal_names)]
        found.append(
            {
                "name": names[0] if names else f"sub-goal {index + 1}",
                "episodes": len(members),
                **rate([episode.subgoals[index] for episode in members]),
            }
        )
    return found


def difference(first: Sequence[Episode], second: Sequence[Episode]) -> dict[str, Any]:
    """Return the difference of two policies' success rates on the pairs that both ran on, with its 95 % interval.

    Raises:
        EvaluationError: If they share no pairs.
    """
    theirs = {episode.index: episode for episode in second}
    both = [(episode, theirs[episode.index]) for episode in first if episode.index in theirs]
    if not both or any(a.pair != b.pair for a, b in both):
        raise EvaluationError(
            f"{counted(len(first), 'episode')} and {counted(len(second), 'episode')} were given, on "
            f"{'different' if both else 'no common'} pairs; allowed are the same pairs in the same order. Run both "
            "policies on one list of pairs."
        )
    ours, others = (np.array([episode.success for episode in column]) for column in zip(*both, strict=True))
    return {"episodes": len(both), **paired_difference(ours, others).as_json()}


def _distances(values: Iterable[float]) -> dict[str, float | None]:
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return {"median": None, "p90": None}
    median, p90 = percentiles(known, (50, 90))
    return {"median": median, "p90": p90}

"""The table that an evaluation in closed loop prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vjepa_world.errors import counted
from vjepa_world.evaluation.closed_loop.wording import distance_text, percent, percent_interval


def table(result: Mapping[str, Any]) -> str:
    """Return the metrics as text: a line for the world model and for each control, then the breakdowns."""
    from vjepa_world.evaluation.closed_loop.pairs.manifest import environment_in_words

    named = {result["policy"]: result, **result["controls"]}
    width = max(map(len, named))
    header = (
        f"{'':{width}}  {'success':>7}  {'95 % interval':>13}  {'held':>6}  {'final distance':>14}"
        f"  {'s/action':>8}  {'p95':>5}  {'p99':>5}"
    )
    lines = [header, *(_line(name, metrics, width, result["episodes"]) for name, metrics in named.items())]
    lines += [f"{name:{width}}  {reason}" for name, reason in result["left_out"].items()]
    lines += _breakdown(result)
    start = result["initial_distance"]["median"]
    lines.append(
        f"{counted(result['episodes'], 'episode')} of {environment_in_words(result['environment'])}, "
        f"{result['solved_at_reset']} left out because solved at reset; "
        f"held: for 3 actions; final distance: median (start {distance_text(start)})"
    )
    lines += _goals(result["goals"])
    lines.append(result["leakage"]["text"])
    return "\n".join(lines)


def _goals(goals: Mapping[str, Any]) -> list[str]:
    """Return a line about the sub-goals that the policies were given; none if it was the goal."""
    if goals["kind"] == "final":
        return []
    steps = "/".join(map(str, goals["steps"]))
    ends = f"for {steps} actions" if steps else "each until the environment reports it as reached, an oracle"
    return [f"goals: images of the sub-goals, {ends}"]


def _line(name: str, metrics: Mapping[str, Any], width: int, episodes: int) -> str:
    p50, p95, p99 = (metrics["seconds_per_action"][key] for key in ("p50", "p95", "p99"))
    return (
        f"{name:{width}}  {percent(metrics):>7}  {percent_interval(metrics) + ' %':>13}  {percent(metrics['held']):>6}"
        f"  {distance_text(metrics['final_distance']['median']):>14}  {p50:>8.3f}  {p95:>5.3f}  {p99:>5.3f}"
        + ("" if metrics["episodes"] == episodes else f"  (first {counted(metrics['episodes'], 'episode')})")
    )


def _breakdown(result: Mapping[str, Any]) -> list[str]:
    """Return a line for each value of each factor, and for each sub-goal."""
    groups = {
        f"{name}: {value}": group
        for name, values in result["factors"].items()
        for value, group in values.items()
    }
    groups |= {f"sub-goal: {subgoal['name']}": subgoal for subgoal in result["subgoals"]}
    width = max(map(len, groups), default=0)
    return [
        f"  {name:{width}}  {percent(group):>5}  ({percent_interval(group)} %, {group['episodes']})"
        for name, group in groups.items()
    ]

"""Assessment of open-loop metrics: questions on a model, answered by comparing it with its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from vjepa_world.evaluation.open_loop.worth import ALL, LEAST_VARIATION, MOST_RANK, MOST_RATIO
from vjepa_world.evaluation.statistics import LEAST_GROUPS

Answer = Literal["yes", "no", "cannot tell"]

#: The 95 % interval contains both answers.
CANNOT_TELL: Final = "cannot tell"

#: A rotation of planned motions must reduce their error by this share to count.
LEAST_REDUCTION = 0.1

#: Widest 95 % interval of the rotation for which a correction is proposed [deg].
MOST_TO_CORRECT_DEG = 45.0

#: Up to this angle, directions count as the same [degrees].
SAME_DEG = 15.0

#: Above this rank correlation, the energy rises with the distance.
LEAST_RANK = 0.1

#: Episodes that a bootstrap over episodes needs.
LEAST_EPISODES = LEAST_GROUPS


@dataclass(frozen=True)
class Assessment:
    """A question on the model, its answer, and the evidence.

    Attributes:
        question: A yes-no question.
        answer: yes or no if the whole 95 % interval agrees, else cannot tell.
        evidence: The metrics in words, with the interval.
    """

    question: str
    answer: Answer
    evidence: str


def assess(metrics: dict[str, Any]) -> list[Assessment]:
    """Answer the questions that decide whether one can plan with a model, from `Measurements.metrics`."""
    found = [
        *_worth(metrics["worth"]),
        _ratios(
            metrics["horizons"],
            "ratio_to_copy",
            "Does it predict better than copying the last frame?",
            "copy",
        ),
        _ratios(
            metrics["horizons"], "ratio_to_shuffled", "Do its predictions depend on the actions?", "shuffled"
        ),
        _ranks(metrics["rank_correlation"]),
        *_recovered(metrics["recovered"]),
    ]
    if metrics["camera_rotation"] is not None:
        found.append(_rotation(metrics["camera_rotation"]))
    if metrics.get("episodes", LEAST_EPISODES) < LEAST_EPISODES:
        return [replace(assessment, answer=CANNOT_TELL) for assessment in found]
    return found


def remarks_on(metrics: dict[str, Any]) -> list[str]:
    """Return remarks that a reader of `Measurements.metrics` needs, one sentence each."""
    found = []
    if metrics.get("episodes", LEAST_EPISODES) < LEAST_EPISODES:
        found.append(
            "All windows are of one episode: there are no intervals over episodes, so no question can be answered."
        )
    if metrics["outside_bounds"]:
        axes = ", ".join(f"{name} {share:.0%}" for name, share in metrics["outside_bounds_by_axis"].items())
        found.append(
            f"{metrics['outside_bounds']:.0%} of the true actions are outside of the model's bounds, those of its "
            f"training actions, which planners do not leave (by axis: {axes})."
        )
    found += [f"Baseline '{name}' is {why}." for name, why in metrics["left_out"].items()]
    return found


def summary_table(metrics: dict[str, Any]) -> str:
    """Return the assessments as lines of text."""
    found = assess(metrics)
    width = max(len(a.question) for a in found)
    return "\n".join(f"{a.question:<{width}}  {a.answer:<11}  {a.evidence}" for a in found)


def format_estimate(estimate: dict[str, Any], digits: str = ".2f", unit: str = "") -> str:
    """Return a value with its interval as text; without one the value alone."""
    if estimate["value"] is None:
        return "undefined"
    value, interval = f"{estimate['value']:{digits}}{unit}", estimate["interval"]
    if interval is None or None in interval:
        return value
    return f"{value} ({interval[0]:{digits}} to {interval[1]:{digits}})"


def _worth(worth: dict[str, Any]) -> list[Assessment]:
    """Answer whether to plan with the model, in all windows and in each group by what moves."""
    groups, steps = worth["groups"], worth["steps"]
    return [_worth_of(name, group, steps) for name, group in groups.items()]


def _worth_of(name: str, group: dict[str, Any], steps: int) -> Assessment:
    """Answer yes if all criteria are met, no if one is not."""
    variation, rank, ratio = group["squared_variation"], group["rank"], group["ratio_to_copy"][steps - 1]
    criteria: dict[str, tuple[Answer, dict[str, Any] | None]] = {
        f"variation of the squared distance, at least {LEAST_VARIATION:.2f}": (
            CANNOT_TELL if variation is None else _opposite(_below(variation, LEAST_VARIATION)),
            variation,
        ),
        f"rank of the true actions, below {MOST_RANK:.2f}": (
            CANNOT_TELL if rank is None else _below(rank, MOST_RANK),
            rank,
        ),
        f"error / copy, below {MOST_RATIO:g}": (_below(ratio, MOST_RATIO), ratio),
    }
    answers = [answer for answer, _ in criteria.values()]
    answer: Answer = "no" if "no" in answers else CANNOT_TELL if CANNOT_TELL in answers else "yes"
    if group["episodes"] < LEAST_EPISODES:
        answer = CANNOT_TELL
    words = "; ".join(
        f"{what}: {'not measured' if estimate is None else format_estimate(estimate)}"
        for what, (_, estimate) in criteria.items()
    )
    where = "" if name == ALL else f", {name}"
    number = f", {group['windows']} windows of {group['episodes']} episodes" if where else ""
    return Assessment(
        f"Is this model worth planning with{where}?", answer, f"after {steps} actions{number}: {words}"
    )


def _ratios(horizons: Sequence[dict[str, Any]], key: str, question: str, name: str) -> Assessment:
    """Answer yes if the ratio is below 1 at every horizon, no if it is not below 1 at any."""
    ratios = [line["plain"][key] for line in horizons]
    if any(ratio["value"] is None for ratio in ratios):
        return Assessment(question, CANNOT_TELL, f"error / {name}: nothing moves in these windows")
    answers = [_below(ratio, 1.0) for ratio in ratios]
    answer: Answer = "yes" if all(a == "yes" for a in answers) else CANNOT_TELL
    if all(a == "no" for a in answers):
        answer = "no"
    last = len(ratios)
    steps = sorted({0, min(3, last - 1), last - 1})
    words = ", ".join(
        f"{format_estimate(ratios[k])} at step {horizons[k]['horizon']}, moving tokens "
        f"{_plain(horizons[k]['moving'][key]['value'])}"
        for k in steps
    )
    return Assessment(question, answer, f"error / {name}: {words}")


def _ranks(ranks: dict[str, Any]) -> Assessment:
    question = "Does the energy rise with the distance to the true action?"
    kind, name = (
        ("position", "distance in metres")
        if ranks["position"] is not None
        else ("all_axes", "distance in standard deviations")
    )
    estimate = ranks[kind]
    if estimate is None:
        return Assessment(
            question, CANNOT_TELL, "no axis of the true actions varies within the model's bounds"
        )
    words = f"rank correlation of energy and {name}: {format_estimate(estimate)}"
    return Assessment(question, _opposite(_below(estimate, LEAST_RANK)), words)


def _recovered(recovered: dict[str, Any]) -> list[Assessment]:
    units = {"position_cm": " cm", "rotation_deg": " deg", "distance": ""}
    names = {"hold": "no motion", "random_action": "random"}
    baselines = {name: recovered[key] for key, name in names.items() if key in recovered}
    found = []
    for kind, unit in units.items():
        if kind not in recovered["planner"]:
            continue
        planner, others = recovered["planner"][kind], [guess[kind] for guess in baselines.values()]
        if not any(guess["percentiles"]["90"] for guess in (planner, *others)):
            continue  # the bounds leave one action only, so nobody can be wrong
        best = min(others, key=lambda guess: guess["median"])
        low, high = planner["interval"]
        answer: Answer = CANNOT_TELL
        if low is None:
            pass  # all windows are of one episode
        elif high < min(guess["interval"][0] for guess in others):
            answer = "yes"
        elif low > best["interval"][1]:
            answer = "no"
        compared = ", ".join(f"{name} {guess[kind]['median']:.2f}{unit}" for name, guess in baselines.items())
        median = format_estimate({"value": planner["median"], "interval": (low, high)}, unit=unit)
        words = f"median {median}; {compared}"
        what = {"position_cm": "motion", "rotation_deg": "rotation", "distance": "action"}[kind]
        found.append(Assessment(f"Does the planner find the true {what}?", answer, words))
    return found


def _rotation(rotation: dict[str, Any]) -> Assessment:
    """Answer yes if the whole interval is within `SAME_DEG`, no if it excludes 0 and the rotation reduces the error."""
    # Without an interval, of one episode, any angle is possible.
    low, high = rotation["interval_deg"] or (-180.0, 180.0)
    reduces = rotation["rms_after_m"] < (1 - LEAST_REDUCTION) * rotation["rms_before_m"]
    answer: Answer = CANNOT_TELL
    if -SAME_DEG <= low <= high <= SAME_DEG:
        answer = "yes"
    elif not low <= 0 <= high and high - low < 180 and reduces:
        answer = "no"
    angle = {"value": rotation["angle_deg"], "interval": rotation["interval_deg"]}
    words = (
        f"best rotation of planned motions: {format_estimate(angle, '+.1f', ' deg')}; their distance to the true ones "
        f"{100 * rotation['rms_before_m']:.2f} cm rms, after the "
        f"rotation {100 * rotation['rms_after_m']:.2f} cm"
    )
    if answer == "no" and high - low <= MOST_TO_CORRECT_DEG:
        words += f"; correct with execution.camera_rotation_deg={rotation['angle_deg']:.1f}"
    elif answer == "no":
        words += "; the interval is too wide for a correction: evaluate more windows (data.windows)"
    return Assessment("Are planned and true directions the same?", answer, words)


def _below(estimate: dict[str, Any], limit: float) -> Answer:
    """Return whether an estimate is below a limit: yes for its whole interval, no for none of it."""
    low, high = estimate["interval"]
    if low is None or high is None:
        return CANNOT_TELL
    return "yes" if high < limit else "no" if low >= limit * (1 - 1e-3) else CANNOT_TELL


def _opposite(answer: Answer) -> Answer:
    opposites: dict[Answer, Answer] = {"yes": "no", "no": "yes"}
    return opposites.get(answer, CANNOT_TELL)


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"

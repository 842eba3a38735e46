"""What the figures of an open loop mean, each beside what it has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Answer = Literal["yes", "no", "unclear"]

#: A turn that is not zero, but brings planned motions closer to the true ones by less than this share, decides nothing.
WORTH_TURNING = 0.1


@dataclass(frozen=True)
class Verdict:
    """A question, its answer, and the figures behind it.

    Attributes:
        question: To be answered with yes or no.
        answer: yes or no where the 95 % interval leaves no doubt, else unclear.
        figures: In words, with the interval.
    """

    question: str
    answer: Answer
    figures: str


def verdicts(figures: dict[str, Any]) -> list[Verdict]:
    """Return the questions that decide whether a model can be planned with, answered from `Judgement.figures`."""
    found = [
        _ratios(
            figures["horizons"], "ratio_to_copy", "Does it foresee more than that nothing moves?", "copy"
        ),
        _ratios(
            figures["horizons"], "ratio_to_shuffled", "Do its predictions depend on the actions?", "shuffled"
        ),
        _ranks(figures["rank_correlation"]),
        *_recovered(figures["recovered"]),
    ]
    if figures["camera_rotation"] is not None:
        found.append(_rotation(figures["camera_rotation"]))
    return found


def summary_table(figures: dict[str, Any]) -> str:
    """Return the verdicts as lines of text."""
    found = verdicts(figures)
    width = max(len(verdict.question) for verdict in found)
    return "\n".join(f"{v.question:<{width}}  {v.answer:<7}  {v.figures}" for v in found)


def shown(figure: dict[str, Any], digits: str = ".2f", unit: str = "") -> str:
    """Return a value with its interval in words."""
    if figure["value"] is None:
        return "undefined"
    low, high = figure["interval"]
    return f"{figure['value']:{digits}}{unit} ({low:{digits}} to {high:{digits}})"


def _ratios(horizons: Sequence[dict[str, Any]], key: str, question: str, name: str) -> Verdict:
    """A ratio below one at every horizon is a yes, one that is not below at the first is a no."""
    ratios = [line["plain"][key] for line in horizons]
    if any(ratio["value"] is None for ratio in ratios):
        return Verdict(question, "unclear", f"error / {name}: nothing moves in these windows")
    answers = [_below(ratio, 1.0) for ratio in ratios]
    answer: Answer = "yes" if all(a == "yes" for a in answers) else "unclear"
    if all(a == "no" for a in answers):
        answer = "no"
    last = len(ratios)
    steps = sorted({0, min(3, last - 1), last - 1})
    words = ", ".join(
        f"{shown(ratios[k])} at step {horizons[k]['horizon']}, moving tokens "
        f"{_plain(horizons[k]['moving'][key]['value'])}"
        for k in steps
    )
    return Verdict(question, answer, f"error / {name}: {words}")


def _ranks(ranks: dict[str, Any]) -> Verdict:
    kind, name = (
        ("position", "distance in metres")
        if ranks["position"] is not None
        else ("all_axes", "distance in standard deviations")
    )
    low, high = ranks[kind]["interval"]
    answer: Answer = "yes" if low > 0 else "no" if high <= 0.1 else "unclear"
    words = f"rank correlation of energy and {name}: {shown(ranks[kind])}"
    return Verdict("Does the energy rise with the distance to the true action?", answer, words)


def _recovered(recovered: dict[str, Any]) -> list[Verdict]:
    units = {"position_cm": " cm", "rotation_deg": " deg", "distance": ""}
    found = []
    for kind, unit in units.items():
        if kind not in recovered["planner"]:
            continue
        planner, zero, random = (recovered[who][kind] for who in ("planner", "zero_action", "random_action"))
        if not any(guess["percentiles"]["90"] for guess in (planner, zero, random)):
            continue  # nobody can be wrong: the bounds leave nothing to find
        best = min(zero["interval"][0], random["interval"][0])
        worst = min(zero["median"], random["median"])
        low, high = planner["interval"]
        answer: Answer = "yes" if high < best else "no" if low > worst else "unclear"
        words = (
            f"median {planner['median']:.2f}{unit} ({low:.2f} to {high:.2f}); zero action "
            f"{zero['median']:.2f}{unit}, random {random['median']:.2f}{unit}"
        )
        what = {"position_cm": "motion", "rotation_deg": "rotation", "distance": "action"}[kind]
        found.append(Verdict(f"Does the planner find the true {what}?", answer, words))
    return found


def _rotation(rotation: dict[str, Any]) -> Verdict:
    low, high = rotation["interval_deg"]
    turned = not low <= 0 <= high
    helps = rotation["rms_after_m"] < (1 - WORTH_TURNING) * rotation["rms_before_m"]
    answer: Answer = "yes" if not turned else "no" if helps else "unclear"
    words = (
        f"planned motions are to be turned by {rotation['angle_deg']:+.1f} deg ({low:+.1f} to {high:+.1f}); their "
        f"distance to the true ones {100 * rotation['rms_before_m']:.2f} cm rms, then "
        f"{100 * rotation['rms_after_m']:.2f}"
    )
    if turned:
        words += f"; correct with planner.camera_rotation_deg={rotation['angle_deg']:.1f}"
    return Verdict("Are planned and true directions the same?", answer, words)


def _below(figure: dict[str, Any], bar: float) -> Answer:
    low, high = figure["interval"]
    return "yes" if high < bar else "no" if low >= bar * (1 - 1e-3) else "unclear"


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"

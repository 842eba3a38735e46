"""What the figures of an open loop mean, each beside what it has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

Answer = Literal["yes", "no", "cannot tell"]

#: Where the 95 % interval leaves both open.
CANNOT_TELL: Final = "cannot tell"

#: A turn that is not zero, but brings planned motions closer to the true ones by less than this share, decides nothing.
WORTH_TURNING = 0.1

#: Turns so small that directions count as the same [degrees].
SAME_DEG = 15.0

#: Rank correlation above which the energy rises with the distance.
LEAST_RANK = 0.1

#: Episodes from which a bootstrap over episodes gives an interval: one alone is drawn again each time.
LEAST_EPISODES = 2


@dataclass(frozen=True)
class Verdict:
    """A question, its answer, and the figures behind it.

    Attributes:
        question: To be answered with yes or no.
        answer: yes or no where the 95 % interval leaves no doubt, else cannot tell.
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
    if figures.get("episodes", LEAST_EPISODES) < LEAST_EPISODES:
        return [replace(verdict, answer=CANNOT_TELL) for verdict in found]
    return found


def remarks_of(figures: dict[str, Any]) -> list[str]:
    """Return what a reader has to know of the figures of `Judgement.figures`, each a sentence."""
    found = []
    if figures.get("episodes", LEAST_EPISODES) < LEAST_EPISODES:
        found.append(
            "All windows are of one episode: intervals over episodes do not exist, and nothing can be told for sure."
        )
    if figures["outside_bounds"]:
        axes = ", ".join(f"{name} {share:.0%}" for name, share in figures["outside_bounds_by_axis"].items())
        found.append(
            f"{figures['outside_bounds']:.0%} of the true actions are outside of the model's bounds, those of its "
            f"training actions, where no planner looks (by axis: {axes})."
        )
    found += [f"Baseline '{name}' is {why}." for name, why in figures["left_out"].items()]
    return found


def summary_table(figures: dict[str, Any]) -> str:
    """Return the verdicts as lines of text."""
    found = verdicts(figures)
    width = max(len(verdict.question) for verdict in found)
    return "\n".join(f"{v.question:<{width}}  {v.answer:<11}  {v.figures}" for v in found)


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
        return Verdict(question, CANNOT_TELL, f"error / {name}: nothing moves in these windows")
    answers = [_below(ratio, 1.0) for ratio in ratios]
    answer: Answer = "yes" if all(a == "yes" for a in answers) else CANNOT_TELL
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
    question = "Does the energy rise with the distance to the true action?"
    kind, name = (
        ("position", "distance in metres")
        if ranks["position"] is not None
        else ("all_axes", "distance in standard deviations")
    )
    figure = ranks[kind]
    if figure is None:
        return Verdict(question, CANNOT_TELL, "no axis of the true actions varies within the model's bounds")
    words = f"rank correlation of energy and {name}: {shown(figure)}"
    return Verdict(question, _opposite(_below(figure, LEAST_RANK)), words)


def _recovered(recovered: dict[str, Any]) -> list[Verdict]:
    units = {"position_cm": " cm", "rotation_deg": " deg", "distance": ""}
    names = {"hold": "no motion", "random_action": "random"}
    baselines = {name: recovered[who] for who, name in names.items() if who in recovered}
    found = []
    for kind, unit in units.items():
        if kind not in recovered["planner"]:
            continue
        planner, others = recovered["planner"][kind], [guess[kind] for guess in baselines.values()]
        if not any(guess["percentiles"]["90"] for guess in (planner, *others)):
            continue  # nobody can be wrong: the bounds leave nothing to find
        best = min(others, key=lambda guess: guess["median"])
        low, high = planner["interval"]
        answer: Answer = CANNOT_TELL
        if high < min(guess["interval"][0] for guess in others):
            answer = "yes"
        elif low > best["interval"][1]:
            answer = "no"
        beside = ", ".join(f"{name} {guess[kind]['median']:.2f}{unit}" for name, guess in baselines.items())
        words = f"median {planner['median']:.2f}{unit} ({low:.2f} to {high:.2f}); {beside}"
        what = {"position_cm": "motion", "rotation_deg": "rotation", "distance": "action"}[kind]
        found.append(Verdict(f"Does the planner find the true {what}?", answer, words))
    return found


def _rotation(rotation: dict[str, Any]) -> Verdict:
    """Nearly the same if the whole interval is nearly no turn; another if it leaves that out and turning back helps."""
    low, high = rotation["interval_deg"]
    helps = rotation["rms_after_m"] < (1 - WORTH_TURNING) * rotation["rms_before_m"]
    answer: Answer = CANNOT_TELL
    if -SAME_DEG <= low <= high <= SAME_DEG:
        answer = "yes"
    elif not low <= 0 <= high and high - low < 180 and helps:
        answer = "no"
    words = (
        f"planned motions are to be turned by {rotation['angle_deg']:+.1f} deg ({low:+.1f} to {high:+.1f}); their "
        f"distance to the true ones {100 * rotation['rms_before_m']:.2f} cm rms, then "
        f"{100 * rotation['rms_after_m']:.2f}"
    )
    if answer == "no":
        words += f"; correct with planner.camera_rotation_deg={rotation['angle_deg']:.1f}"
    return Verdict("Are planned and true directions the same?", answer, words)


def _below(figure: dict[str, Any], bar: float) -> Answer:
    """Return whether a figure is below a bar: its whole interval, none of it, or nobody can tell."""
    low, high = figure["interval"]
    if low is None or high is None:
        return CANNOT_TELL
    return "yes" if high < bar else "no" if low >= bar * (1 - 1e-3) else CANNOT_TELL


def _opposite(answer: Answer) -> Answer:
    opposites: dict[Answer, Answer] = {"yes": "no", "no": "yes"}
    return opposites.get(answer, CANNOT_TELL)


def _plain(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"

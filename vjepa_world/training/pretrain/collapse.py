"""The collapse alarm: from the logged metrics to one sentence on the symptom and its likely cause.

A collapsed encoder gives every clip nearly the same features: their spread, or their effective rank, is a small share
of the untrained encoder's on the same clips. The loss does not show it: it falls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import median

from vjepa_world.training.pretrain.objectives.config import JEPAConfig, ObjectiveConfig

Metrics = Mapping[str, float]

#: Logged lines that must agree, since one batch alone may have little variety.
PATIENCE = 3

#: Shares of the untrained encoder's spread, and of its effective rank above 1, below which features have collapsed.
#: Encoders of the arm and of moving squares that learned well stayed above 0.5 and 0.15.
STD_SHARE, RANK_SHARE = 0.2, 0.1

#: Relative distance of the weights above which the target does not follow, and below which it equals the encoder.
FAR, NEAR = 0.3, 5e-3


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is known of a run besides its metrics; None where it is not known.

    Attributes:
        momentum: Of the moving average that is predicted, at the first step.
        hidden: Share of the tokens that are hidden, of the mask family that hides the fewest.
        online: Whether the encoder itself is predicted, with gradients.
        regularized: Whether there is a term against collapse.
        latent: Whether features are predicted, which constant features would minimise.
    """

    momentum: float | None = None
    hidden: float | None = None
    online: bool = False
    regularized: bool = False
    latent: bool = True

    @classmethod
    def of(cls, objective: ObjectiveConfig, hidden: float | None = None) -> Recipe:
        """Return the recipe of an objective; `hidden` depends on the token grid."""
        if not isinstance(objective, JEPAConfig):
            return cls(hidden=hidden, latent=False)
        return cls(
            momentum=objective.ema[0] if objective.target == "ema" else None,
            hidden=hidden,
            online=objective.target == "online",
            regularized=objective.compares_clips,
        )


@dataclass(frozen=True)
class Collapse:
    """When features collapsed, the symptom, the likely cause, and what to change."""

    step: int
    sign: str
    cause: str
    remedy: str

    def __str__(self) -> str:
        return (
            f"features collapse at step {self.step}: {self.sign}. Likely cause: {self.cause}. {self.remedy}."
        )


class CollapseAlarm:
    """Reports once in a run that its features collapse.

    Args:
        recipe: What is known of the run.
        history: The logged lines of a resumed run; a collapse in them was reported then.
    """

    def __init__(self, recipe: Recipe | None = None, history: Iterable[Metrics] = ()) -> None:
        self.recipe = recipe or Recipe()
        self._history = [dict(line) for line in history]
        self.collapse = find_collapse(self._history, self.recipe)

    def update(self, metrics: Metrics) -> str | None:
        """Add a logged line, with its `step`, and return the alarm in words if it goes off with this line."""
        if self.collapse is not None:
            return None
        self._history.append(dict(metrics))
        self.collapse = collapse_at_end(self._history, self.recipe)
        return None if self.collapse is None else str(self.collapse)


def find_collapse(history: Sequence[Metrics], recipe: Recipe | None = None) -> Collapse | None:
    """Return the first collapse in a run's logged lines, or None."""
    ends = range(1, len(history) + 1)
    found = (collapse_at_end(history[:end], recipe) for end in ends if _sign(history[:end]) is not None)
    return next(found, None)


def collapse_at_end(history: Sequence[Metrics], recipe: Recipe | None = None) -> Collapse | None:
    """Return the collapse that the last lines of a history show, or None.

    Args:
        history: Logged lines, oldest first: `target_std`, `target_rank`, `untrained_std`, `untrained_rank`, and where
            they are `loss`, `gradient_norm`, `ema_distance`.
        recipe: What is known of the run.
    """
    sign = _sign(history)
    if sign is None:
        return None
    cause, remedy = _cause(history, recipe or Recipe())
    return Collapse(int(history[-1].get("step", len(history) - 1)), sign, cause, remedy)


def _sign(history: Sequence[Metrics]) -> str | None:
    """Return the symptom of a collapse in the last lines, or None."""
    last = [line for line in history[-PATIENCE:] if {"target_std", "target_rank"} <= line.keys()]
    if len(last) < PATIENCE:
        return None
    std, rank = _typical(last, "target_std"), _typical(last, "target_rank")
    first = next(line for line in history if "target_std" in line and "target_rank" in line)
    baseline = {"std": first["target_std"], "rank": first["target_rank"]}
    for name in baseline:
        baseline[name] = _typical(last, f"untrained_{name}") or baseline[name]
    if std < STD_SHARE * baseline["std"]:
        usual = baseline["std"]
        return (
            f"all clips get nearly the same ones, with a spread of {std:.3g} (untrained encoder: {usual:.3g})"
        )
    if rank - 1 < RANK_SHARE * (baseline["rank"] - 1):
        return f"they vary along {rank:.1f} directions only (untrained encoder: {baseline['rank']:.1f})"
    return None


def _cause(history: Sequence[Metrics], recipe: Recipe) -> tuple[str, str]:
    """Return the likely cause and what to do."""
    distances, losses = _column(history, "ema_distance"), _column(history, "loss")
    blown_up = _blow_up(losses, _column(history, "gradient_norm"))
    if blown_up:
        return (
            blown_up,
            "Go back to an earlier checkpoint with a smaller trainer.lr or a longer trainer.warmup",
        )
    if not recipe.latent:
        return (
            "not clear from the metrics, for constant features do not minimise this objective",
            "Lower trainer.lr",
        )
    if recipe.online and not recipe.regularized:
        return (
            "the encoder predicts itself with gradients, and there is no term against collapse",
            "Set objective.target=ema, or add objective.variance and objective.covariance, or objective.sigreg",
        )
    if distances and max(distances) > FAR:
        return (
            f"the learning rate is too high, the encoder's weights ran {max(distances):.2g} of their size away from "
            "the target's",
            "Lower trainer.lr, or lengthen trainer.warmup",
        )
    fast = recipe.momentum is not None and recipe.momentum < 0.9
    if fast or (distances and median(distances) < NEAR):
        shown = f"momentum {recipe.momentum:g}" if fast else f"distance {median(distances):.2g}"
        return (
            f"the target follows the encoder at once ({shown}), so both can agree on a constant",
            "Raise objective.ema towards 0.999, or add objective.variance and objective.covariance",
        )
    if recipe.hidden is not None and recipe.hidden < 0.5:
        return (
            f"the masks hide too little for a useful task, {100 * recipe.hidden:.0f} % of the tokens",
            "Raise the scale or the number of the blocks in objective.masks",
        )
    falls = len(losses) > PATIENCE and median(losses[-PATIENCE:]) < 0.7 * losses[0]
    if not recipe.regularized:
        how = (
            "the loss falls with them: the task is easiest on a constant"
            if falls
            else "not clear from the loss"
        )
        return (
            f"{how}, and there is no term against collapse",
            "Add objective.variance and objective.covariance, or objective.sigreg; larger masks help too",
        )
    return (
        "the term against collapse is too weak compared with the prediction loss",
        "Raise objective.variance or objective.sigreg, or lower trainer.lr",
    )


def _blow_up(losses: list[float], norms: list[float]) -> str | None:
    """Return how the loss and the gradient norm rose together, or None."""
    if min(len(losses), len(norms)) < 2 * PATIENCE:
        return None
    before, now = min(losses[:-PATIENCE]), median(losses[-PATIENCE:])
    usual, norm = median(norms[: len(norms) // 2]), max(norms[-2 * PATIENCE :])
    if now < 1.5 * before or norm < 3 * usual:
        return None
    return (
        f"the learning rate is too high, the loss rose from {before:.3g} to {now:.3g} while the gradient's norm grew "
        f"from {usual:.3g} to {norm:.3g}"
    )


def _typical(lines: Sequence[Metrics], name: str) -> float:
    """Return the median of a metric over the lines that have it, 0 if none has."""
    found = _column(lines, name)
    return median(found) if found else 0.0


def _column(lines: Sequence[Metrics], name: str) -> list[float]:
    return [line[name] for line in lines if name in line and isfinite(line[name])]

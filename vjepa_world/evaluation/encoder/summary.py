"""Metrics of encoders over scenes, with intervals and paired differences.

Legend: S sets of frames.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.encoder.frames import GoalFrames
from vjepa_world.evaluation.encoder.scores import Score, Variant
from vjepa_world.evaluation.factors import factor_labels, labels_in_order
from vjepa_world.evaluation.statistics import Estimate, mean


def summarise(
    frames: Sequence[GoalFrames], variants: Sequence[Variant], scores: Sequence[Sequence[Score]]
) -> dict[str, Any]:
    """Return the metrics, ready for JSON, with 95 % bootstrap intervals over scenes.

    Args:
        frames: S sets.
        variants: Encoders with their numbers of tokens.
        scores: Of each variant and set.

    Returns:
        `scenes`, `frames` (their number), `kinds` (by what is moved and how far: number of sets, and `nearest` and
        `mean`, the distances of the nearest frame and of a frame that is chosen by chance), and `encoders`, a list with
        a dictionary for each variant: `encoder`, `tokens`, `width`, `all` (the mean of all kinds) and `kinds`, by kind:
        `rank` (rank correlation), `in_order` (share of pairs), `lowest` (distance of the frame with the lowest
        energy), `undefined` (sets in which all energies are equal, and which are left out), `goals` and `factors`
        (the rank by goal, and by the labels of the scene). Where variants of other encoders than the first have
        `difference`, it is the first one's rank minus theirs, on the same frames, with `to_tokens`, the first one's
        number of tokens that is nearest to theirs.
    """
    sets = _Sets(frames)
    rows = [_row(sets, variant, own) for variant, own in zip(variants, scores, strict=True)]
    first = [index for index, variant in enumerate(variants) if variant.encoder == variants[0].encoder]
    for index, row in enumerate(rows):
        if index not in first:
            nearest = min(first, key=lambda own: _apart(variants[own], variants[index]))
            _add_differences(sets, row, variants[nearest], scores[nearest], scores[index])
    return {
        "scenes": len(np.unique(sets.scenes)),
        "frames": sum(len(entry.distances) for entry in frames),
        "kinds": {name: sets.about(name) for name in sets.kinds},
        "encoders": rows,
    }


def _apart(first: Variant, second: Variant) -> float:
    return abs(math.log(first.tokens / second.tokens))


class _Sets:
    """Sets of frames, by kind, goal and scene.

    Attributes:
        scenes: The scene of each set, `[S]`.
        kinds: Which sets are of each kind, bool `[S]`.
    """

    def __init__(self, frames: Sequence[GoalFrames]) -> None:
        self._frames = frames
        self.scenes = np.array([entry.scene for entry in frames])
        names = [entry.kind for entry in frames]
        self.kinds = {name: np.array([own == name for own in names]) for name in dict.fromkeys(names)}
        self._goals = np.array([entry.goal for entry in frames])

    def about(self, kind: str) -> dict[str, Any]:
        """Return what is known of a kind without any encoder."""
        chosen = [entry for entry, own in zip(self._frames, self.kinds[kind], strict=True) if own]
        return {
            "moved": chosen[0].moved,
            "within": chosen[0].within,
            "unit": chosen[0].unit,
            "sets": len(chosen),
            "nearest": float(np.mean([float(entry.distances.min()) for entry in chosen])),
            "mean": float(np.mean([float(entry.distances.mean()) for entry in chosen])),
        }

    def estimate(self, values: np.ndarray, chosen: np.ndarray) -> Estimate:
        """Return the mean of the values `[S]` of some sets that are known, with its interval over scenes."""
        known = chosen & np.isfinite(values)
        if not known.any():
            return Estimate(None, None, None)
        return _over_scenes(values[known], self.scenes[known])

    def overall(self, values: np.ndarray) -> Estimate:
        """Return the mean over kinds, each counted alike, with its interval over scenes."""
        of_scenes, scenes = [], []
        for scene in np.unique(self.scenes):
            own = [values[chosen & (self.scenes == scene)] for chosen in self.kinds.values()]
            means = [part[np.isfinite(part)].mean() for part in own if np.isfinite(part).any()]
            if means:
                of_scenes.append(np.mean(means))
                scenes.append(scene)
        if not scenes:
            return Estimate(None, None, None)
        return _over_scenes(np.array(of_scenes), np.array(scenes))

    def by_goal(self, values: np.ndarray, chosen: np.ndarray) -> dict[str, Any]:
        """Return the estimate for each goal; empty if there is only one."""
        names = list(dict.fromkeys(self._goals[chosen].tolist()))
        if len(names) < 2:
            return {}
        return {name: self.estimate(values, chosen & (self._goals == name)).as_json() for name in names}

    def by_factor(self, values: np.ndarray, chosen: np.ndarray) -> dict[str, dict[str, Any]]:
        """Return the estimate and the number of scenes for each label of each factor that has several."""
        found: dict[str, dict[str, Any]] = {}
        for name in dict.fromkeys(name for entry in self._frames for name in entry.factors):
            members = [i for i in np.flatnonzero(chosen).tolist() if name in self._frames[i].factors]
            labels = factor_labels([self._frames[i].factors[name] for i in members])
            if len(set(labels)) < 2:
                continue
            found[name] = {}
            for label in labels_in_order(labels):
                own = np.zeros(len(values), bool)
                own[[i for i, given in zip(members, labels, strict=True) if given == label]] = True
                scenes = len(np.unique(self.scenes[own]))
                found[name][label] = {"scenes": scenes, **self.estimate(values, own).as_json()}
        return found


def _over_scenes(values: np.ndarray, scenes: np.ndarray) -> Estimate:
    """Return the mean of values `[k]` with its interval over scenes `[k]`; of one scene there is no interval."""
    return mean(values, scenes, np.random.default_rng(0))


def _row(sets: _Sets, variant: Variant, scores: Sequence[Score]) -> dict[str, Any]:
    """Return the metrics of a variant."""
    columns = {name: np.array([getattr(score, name) for score in scores]) for name in Score._fields}
    rank = columns["rank"]
    kinds = {}
    for kind, chosen in sets.kinds.items():
        kinds[kind] = {
            **{name: sets.estimate(values, chosen).as_json() for name, values in columns.items()},
            "undefined": int((chosen & ~np.isfinite(rank)).sum()),
            "goals": sets.by_goal(rank, chosen),
            "factors": sets.by_factor(rank, chosen),
        }
    every = np.ones(len(rank), bool)
    return {
        "encoder": variant.encoder,
        "tokens": variant.tokens,
        "width": variant.width,
        "all": sets.overall(rank).as_json(),
        "factors": sets.by_factor(rank, every),
        "kinds": kinds,
    }


def _add_differences(
    sets: _Sets, row: dict[str, Any], first: Variant, ours: Sequence[Score], theirs: Sequence[Score]
) -> None:
    """Add the first encoder's advantage to the metrics of another one."""
    better = np.array([own.rank - other.rank for own, other in zip(ours, theirs, strict=True)])
    row["to_tokens"] = first.tokens
    row["difference"] = sets.overall(better).as_json()
    kinds: Mapping[str, Any] = row["kinds"]
    for kind, chosen in sets.kinds.items():
        kinds[kind]["difference"] = sets.estimate(better, chosen).as_json()

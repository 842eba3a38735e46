"""Energies that add up: `GoalL1() + 0.1 * Smoothness()`. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor

from planners.checks import check_energies, check_not_modified, protected_view, version_of
from planners.errors import PlannerError
from planners.protocols import Energy, evaluate_energy, needs_states

SHOWN = 8
"""So many numbers of a tensor are written out by `repr`; of a longer one, its shape is."""


class Composable(ABC):
    """An energy that can be added to others and multiplied by a finite number of at least 0.

    Attributes:
        needs_states: Whether it is called with the imagined `states [B, S, K, P]` too.
    """

    needs_states: bool = False
    __array_ufunc__ = None  # a NumPy array on the left would multiply entry by entry

    @abstractmethod
    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]` of predictions `[B, S, K, N, D]` for goals `[B, N, D]`."""

    def _settings(self) -> Mapping[str, Any]:
        """Return what `repr` shows; entries that are None are left out."""
        return {}

    def __repr__(self) -> str:
        shown = [f"{name}={_shown(value)}" for name, value in self._settings().items() if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __add__(self, other: Energy) -> WeightedSum:
        return WeightedSum((*_terms(self), *_terms(other)))

    def __radd__(self, other: Energy | int) -> Composable:
        if isinstance(other, int) and other == 0:  # where Python's sum() begins
            return self
        return WeightedSum((*_terms(other), *_terms(self)))

    def __mul__(self, multiple: float) -> WeightedSum:
        if not isinstance(multiple, Real) or not (math.isfinite(multiple) and multiple >= 0):
            raise PlannerError(
                f"{self!r} was multiplied by {multiple!r}; allowed is a finite number of at least 0. Change the number."
            )
        return WeightedSum(tuple(Term(float(multiple) * m, energy) for m, energy in _terms(self)))

    __rmul__ = __mul__


class Term(NamedTuple):
    """One energy of a sum, and how much it counts."""

    multiple: float
    energy: Energy


class WeightedSum(Composable):
    r"""A sum of energies.

    .. math:: E = \sum_i c_i E_i

    A term whose multiple is 0 is computed all the same. `needs_states` is true if a term's is, and only such terms are
    given the states.

    Args:
        terms: :math:`c_i` and :math:`E_i`.
    """

    def __init__(self, terms: tuple[Term, ...]) -> None:
        self.terms = terms
        self.needs_states = any(needs_states(term.energy) for term in terms)

    def __call__(
        self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor | None = None
    ) -> Tensor:
        """Return energies `[B, S]`.

        Args:
            predicted: `[B, S, K, N, D]`.
            goal: `[B, N, D]`.
            actions: `[B, S, K, A]`.
            states: `[B, S, K, P]`, where a term needs them.

        Raises:
            PlannerError: If a term does not return `[B, S]`, or as the terms do.
        """
        shared = {"predictions": predicted, "goal": goal} | ({} if states is None else {"states": states})
        energies = []
        for multiple, energy in self.terms:
            given = {name: protected_view(tensor) for name, tensor in shared.items()}
            versions = {name: (tensor, version_of(tensor)) for name, tensor in given.items()}
            values = evaluate_energy(
                energy, given["predictions"], given["goal"], actions.clone(), given.get("states")
            )
            check_not_modified(type(energy).__name__, versions)
            energies.append(multiple * check_energies(values, actions))
        return sum(energies[1:], start=energies[0])

    def __repr__(self) -> str:
        return " + ".join(repr(o) if m == 1 else f"{m:g} * {o!r}" for m, o in self.terms)


def _terms(energy: Any) -> tuple[Term, ...]:
    if isinstance(energy, WeightedSum):
        return energy.terms
    if not callable(energy):
        raise PlannerError(
            f"{energy!r} was added to an energy; allowed are energies. Multiply by a number, or add an object "
            "that is called as energy(predicted, goal, actions)."
        )
    return (Term(1.0, energy),)


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        if value.numel() > SHOWN:
            return f"<{' x '.join(map(str, value.shape))} numbers>"
        value = value.tolist()
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:g}" if isinstance(value, float) else repr(value)

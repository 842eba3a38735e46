"""Weighted sums of energies: `GoalL1() + 0.1 * Smoothness()`. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor

from planners.checks import check_energies, check_not_modified, protected_view, version_of
from planners.errors import PlannerError
from planners.protocols import Context, Energy, energy_for, evaluate_energy, needs_problems, needs_states

SHOWN = 8
"""Largest number of entries of a tensor that `repr` writes out; for larger tensors it writes the shape."""


class Composable(ABC):
    """An energy that can be added to others and multiplied by a finite number of at least 0.

    Attributes:
        needs_states: Whether it is called with the predicted `states [B, S, K, P]` too.
        needs_problems: Whether it is made for each set of problems, by `for_problems(context, goal)`.
    """

    needs_states: bool = False
    needs_problems: bool = False
    __array_ufunc__ = None  # a NumPy array on the left would multiply entry by entry

    @abstractmethod
    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]` of predictions `[B, S, K, N, D]` for goals `[B, N, D]`."""

    def _settings(self) -> Mapping[str, Any]:
        """Return the arguments that `repr` shows; those that are None are left out."""
        return {}

    def __repr__(self) -> str:
        shown = [f"{name}={_shown(value)}" for name, value in self._settings().items() if value is not None]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __add__(self, other: Energy) -> WeightedSum:
        return WeightedSum((*_terms(self), *_terms(other)))

    def __radd__(self, other: Energy | int) -> Composable:
        if isinstance(other, int) and other == 0:  # the start value of Python's sum()
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
    """One energy of a sum, and its weight."""

    multiple: float
    energy: Energy


class WeightedSum(Composable):
    r"""A sum of energies.

    .. math:: E = \sum_i c_i E_i

    A term of weight 0 is computed too. `needs_states` is true if it is true for a term; only such terms are called with
    the states.

    Args:
        terms: :math:`c_i` and :math:`E_i`.
    """

    def __init__(self, terms: tuple[Term, ...]) -> None:
        self.terms = terms
        self.needs_states = any(needs_states(term.energy) for term in terms)
        self.needs_problems = any(needs_problems(term.energy) for term in terms)

    def __call__(
        self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor | None = None
    ) -> Tensor:
        """Return energies `[B, S]`.

        Args:
            predicted: `[B, S, K, N, D]`.
            goal: `[B, N, D]`.
            actions: `[B, S, K, A]`.
            states: `[B, S, K, P]`, if a term needs them.

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

    def for_problems(self, context: Context, goal: Tensor) -> WeightedSum:
        """Return the sum for the problems of a context and goals `[B, N, D]`."""
        return WeightedSum(tuple(Term(m, energy_for(energy, context, goal)) for m, energy in self.terms))

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

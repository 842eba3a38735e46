"""The loop that all planners share: sample, score, refit. Shapes as in `planners.protocols`.

A planner defines how samples are drawn from its search state (for CEM, a Gaussian), and how the state is refitted to
their energies. Everything else is here: action bounds, deadlines, warm starts, the best sample, the iterations' record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Generator, Tensor

from planners.bounds import Box, Fixed, FixedValues, limit_steps, make_box, read_fixed, read_hold, with_prefix
from planners.checks import check_energy, check_model, check_problems, check_warm_start
from planners.config import SearchConfig
from planners.errors import PlannerError
from planners.protocols import (
    Context,
    Energy,
    Iteration,
    Plan,
    WorldModel,
    action_type,
    model_for_context,
)
from planners.sampling import check_any_finite
from planners.scoring import Deadline, Scorer

SearchState = TypeVar("SearchState")


@dataclass(frozen=True, eq=False)
class ScoredSamples:
    """Samples and their energies.

    Attributes:
        samples: `[B, S, K, A]`.
        energies: `[B, S]`, finite or +inf.
    """

    samples: Tensor
    energies: Tensor

    def best(self, count: int = 1) -> ScoredSamples:
        """Return the `count` best samples of each problem, best first."""
        lowest = torch.topk(self.energies, min(count, self.energies.shape[1]), dim=1, largest=False)
        at = lowest.indices[:, :, None, None].expand(-1, -1, *self.samples.shape[2:])
        return ScoredSamples(self.samples.gather(1, at), lowest.values)

    def concat(self, other: ScoredSamples | None) -> ScoredSamples:
        """Return these samples followed by those of `other`; unchanged if there are none."""
        if other is None:
            return self
        return ScoredSamples(
            torch.cat([self.samples, other.samples], dim=1), torch.cat([self.energies, other.energies], dim=1)
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Search(SearchConfig, ABC, Generic[SearchState]):
    """A planner that samples, scores and refits. Its options are those of its dataclass in `planners.config`.

    A subclass is a frozen dataclass that inherits a `SearchConfig` of its own and this class.

    Attributes:
        model: The world model. Its action bounds are read at each call.
        energy: What is minimised.
        fixed: Action axes that are not searched, with their value, or one value for each step, `[K]` (None where the
            step is free). `{3: 0, 4: 0, 5: 0}` disables the rotation, `{6: (None, None, 0.75)}` closes a gripper at the
            third of three steps, and `{0: "hold"}` keeps an axis of targets at its present value.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid.
    """

    plans_choices: ClassVar[bool] = False
    """Whether it plans for models whose actions are choices, and for these alone."""

    model: WorldModel = field(kw_only=False, repr=False)
    energy: Energy
    fixed: Fixed | None = None
    _fixed: dict[int, FixedValues] = field(init=False, repr=False)
    _action_size: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_model(self.model)
        self._check_actions()
        check_energy(self.energy)
        object.__setattr__(self, "_fixed", read_fixed(self.fixed))
        object.__setattr__(self, "_action_size", make_box(self.model, self.horizon, self._fixed).low.shape[1])

    def _check_actions(self) -> None:
        if (action_type(self.model) == "choice") == self.plans_choices:
            return
        kind, got = type(self).__name__, action_type(self.model)
        raise PlannerError(
            f"{kind} plans {'choices' if self.plans_choices else 'numbers'}, and the world model's action_type is "
            f"{got!r}. "
            + (
                "Choose another planner, such as CEM (planner=cem)."
                if self.plans_choices
                else "Choose CategoricalCEM (planner=categorical_cem)."
            )
        )

    @abstractmethod
    def _initial_state(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> SearchState:
        """Return the state before the first iteration; if there are `starts [B, M, K, A]`, around the first of them."""

    @abstractmethod
    def _sample(
        self, state: SearchState, box: Box, iteration: int, generators: Sequence[Generator]
    ) -> Tensor:
        """Return samples `[B, S, K, A]` inside the box; problem b draws from `generators[b]` alone."""

    @abstractmethod
    def _refit(self, state: SearchState, box: Box, scored: ScoredSamples) -> tuple[SearchState, Tensor]:
        """Return the new state, and a mask of the samples that it was computed from, bool `[B, S]`."""

    @abstractmethod
    def _spread(self, state: SearchState, box: Box) -> Tensor:
        """Return the width of the search, `[B]`, in half-widths of the box, averaged over what is not fixed."""

    def _final_candidates(self, state: SearchState, box: Box) -> Tensor | None:
        """Return sequences `[B, M, K, A]` that are scored after the last iteration; None for none."""
        return None

    def _score(self, scorer: Scorer, state: SearchState, box: Box, samples: Tensor) -> Tensor:
        """Return the energies `[B, S]` of samples `[B, S, K, A]`."""
        return scorer(samples)

    def _reused(self, scored: ScoredSamples) -> ScoredSamples | None:
        """Return samples that take part in the next refit too, without being imagined again."""
        return None

    def _warm_starts(self, scored: ScoredSamples) -> Tensor | None:
        """Return sequences `[B, M, K, A]` for the next search to start from."""
        return None

    def _best(self, best: ScoredSamples, last: ScoredSamples | None) -> ScoredSamples:
        """Return the plan: the best of the best sample and the final candidates."""
        return best.concat(last).best()

    def reset(self) -> None:
        """Do nothing: a search has no memory of earlier calls."""

    @torch.no_grad()
    def plan(
        self,
        context: Context,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Plan:
        """Search for the action sequences of lowest energy, one search per problem.

        Args:
            context: What `model.encode` returned for B problems.
            goal: Features of B goal images, `[B, N, D]`.
            generators: B different generators.
            deadline_s: Time [s] after which the best plan so far is returned. A batch of samples is not started if it
                is expected to take longer than the time left, estimated from the last two batches; the first batch is
                always run. So the deadline is exceeded by one batch at most. The number of batches, and with it the
                plan, depends on the machine.
            warm_start: Sequences to start from, `[B, K, A]` or `[B, M, K, A]`, clipped to the action bounds: the
                search starts around the first, and all of them replace the first samples.
            prefix: Actions that are being executed already, `[B, J, A]` with J < K: every sample starts with them.

        Raises:
            PlannerError: If the shapes do not match, two problems share a generator, or all samples of a problem's
                first iteration have NaN or infinite energy. In later iterations such a problem continues from its best
                sample so far.
        """
        deadline = Deadline(deadline_s)
        check_problems(goal, generators, deadline_s)
        box, hold = self._box(model_for_context(self.model, context), context, prefix, len(generators))
        starts = self._starts(box, _hold_plan(hold, self.horizon) if warm_start is None else warm_start)
        scorer = Scorer(self.model, self.energy, context, goal, deadline, self.slice_size)
        state = self._initial_state(box, starts, generators)
        best: ScoredSamples | None = None
        reused: ScoredSamples | None = None
        iterations: list[Iteration] = []
        for iteration in range(self.num_iterations):
            samples = self._sample(state, box, iteration, generators)
            if iterations and not scorer.has_time_for(samples):
                break
            if starts is not None and iteration == 0:
                samples = torch.cat([starts, samples[:, starts.shape[1] :]], dim=1)
            drawn = ScoredSamples(samples, self._score(scorer, state, box, samples))
            scored = _replace_failed(drawn.concat(reused), best)
            best = scored.concat(best).best()
            spread = self._spread(state, box)
            state, selected = self._refit(state, box, scored)
            iterations.append(_record(scored, spread, selected))
            reused = self._reused(scored)
        assert best is not None  # num_iterations >= 1
        plan = self._best(best, self._score_final(scorer, state, box))
        return Plan(plan.samples[:, 0], plan.energies[:, 0], tuple(iterations), self._warm_starts(scored))

    def _box(
        self, model: WorldModel, context: Context, prefix: Tensor | None, batch: int
    ) -> tuple[Box, Tensor | None]:
        """Return the action bounds of B problems, and the actions that hold the robots `[B, A]`, if they are known."""
        hold = read_hold(model, context, batch)
        box = make_box(model, self.horizon, self._fixed)
        if box.low.shape[1] != self._action_size:
            raise PlannerError(
                f"The context's actions have {box.low.shape[1]} numbers, and those that this planner was made for "
                f"{self._action_size}; allowed are contexts of the same robot. Make a planner for each robot."
            )
        box = with_prefix(model, box, prefix, batch, hold)
        return limit_steps(model, box, hold, self._fixed, prefix), hold

    def _starts(self, box: Box, warm_start: Tensor | None) -> Tensor | None:
        """Return the sequences to start from, `[B, M, K, A]`, inside the box; M is at most `num_samples`."""
        if warm_start is None:
            return None
        starts = check_warm_start(warm_start, (*box.low.shape,))[:, : self.num_samples]
        return box.per_sample().clamp(starts.to(box.low))

    def _score_final(self, scorer: Scorer, state: SearchState, box: Box) -> ScoredSamples | None:
        """Return the final candidates with their energies; None if there are none, or no time is left."""
        candidates = self._final_candidates(state, box)
        if candidates is None or not scorer.has_time_for(candidates):
            return None
        inside = box.per_sample().clamp(candidates)
        return ScoredSamples(inside, scorer(inside))


def _hold_plan(hold: Tensor | None, horizon: int) -> Tensor | None:
    """Return the plan that repeats the hold action, `[B, K, A]`; None if there is no hold action."""
    return None if hold is None else hold.unsqueeze(1).expand(-1, horizon, -1)


def _replace_failed(scored: ScoredSamples, best: ScoredSamples | None) -> ScoredSamples:
    """Return the samples; where a problem has no finite energy, its best sample so far replaces the first.

    Raises:
        PlannerError: If there is no best sample yet, in the first iteration.
    """
    if best is None:
        check_any_finite(scored.energies)
        return scored
    failed = (scored.energies == torch.inf).all(dim=1, keepdim=True)
    samples, energies = scored.samples.clone(), scored.energies.clone()
    samples[:, :1] = best.samples.where(failed[:, :, None, None], samples[:, :1])
    energies[:, :1] = best.energies.where(failed, energies[:, :1])
    return ScoredSamples(samples, energies)


def _record(scored: ScoredSamples, spread: Tensor, selected: Tensor) -> Iteration:
    energies = scored.energies
    return Iteration(
        best_energy=energies.min(dim=1).values,
        mean_energy=torch.stack([e[e < torch.inf].mean() for e in energies]),
        spread=spread,
        samples=scored.samples,
        energies=energies,
        selected=selected,
    )

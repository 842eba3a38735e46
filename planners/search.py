"""The loop that all planners share: sample, score, refit. Shapes as in `planners.protocols`.

A planner is its own equation: how samples are drawn from what is believed, and what is believed after their energies
are known. Everything else (bounds, deadlines, warm starts, the best so far, the trace) is here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Required, TypedDict, TypeVar

import torch
from torch import Generator, Tensor

from planners.bounds import Box, Fixed, make_box, read_fixed, read_hold, with_prefix, within_reach
from planners.checks import check_count, check_energy, check_model, check_problems, check_warm_start
from planners.errors import PlannerError
from planners.protocols import Context, Energy, Iteration, Plan, WorldModel, world_of
from planners.sampling import usable_energy
from planners.scoring import Clock, Scorer

Belief = TypeVar("Belief")


@dataclass(frozen=True, eq=False)
class Scored:
    """What an iteration found out.

    Attributes:
        samples: `[B, S, K, A]`.
        energies: `[B, S]`, finite or +inf.
    """

    samples: Tensor
    energies: Tensor

    def best(self, count: int = 1) -> Scored:
        """Return the `count` best of each problem, best first."""
        lowest = torch.topk(self.energies, min(count, self.energies.shape[1]), dim=1, largest=False)
        at = lowest.indices[:, :, None, None].expand(-1, -1, *self.samples.shape[2:])
        return Scored(self.samples.gather(1, at), lowest.values)

    def beside(self, other: Scored | None) -> Scored:
        """Return these samples followed by others."""
        if other is None:
            return self
        return Scored(
            torch.cat([self.samples, other.samples], dim=1), torch.cat([self.energies, other.energies], dim=1)
        )


class SearchOptions(TypedDict, total=False):
    """What every planner takes beside its own; see `Search`."""

    energy: Required[Energy]
    horizon: int
    num_samples: int | None
    num_iterations: int | None
    fixed: Fixed | None
    slice_size: int | None


class Search(ABC, Generic[Belief]):
    """A planner that samples, scores and refits.

    Args:
        model: What imagines. Its bounds are read at each call.
        energy: What is minimised.
        horizon: K, steps planned ahead, at least 1.
        num_samples: S, sequences tried in an iteration, at least 1; None for `SAMPLES` of the planner.
        num_iterations: At least 1; None for `ITERATIONS` of the planner.
        fixed: Axes that are not searched: their value, or one for each step (None where it is free). A rotation is
            switched off by `{3: 0, 4: 0, 5: 0}`, a gripper told to close at the third of three steps by
            `{6: (None, None, 0.75)}`, an axis of targets kept where it is by `{0: "hold"}`.
        slice_size: Samples imagined at once; None asks the model (`samples_at_once`), which without a word of its own
            gets all.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.
    """

    SAMPLES: ClassVar[int]
    ITERATIONS: ClassVar[int]

    def __init__(
        self,
        model: WorldModel,
        *,
        energy: Energy,
        horizon: int = 1,
        num_samples: int | None = None,
        num_iterations: int | None = None,
        fixed: Fixed | None = None,
        slice_size: int | None = None,
    ) -> None:
        check_model(model)
        check_energy(energy)
        self.model = model
        self.energy = energy
        self.horizon = check_count("horizon", horizon)
        samples = self.SAMPLES if num_samples is None else num_samples
        iterations = self.ITERATIONS if num_iterations is None else num_iterations
        self.num_samples = check_count("num_samples", samples)
        self.num_iterations = check_count("num_iterations", iterations)
        self.fixed = read_fixed(fixed)
        self.slice_size = None if slice_size is None else check_count("slice_size", slice_size)
        self._action_size = make_box(model, horizon, self.fixed).low.shape[1]

    @abstractmethod
    def _begin(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> Belief:
        """Return what is believed before any sample; around the first of `starts [B, M, K, A]` where there are any."""

    @abstractmethod
    def _sample(self, belief: Belief, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        """Return samples `[B, S, K, A]` inside the box; `generators` are used by problem."""

    @abstractmethod
    def _refit(self, belief: Belief, box: Box, scored: Scored) -> tuple[Belief, Tensor]:
        """Return what is believed now, and which samples it was made from, bool `[B, S]`."""

    @abstractmethod
    def _spread(self, belief: Belief, box: Box) -> Tensor:
        """Return how wide the search is, `[B]`, in half-widths of the box over what is free."""

    def _candidates(self, belief: Belief, box: Box) -> Tensor | None:
        """Return what is scored when the iterations are over, `[B, M, K, A]`; None for nothing."""
        return None

    def _energies(self, scorer: Scorer, belief: Belief, box: Box, samples: Tensor) -> Tensor:
        """Return the samples' energies `[B, S]`."""
        return scorer(samples)

    def _carried(self, scored: Scored) -> Scored | None:
        """Return samples that stay in the running for the next refit without being imagined again."""
        return None

    def _kept(self, scored: Scored) -> Tensor | None:
        """Return sequences `[B, M, K, A]` for the next search to start from."""
        return None

    def _answer(self, best: Scored, last: Scored | None) -> Scored:
        """Return the plan: the best of the best sample and the last candidates."""
        return best.beside(last).best()

    def reset(self) -> None:
        """Nothing to forget: each call starts anew."""

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
        """Search for the action sequences of lowest energy, one search a problem.

        Args:
            context: What `model.encode` returned for B problems.
            goal: Features of B goal images, `[B, N, D]`.
            generators: B different generators.
            deadline_s: Time [s] after which the best plan so far is returned. A batch of samples is not begun when,
                by what a sample took in the latest two, it would take longer than what is left; the first one always
                runs. So the deadline is overrun by no more than one batch. How many run depends on the machine, and so
                does the plan.
            warm_start: Sequences to start from, `[B, K, A]` or `[B, M, K, A]`, clipped to the box: the search begins
                around the first, and all are tried in place of the first samples.
            prefix: Actions under way already, `[B, J, A]` with J < K: every sample begins with them.

        Raises:
            PlannerError: If shapes do not belong together, a generator serves two problems, or all samples of a
                problem's first iteration have NaN or infinite energy. In later ones it goes on from its best so far.
        """
        clock = Clock(deadline_s)
        check_problems(goal, generators, deadline_s)
        box, hold = self._box(world_of(self.model, context), context, prefix, len(generators))
        starts = self._starts(box, _standing(hold, self.horizon) if warm_start is None else warm_start)
        scorer = Scorer(self.model, self.energy, context, goal, clock, self.slice_size)
        belief = self._begin(box, starts, generators)
        best: Scored | None = None
        carried: Scored | None = None
        trace: list[Iteration] = []
        for iteration in range(self.num_iterations):
            samples = self._sample(belief, box, iteration, generators)
            if trace and not scorer.has_time_for(samples):
                break
            if starts is not None and iteration == 0:
                samples = torch.cat([starts, samples[:, starts.shape[1] :]], dim=1)
            drawn = Scored(samples, self._energies(scorer, belief, box, samples))
            scored = _usable(drawn.beside(carried), best)
            best = scored.beside(best).best()
            spread = self._spread(belief, box)
            belief, chosen = self._refit(belief, box, scored)
            trace.append(_summary(scored, spread, chosen))
            carried = self._carried(scored)
        assert best is not None  # num_iterations >= 1
        answer = self._answer(best, self._last(scorer, belief, box))
        return Plan(answer.samples[:, 0], answer.energies[:, 0], tuple(trace), self._kept(scored))

    def _box(
        self, model: WorldModel, context: Context, prefix: Tensor | None, batch: int
    ) -> tuple[Box, Tensor | None]:
        """Return where the actions of B problems may be, and those that hold the robots, where they are known."""
        hold = read_hold(model, context, batch)
        box = make_box(model, self.horizon, self.fixed)
        if box.low.shape[1] != self._action_size:
            raise PlannerError(
                f"The context's actions have {box.low.shape[1]} numbers, and those that this planner was made for "
                f"{self._action_size}; allowed are contexts of the same robot. Make a planner for each."
            )
        box = with_prefix(model, box, prefix, batch, hold)
        return within_reach(model, box, hold, self.fixed, prefix), hold

    def _starts(self, box: Box, warm_start: Tensor | None) -> Tensor | None:
        """Return the sequences to start from, `[B, M, K, A]`, inside the box and no more than there are samples."""
        if warm_start is None:
            return None
        several = check_warm_start(warm_start, (*box.low.shape,))[:, : self.num_samples]
        return box.per_sample().clamp(several.to(box.low))

    def _last(self, scorer: Scorer, belief: Belief, box: Box) -> Scored | None:
        """Return the last candidates with their energies, where there are some and time for them."""
        candidates = self._candidates(belief, box)
        if candidates is None or not scorer.has_time_for(candidates):
            return None
        inside = box.per_sample().clamp(candidates)
        return Scored(inside, scorer(inside))


def _standing(hold: Tensor | None, horizon: int) -> Tensor | None:
    """Return the plan that stays where the robot is, `[B, K, A]`, for targets; changes are searched around the box."""
    return None if hold is None else hold.unsqueeze(1).expand(-1, horizon, -1)


def _usable(scored: Scored, best: Scored | None) -> Scored:
    """Return the samples; a problem with none below +inf has its best so far in place of the first.

    Raises:
        PlannerError: If it has no best so far either.
    """
    if best is None:
        usable_energy(scored.energies)
        return scored
    hopeless = (scored.energies == torch.inf).all(dim=1, keepdim=True)
    samples, energies = scored.samples.clone(), scored.energies.clone()
    samples[:, :1] = best.samples.where(hopeless[:, :, None, None], samples[:, :1])
    energies[:, :1] = best.energies.where(hopeless, energies[:, :1])
    return Scored(samples, energies)


def _summary(scored: Scored, spread: Tensor, chosen: Tensor) -> Iteration:
    energies = scored.energies
    return Iteration(
        best_energy=energies.min(dim=1).values,
        mean_energy=torch.stack([e[e < torch.inf].mean() for e in energies]),
        spread=spread,
        samples=scored.samples,
        energies=energies,
        chosen=chosen,
    )

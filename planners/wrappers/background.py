"""Planning while acting, for what must send an action at every tick. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Generator, Tensor

from planners.bounds import ROUNDING, read_bounds, read_hold
from planners.checks import check_generators, check_plan, check_planner, read_action
from planners.errors import PlannerError
from planners.number_checks import check_count, check_positive, is_number
from planners.protocols import (
    Context,
    HoldingWorldModel,
    Plan,
    Planner,
    WorldModel,
    action_type,
    model_for_context,
)
from planners.wrappers.receding_horizon import Latency, RecedingHorizon, await_result, check_batch, starts_of
from planners.wrappers.subgoals import SubGoals
from planners.wrappers.unwrap import find_attribute, unwrap


@dataclass(frozen=True, eq=False)
class Action:
    """What to carry out in this step.

    Attributes:
        action: `[B, A]`.
        held: Whether it is the hold action, for want of a plan.
        age: Steps since the observation that its plan was made from; None if held.
        energy: Of its plan, `[B]`; None if held.
    """

    action: Tensor
    held: bool
    age: int | None = None
    energy: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Search:
    """A search under way: begun at `step`, for use `lead` steps later; gives a plan and how long it took [s]."""

    step: int
    lead: int
    future: Future[tuple[Plan, float]]


class BackgroundPlanner:
    """Carries out one plan while a thread makes the next, so that there is an action at every step.

    Call `act` once every `period_s`, with what is seen then; a call is a step, and steps are all the time there is
    here: nothing looks at a clock but the planner, at its deadline. Every n = `replan_every` steps the newest
    observation goes to the search, which has until n steps later, less a margin: that is its `deadline_s`. It is told
    by `prefix` of the n actions that will be carried out until then, so that the new plan goes on where the old one
    ends, and it starts from the old plan. The plan is indexed by time: i steps after its observation its action i is
    carried out, the action n being the first that is new.

    When a plan is late, the old one goes on as long as it lasts, which is K steps from its own observation. After that
    the `hold` action is sent, until the plan comes; of a late plan the actions whose time has passed are left out, and
    a plan that has none left is dropped. A horizon of 2 n is just enough; each step more is a step that a plan may
    be late. While the thread is busy, observations are not queued: the next search gets the one of the call that finds
    it free.

    An error of the search is raised by the next `act`; that call counts as a step, too.

    Until `wait`, `reset` or `close` returns, the context, the goal and the generators of the last calls belong to the
    thread: do not draw from them, change them in place, or plan with the same planner elsewhere. The thread searches
    under `torch.no_grad`, and under none of the caller's other modes (autocast, inference mode, streams); contexts that
    were made in inference mode are fine, but for planners that follow the gradient. Calls are to come from one thread.

    Where time stands still between steps, as in a simulation, `wait` after each `act` makes results repeatable, if
    the deadline leaves time for the whole search.

    Args:
        planner: What searches; no `RecedingHorizon`, whose work is done here, and no `SubGoals`, nor one within another
            planner: they count calls as steps. Sub-goals are given to `act` in turn, with a `reset` between them.
        period_s: Time between calls of `act` [s].
        replan_every: n, from 1 to half the planner's horizon. It is the time that a search has, in periods.
        hold: `[A]`, sent when there is no plan. None where the world model's `action_type` says what it is: of "delta"
            it is zeros, or as near as the bounds allow; of "absolute" it is the model's `hold_action` for the call in
            which holding began, which is sent until there is a plan.
        margin_s: How long before it is needed a plan is to be ready [s]; None for a tenth of the period.
        warm_start: Whether a search starts from the plan before.
        wait_first: Whether the first `act` waits for its search, under the same deadline: nothing moves yet, so nothing
            is late. Otherwise it holds, and goes on holding until the first plan is there.

    Attributes:
        hold: The action that is sent when there is no plan; None where the world model says it for each context.
        held_count: Hold actions that were sent since `reset`.
        dropped_count: Plans that came when all their actions were past.
        latencies_s: How long each search took [s], that of dropped plans too.

    Raises:
        PlannerError: If an argument is not allowed, or nothing says what the hold action is; in `act`, if the
            planner's plans are shorter than 2 n, where it does not say before what its horizon is.
    """

    def __init__(
        self,
        planner: Planner,
        *,
        period_s: float,
        replan_every: int = 1,
        hold: Tensor | Sequence[float] | None = None,
        margin_s: float | None = None,
        warm_start: bool = True,
        wait_first: bool = True,
    ) -> None:
        check_planner("BackgroundPlanner", planner)
        _check_counts_no_calls(planner)
        self.planner = planner
        self.period_s = check_positive("period_s", period_s)
        self.replan_every = check_count("replan_every", replan_every)
        self.margin_s = _check_margin(margin_s, self.period_s)
        self.warm_start = warm_start
        self.wait_first = wait_first
        self.hold = _hold_action(planner, hold)
        horizon = find_attribute(planner, "horizon")
        if horizon is not None:
            self._check_horizon(horizon)
        self._thread: ThreadPoolExecutor | None = _new_thread()
        self._search: _Search | None = None
        self._forget()

    def __getstate__(self) -> dict[str, Any]:
        """The thread and its search are no state: a copy has a thread of its own, and begins its next search anew."""
        return vars(self) | {"_thread": self._thread is not None, "_search": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._thread = _new_thread() if state["_thread"] else None

    def _forget(self) -> None:
        self.held_count = self.dropped_count = 0
        self.latencies_s: list[float] = []
        self._plan: Plan | None = None
        self._held_at: Tensor | None = None  # the hold action `[B, A]` that is being sent
        self._seen = 0  # the step of the observation that the plan was made from
        self._step = 0  # of the last call, counted from 1

    @property
    def deadline_s(self) -> float:
        """Time that a search has [s]."""
        return self.replan_every * self.period_s - self.margin_s

    @property
    def latency(self) -> Latency:
        """How long the searches since `reset` took, as far as they are known to have ended."""
        return Latency.of(self.latencies_s, self._step)

    def act(self, context: Context, goal: Tensor, *, generators: Sequence[Generator]) -> Action:
        """Return the action for this step, without waiting for any search but the first (see `wait_first`).

        Args:
            context: What `model.encode` returned for B problems, as they are now.
            goal: `[B, N, D]`.
            generators: B different generators.

        Raises:
            PlannerError: If the batch changed without `reset`, or after `close`.
            Exception: What the search raised.
        """
        if self._thread is None:
            raise PlannerError(
                "act was called after close(), which ended the thread. Make a new BackgroundPlanner."
            )
        check_generators(generators)
        self._step += 1
        self._take_up()
        if self._plan is not None:
            check_batch(self._plan, len(generators))
        hold = _Hold(self, context, len(generators))
        if self._is_free():
            first = self.wait_first and self._plan is None
            self._search = self._begin(
                self._thread, context, goal, generators, hold, 0 if first else self.replan_every
            )
            if first:
                self.wait()
                self._take_up()
        chosen = self._at(self._step, hold)
        self.held_count += chosen.held
        self._held_at = chosen.action.clone() if chosen.held else None
        return chosen

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no search is under way, no longer than `timeout_s`, and return whether that is so."""
        return self._search is None or not wait_for([self._search.future], timeout_s).not_done

    def reset(self) -> None:
        """Wait until the search under way is over, and forget everything, an error of that search too."""
        self.wait()
        self._search = None
        self.planner.reset()
        self._forget()

    def close(self) -> None:
        """Wait until the search under way is over, and end the thread."""
        if self._thread is not None:
            self._thread.shutdown()
        self._thread = None

    def __enter__(self) -> BackgroundPlanner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def _is_free(self) -> bool:
        due = self._plan is None or self._step - self._seen >= self.replan_every
        return self._search is None and due

    def _at(self, step: int, hold: _Hold) -> Action:
        """Return what is carried out at a step, if no further plan comes."""
        plan, age = self._plan, step - self._seen
        if plan is not None and age < plan.actions.shape[1]:
            return Action(plan.actions[:, age].clone(), held=False, age=age, energy=plan.energy.clone())
        action = hold.action()
        return Action(action if plan is None else action.to(plan.actions), held=True)

    def _begin(
        self,
        thread: ThreadPoolExecutor,
        context: Context,
        goal: Tensor,
        generators: Sequence[Generator],
        hold: _Hold,
        lead: int,
    ) -> _Search:
        """Hand an observation to the thread; `lead` actions are carried out before its plan is used."""
        under_way = [self._at(self._step + i, hold).action for i in range(lead)]
        plan, age = self._plan, self._step - self._seen
        going_on = self.warm_start and plan is not None and age < plan.actions.shape[1]
        future = thread.submit(
            self._run,
            context,
            goal,
            generators=tuple(generators),
            deadline_s=self.deadline_s,
            warm_start=starts_of(plan, age) if plan is not None and going_on else None,
            prefix=torch.stack(under_way, dim=1) if under_way else None,
        )
        return _Search(self._step, lead, future)

    def _run(self, context: Context, goal: Tensor, **rest: Any) -> tuple[Plan, float]:
        started = time.perf_counter()
        with torch.no_grad():  # a thread begins with its own mode
            plan = self.planner.plan(context, goal, **rest)
            check_plan("BackgroundPlanner", plan, len(rest["generators"]))
            await_result(plan)
        return plan, time.perf_counter() - started

    def _take_up(self) -> None:
        """Go over to the plan that was sought, where it is there and its time has come."""
        search = self._search
        if search is None or not search.future.done():
            return
        age = self._step - search.step
        if age < search.lead and search.future.exception() is None:
            return
        self._search = None
        plan, seconds = search.future.result()
        self.latencies_s.append(seconds)
        self._check_horizon(plan.actions.shape[1])
        if age < plan.actions.shape[1]:
            self._plan, self._seen = plan, search.step
        else:
            self.dropped_count += 1

    def _check_horizon(self, horizon: int) -> None:
        if horizon < 2 * self.replan_every:
            raise PlannerError(
                f"replan_every is {self.replan_every}, but the planner's plans have {horizon} actions; allowed is at "
                "most half of that, since one half is carried out while the plan is made, and the other while the next "
                "one is. Lower replan_every or raise the planner's horizon."
            )


def _check_counts_no_calls(planner: Planner) -> None:
    """Check that no layer of a planner takes a call for a step: here a call is a search."""
    around: list[str] = []
    for layer in unwrap(planner):
        name = type(layer).__name__
        if isinstance(layer, RecedingHorizon | SubGoals):
            instead = (
                "replan_every" if isinstance(layer, RecedingHorizon) else "the goal whose turn it is to act"
            )
            where = "".join(f" within {outer}" for outer in reversed(around))
            raise PlannerError(
                f"BackgroundPlanner got a {name}, which counts its calls as steps{where and f',{where}'}; "
                f"allowed is a planner without {name}. Leave it out, and pass {instead} to BackgroundPlanner."
            )
        around.append(name)


def _check_margin(margin_s: float | None, period_s: float) -> float:
    if margin_s is None:
        return 0.1 * period_s
    if not is_number(margin_s) or not 0 <= margin_s < period_s:
        raise PlannerError(
            f"margin_s is {margin_s!r}; allowed is None or a time [s] of at least 0 and below "
            f"period_s={period_s:g}. Change margin_s."
        )
    return margin_s


@dataclass
class _Hold:
    """What holds the robots in one call of `act`, worked out when it is needed.

    Attributes:
        owner: Whose call it is.
        context: Of B problems.
        batch: B.
    """

    owner: BackgroundPlanner
    context: Context
    batch: int
    found: Tensor | None = None

    def action(self) -> Tensor:
        """Return the hold actions `[B, A]`: a tensor that nobody else writes into."""
        if self.owner.hold is not None:
            return self.owner.hold.repeat(self.batch, 1)
        if self.found is None:
            held = self.owner._held_at
            if held is not None and len(held) != self.batch:
                raise PlannerError(
                    f"act got {self.batch} problems while {len(held)} are held; allowed is the same batch until reset. "
                    "Call reset() when the batch changes."
                )
            self.found = self._from_model() if held is None else held
        return self.found.clone()

    def _from_model(self) -> Tensor:
        model = model_for_context(find_attribute(self.owner.planner, "model"), self.context)
        hold = read_hold(model, self.context, self.batch)
        if hold is None:
            raise PlannerError(
                f"There is no plan, and {type(model).__name__}, whose actions are targets, does not know which "
                "hold the robot for this context. Pass the hold action to BackgroundPlanner."
            )
        return hold


def _new_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="planner")


def _hold_action(planner: Planner, hold: Tensor | Sequence[float] | None) -> Tensor | None:
    """Return the hold action `[A]`, on the world model's device where one is found; None where the model says it later.

    Raises:
        PlannerError: If it is not allowed, or neither given nor told by what the model's actions are.
    """
    model = find_attribute(planner, "model")
    if hold is None:
        return _implied_hold(planner, model)
    given = read_action("hold", hold)
    if model is None:
        return given.float()
    low, high = read_bounds(model)
    given = given.to(low)
    if given.shape != low.shape or not bool(((given >= low - ROUNDING) & (given <= high + ROUNDING)).all()):
        raise PlannerError(
            f"hold is {given.tolist()}; allowed is an action [A] inside the world model's bounds, {low.tolist()} to "
            f"{high.tolist()}. Clip it, or leave it out where the model's action_type says what holds the robot."
        )
    return given.clamp(low, high)


def _implied_hold(planner: Planner, model: WorldModel | None) -> Tensor | None:
    if model is None:
        raise PlannerError(
            f"hold is None, and {type(planner).__name__} has no world model that says what its actions are; "
            "allowed is then an action [A]. Pass the action that stops the arm."
        )
    kind = action_type(model)
    if kind == "delta":
        low, high = read_bounds(model)
        return torch.zeros_like(low).clamp(low, high)
    if kind == "absolute" and isinstance(model, HoldingWorldModel):
        return None
    lacks = "declares no action_type" if kind is None else "has targets for actions, and no hold_action"
    raise PlannerError(
        f"hold is None, and {type(model).__name__} {lacks}: zeros would be a motion where actions are targets. Pass "
        "the action that stops the arm, or give the model action_type='delta', or 'absolute' with a hold_action."
    )

"""Planning in a background thread, for robots that need an action at every step. Shapes as in `planners.protocols`."""

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
    """The action to execute in this step.

    Attributes:
        action: `[B, A]`.
        held: Whether it is the hold action, because there is no plan.
        age: Steps since the observation of its plan; None if held.
        energy: Energy of its plan, `[B]`; None if held.
    """

    action: Tensor
    held: bool
    age: int | None = None
    energy: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Search:
    """A running search.

    Attributes:
        step: The step of its observation.
        lead: Steps after which its plan is used first.
        future: The plan, and the duration of the search [s].
    """

    step: int
    lead: int
    future: Future[tuple[Plan, float]]


class BackgroundPlanner:
    """Executes one plan while a thread computes the next, so that there is an action at every step.

    Call `act` once every `period_s` with the current observation. Each call is one step; there is no other clock,
    except for the planner's deadline. Every n = `replan_every` steps the latest observation is passed to a search,
    which must end n steps later, less a margin: that is its `deadline_s`. The n actions that will be executed until
    then are its `prefix`, so that the new plan continues the old one, and the old plan is its warm start. A plan is
    indexed by time: its action i is executed i steps after its observation, and action n is the first new one.

    If a plan is late, the old plan is continued until its end, K steps after its observation. After that the `hold`
    action is sent until a plan is available. The actions of a late plan whose time has passed are skipped, and a plan
    without remaining actions is dropped. A horizon of 2 n is the minimum; each further step is one step that a plan may
    be late. Observations are not queued while the thread is busy: the next search gets the observation of the first
    call after the thread is free.

    An error of the search is raised by the next `act`; that call counts as a step, too.

    Until `wait`, `reset` or `close` returns, the thread uses the context, the goal and the generators of the last
    calls: do not draw from them, modify them in place, or use the same planner elsewhere. The thread searches under
    `torch.no_grad`, and under no other mode of the caller (autocast, inference mode, streams). Contexts that were made
    in inference mode are allowed, except for planners that follow the gradient. All calls must come from one thread.

    If time stops between steps, as in a simulation, `wait` after each `act` makes results repeatable, provided that the
    deadline leaves time for the whole search.

    Args:
        planner: The planner that searches. No `RecedingHorizon`, whose work is done here, and no `SubGoals`, also not
            inside of another planner: they count calls as steps. Pass the current sub-goal to `act`, and call `reset`
            between sub-goals.
        period_s: Time between calls of `act` [s].
        replan_every: n, from 1 to half of the planner's horizon: the time of a search, in periods.
        hold: The action `[A]` that is sent if there is no plan. None if the world model's `action_type` defines it: for
            "delta" it is zeros, clipped to the action bounds; for "absolute" it is the model's `hold_action` for the
            call in which holding began, which is sent until there is a plan.
        margin_s: How long before its first use a plan must be ready [s]; None for a tenth of the period.
        warm_start: Whether a search starts from the previous plan.
        wait_first: Whether the first `act` waits for its search, under the same deadline: the arm does not move yet.
            Otherwise it sends the hold action until the first plan is available.

    Attributes:
        hold: The action that is sent if there is no plan; None if the world model defines it for each context.
        held_count: Hold actions sent since `reset`.
        dropped_count: Plans dropped because all their actions were past.
        latencies_s: Duration of each search [s], including those of dropped plans.

    Raises:
        PlannerError: If an argument is not allowed, or the hold action is not defined; in `act`, if the planner's plans
            are shorter than 2 n and its horizon was not known before.
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
        self._clear()

    def __getstate__(self) -> dict[str, Any]:
        """Return the state without the thread and its search: a copy has its own thread, and starts a new search."""
        return vars(self) | {"_thread": self._thread is not None, "_search": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._thread = _new_thread() if state["_thread"] else None

    def _clear(self) -> None:
        self.held_count = self.dropped_count = 0
        self.latencies_s: list[float] = []
        self._plan: Plan | None = None
        self._held_at: Tensor | None = None  # the current hold action `[B, A]`
        self._plan_step = 0  # the step of the plan's observation
        self._step = 0  # of the last call, counted from 1

    @property
    def deadline_s(self) -> float:
        """Time for a search [s]."""
        return self.replan_every * self.period_s - self.margin_s

    @property
    def latency(self) -> Latency:
        """The durations of the completed searches since `reset`."""
        return Latency.of(self.latencies_s, self._step)

    def act(self, context: Context, goal: Tensor, *, generators: Sequence[Generator]) -> Action:
        """Return the action for this step, without waiting for a search other than the first (see `wait_first`).

        Args:
            context: Return value of `model.encode` for the current observations of B problems.
            goal: `[B, N, D]`.
            generators: B different generators.

        Raises:
            PlannerError: If the batch changed without `reset`, or after `close`.
            Exception: The exception that the search raised.
        """
        if self._thread is None:
            raise PlannerError(
                "act was called after close(), which ended the thread. Make a new BackgroundPlanner."
            )
        check_generators(generators)
        self._step += 1
        self._adopt_plan()
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
                self._adopt_plan()
        chosen = self._at(self._step, hold)
        self.held_count += chosen.held
        self._held_at = chosen.action.clone() if chosen.held else None
        return chosen

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until no search is running, for at most `timeout_s`, and return whether none is running."""
        return self._search is None or not wait_for([self._search.future], timeout_s).not_done

    def reset(self) -> None:
        """Wait until the running search ends, and delete all state, including an error of that search."""
        self.wait()
        self._search = None
        self.planner.reset()
        self._clear()

    def close(self) -> None:
        """Wait until the running search ends, and end the thread."""
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
        due = self._plan is None or self._step - self._plan_step >= self.replan_every
        return self._search is None and due

    def _at(self, step: int, hold: _Hold) -> Action:
        """Return the action of a step, if no further plan is adopted before."""
        plan, age = self._plan, step - self._plan_step
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
        """Start a search in the thread; `lead` actions are executed before its plan is used."""
        executed = [self._at(self._step + i, hold).action for i in range(lead)]
        plan, age = self._plan, self._step - self._plan_step
        continues = self.warm_start and plan is not None and age < plan.actions.shape[1]
        future = thread.submit(
            self._run,
            context,
            goal,
            generators=tuple(generators),
            deadline_s=self.deadline_s,
            warm_start=starts_of(plan, age) if plan is not None and continues else None,
            prefix=torch.stack(executed, dim=1) if executed else None,
        )
        return _Search(self._step, lead, future)

    def _run(self, context: Context, goal: Tensor, **rest: Any) -> tuple[Plan, float]:
        started = time.perf_counter()
        with torch.no_grad():  # gradient mode is set for each thread
            plan = self.planner.plan(context, goal, **rest)
            check_plan("BackgroundPlanner", plan, len(rest["generators"]))
            await_result(plan)
        return plan, time.perf_counter() - started

    def _adopt_plan(self) -> None:
        """Use the plan of the completed search, if the step of its first use has come."""
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
            self._plan, self._plan_step = plan, search.step
        else:
            self.dropped_count += 1

    def _check_horizon(self, horizon: int) -> None:
        if horizon < 2 * self.replan_every:
            raise PlannerError(
                f"replan_every is {self.replan_every}, but the planner's plans have {horizon} actions; allowed is at "
                "most half of that, since one half is executed while the plan is computed, and the other while the "
                "next one is. Lower replan_every or raise the planner's horizon."
            )


def _check_counts_no_calls(planner: Planner) -> None:
    """Check that no wrapped planner counts calls as steps: here a call is a search."""
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
    """The hold actions of one call of `act`, computed at the first use.

    Attributes:
        owner: The planner.
        context: Context of B problems.
        batch: B.
        found: The hold actions `[B, A]`; None before the first use.
    """

    owner: BackgroundPlanner
    context: Context
    batch: int
    found: Tensor | None = None

    def action(self) -> Tensor:
        """Return a copy of the hold actions, `[B, A]`."""
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
    """Return the hold action `[A]`, on the world model's device if there is one; None if it depends on the context.

    Raises:
        PlannerError: If it is not allowed, or neither given nor defined by the model's `action_type`.
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
            f"{high.tolist()}. Clip it, or leave it out if the model's action_type defines the hold action."
        )
    return given.clamp(low, high)


def _implied_hold(planner: Planner, model: WorldModel | None) -> Tensor | None:
    if model is None:
        raise PlannerError(
            f"hold is None, and {type(planner).__name__} has no world model that defines the hold action; "
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

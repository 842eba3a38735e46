"""Planning in a thread while acting. No result depends on speed: tests control when searches end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from planners import (
    CEM,
    ICEM,
    MPPI,
    CategoricalCEM,
    GoalL1,
    GradientDescent,
    Plan,
    Planner,
    PlannerError,
    PredictiveSampling,
    ProposalPlanner,
    RecedingHorizon,
    SubGoals,
    make_generators,
)
from planners.registry import PLANNERS
from planners.wrappers.background import Action, BackgroundPlanner
from tests.planners.worlds import MOVES, GridWorld, PointWorld

LONG_S = 60.0
"""Nothing that is waited for takes so long."""


@dataclass
class Asked:
    """The arguments of a search."""

    context: float
    deadline_s: float | None
    warm_start: Tensor | None
    prefix: list[float] | None
    thread: threading.Thread
    grad: bool


@dataclass
class GatedPlanner:
    """Returns plans of numbered actions, 10 of the first search, 20 of the second, each after its gate was opened.

    Attributes:
        horizon: K; action i of search n is 10 n + i, but for the prefix.
        events: What started and ended, in order.
    """

    horizon: int
    kept: int = 0
    fails: set[int] = field(default_factory=set)
    asked: list[Asked] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    gate: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def reset(self) -> None:
        self.events.append("reset")

    def plan(
        self,
        context: float,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Plan:
        under_way = None if prefix is None else prefix[0, :, 0].tolist()
        thread, grad = threading.current_thread(), torch.is_grad_enabled()
        self.asked.append(Asked(context, deadline_s, warm_start, under_way, thread, grad))
        number = len(self.asked)
        self.events.append("begin")
        assert self.gate.acquire(timeout=LONG_S)
        self.events.append("end")
        if number in self.fails:
            raise ValueError(f"search {number} fails")
        numbers = 10.0 * number + torch.arange(self.horizon)
        if under_way is not None:
            numbers[: len(under_way)] = torch.tensor(under_way)
        actions = numbers.reshape(1, -1, 1).repeat(len(generators), 1, 1)
        kept = actions[:, None] + 100.0 * torch.arange(1, self.kept + 1).reshape(1, -1, 1, 1)
        energy = torch.full((len(generators),), float(number))
        return Plan(actions, energy, (), kept if self.kept else None)


class Arm:
    """Acts with numbered observations, and ends searches on request."""

    def __init__(self, planner: GatedPlanner, *, batch: int = 1, **options: object) -> None:
        self.planner = planner
        self.background = BackgroundPlanner(planner, period_s=1.0, **{"hold": [0.5], **options})  # type: ignore[arg-type]
        self.goal, self.generators = torch.zeros(batch, 1, 1), make_generators(list(range(batch)))
        self.step = 0

    def act(self, *, open_gate: bool = False) -> Action:
        """Act once; the first call of a planner that waits for it needs its gate opened."""
        self.step += 1
        if open_gate:
            self.planner.gate.release()
        return self.background.act(float(self.step), self.goal, generators=self.generators)

    def finish(self) -> None:
        """Let the running search end."""
        self.planner.gate.release()
        assert self.background.wait(LONG_S)

    def close(self) -> None:
        for _ in range(10):
            self.planner.gate.release()
        self.background.close()


@pytest.fixture
def arm() -> Iterator[Callable[..., Arm]]:
    """Return what makes arms; they are closed at the end, whatever happened."""
    made: list[Arm] = []

    def make(planner: GatedPlanner, *, batch: int = 1, **options: object) -> Arm:
        made.append(Arm(planner, batch=batch, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


MakeArm = Callable[..., Arm]


def brief(action: Action) -> tuple[float, bool, int | None]:
    return action.action[0, 0].item(), action.held, action.age


def test_plans_in_time_follow_each_other_without_gaps(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(4), replan_every=2)
    done = [brief(acting.act(open_gate=True))]
    for step in range(2, 9):
        done.append(brief(acting.act()))
        if step in (3, 5, 7):  # a search started, with this action and the next as its prefix
            acting.finish()
    planned = [10.0, 11.0, 12.0, 13.0, 22.0, 23.0, 32.0, 33.0]
    assert done == [(a, False, age) for a, age in zip(planned, [0, 1, 2, 3, 2, 3, 2, 3], strict=True)]
    asked = acting.planner.asked
    assert [a.context for a in asked] == [1.0, 3.0, 5.0, 7.0]
    assert [a.prefix for a in asked] == [None, [12.0, 13.0], [22.0, 23.0], [32.0, 33.0]]
    assert acting.background.held_count == acting.background.dropped_count == 0
    assert acting.background.latency.searches == 3  # the fourth one's plan has not been looked at
    assert acting.background.latency.calls == 8


def test_a_plan_that_comes_early_waits_for_its_time(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(6), replan_every=3)
    actions = [acting.act(open_gate=True)]
    for _ in range(3):
        actions.append(acting.act())
    acting.finish()
    actions += [acting.act() for _ in range(3)]
    assert [brief(a)[0] for a in actions] == [10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 23.0]
    assert [None if a.energy is None else a.energy.tolist() for a in actions] == [[1.0]] * 6 + [[2.0]]


def test_each_search_starts_from_the_shifted_plan_and_warm_starts(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(4, kept=1), batch=2, replan_every=2)
    acting.act(open_gate=True)
    for _ in range(2):
        acting.act()
    acting.finish()
    warm_start = acting.planner.asked[1].warm_start
    assert acting.planner.asked[0].warm_start is None
    assert warm_start is not None
    expected = [[12.0, 13.0, 13.0, 13.0], [112.0, 113.0, 113.0, 113.0]]
    assert warm_start[..., 0].tolist() == [expected, expected]


def test_without_warm_start_each_search_is_cold(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(2), warm_start=False)
    acting.act(open_gate=True)
    acting.act()
    acting.finish()
    assert [a.warm_start for a in acting.planner.asked] == [None, None]


def test_a_late_plan_continues_from_the_current_step(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(5), replan_every=2)
    done = [acting.act(open_gate=True)] + [acting.act() for _ in range(5)]
    # The plan of step 1 lasts until step 5; the one of step 3 was needed at step 5.
    assert [brief(a) for a in done[3:]] == [(13.0, False, 3), (14.0, False, 4), (0.5, True, None)]
    assert done[-1].energy is None
    assert acting.background.held_count == 1
    acting.finish()
    assert brief(acting.act()) == (24.0, False, 4)
    acting.finish()
    asked = acting.planner.asked[2]
    assert asked.context == 7.0
    assert asked.prefix == [24.0, 0.5]  # after the last action of the late plan there is none but to hold
    assert brief(acting.act()) == (0.5, True, None)
    assert brief(acting.act()) == (32.0, False, 2)
    assert acting.background.dropped_count == 0
    assert acting.background.held_count == 2


def test_a_plan_whose_every_action_is_past_is_dropped(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(4), replan_every=2)
    acting.act(open_gate=True)
    for _ in range(5):
        acting.act()
    assert acting.background.held_count == 2  # steps 5 and 6
    acting.finish()
    assert brief(acting.act()) == (0.5, True, None)  # step 7 is four steps after the observation of step 3
    assert acting.background.dropped_count == 1
    acting.finish()
    asked = acting.planner.asked[2]
    assert (asked.context, asked.prefix, asked.warm_start) == (7.0, [0.5, 0.5], None)
    assert [brief(acting.act()) for _ in range(2)] == [(0.5, True, None), (32.0, False, 2)]
    assert acting.background.held_count == 4
    assert acting.background.latency.searches == 3


def test_observations_are_not_queued(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(20))
    acting.act(open_gate=True)
    for _ in range(6):  # the search of step 2 continues during all of them
        acting.act()
    acting.finish()
    acting.act()
    acting.finish()
    assert [a.context for a in acting.planner.asked] == [1.0, 2.0, 8.0]


def test_the_deadline_is_the_time_when_the_plan_is_needed_minus_a_margin(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(6), replan_every=3, margin_s=0.25)
    acting.act(open_gate=True)
    for _ in range(3):
        acting.act()
    acting.finish()
    assert [a.deadline_s for a in acting.planner.asked] == [2.75, 2.75]
    assert arm(GatedPlanner(6), replan_every=3).background.deadline_s == pytest.approx(2.9)


def test_without_waiting_the_hold_action_is_sent_until_the_first_plan(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(4), batch=2, replan_every=2, wait_first=False)
    first = acting.act()
    assert first.action.tolist() == [[0.5], [0.5]]
    assert first.held
    acting.finish()
    assert acting.planner.asked[0].prefix == [0.5, 0.5]
    assert [brief(acting.act()) for _ in range(2)] == [(0.5, True, None), (12.0, False, 2)]


def test_an_error_of_the_search_is_raised_by_the_next_call(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(6, fails={2}), replan_every=2)
    acting.act(open_gate=True)
    for _ in range(2):
        acting.act()
    acting.finish()
    with pytest.raises(ValueError, match="search 2 fails"):
        acting.act()
    assert brief(acting.act()) == (14.0, False, 4)  # the call that raised was a step, too
    acting.finish()
    assert (acting.planner.asked[2].context, acting.planner.asked[2].prefix) == (5.0, [14.0, 15.0])
    assert [brief(acting.act())[0] for _ in range(2)] == [15.0, 32.0]


def test_an_error_of_the_first_search_is_raised_at_once(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(4, fails={1}))
    with pytest.raises(ValueError, match="search 1 fails"):
        acting.act(open_gate=True)
    assert brief(acting.act(open_gate=True)) == (20.0, False, 0)


def test_reset_waits_for_the_search_and_discards_its_plan(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(2))
    acting.act(open_gate=True)
    for _ in range(3):
        acting.act()
    assert acting.background.held_count == 2
    assert not acting.background.wait(0.0)
    resetting = threading.Thread(target=acting.background.reset)
    resetting.start()
    resetting.join(0.05)
    assert resetting.is_alive()
    acting.planner.gate.release()
    resetting.join(LONG_S)
    assert acting.planner.events == ["begin", "end", "begin", "end", "reset"]
    assert acting.background.held_count == 0
    assert acting.background.latency.calls == acting.background.latency.searches == 0
    assert brief(acting.act(open_gate=True)) == (30.0, False, 0)
    assert acting.planner.asked[2].warm_start is None


def test_reset_discards_an_error_too(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(2, fails={2}))
    acting.act(open_gate=True)
    acting.act()
    acting.finish()
    acting.background.reset()
    assert brief(acting.act(open_gate=True)) == (30.0, False, 0)


def test_the_search_runs_in_a_separate_thread_which_stops() -> None:
    planner = GatedPlanner(2)
    planner.gate.release()
    with BackgroundPlanner(planner, period_s=1.0, hold=[0.0]) as background:
        background.act(0.0, torch.zeros(1, 1, 1), generators=make_generators([0]))
        background.act(0.0, torch.zeros(1, 1, 1), generators=make_generators([0]))
        planner.gate.release()
    first, second = planner.asked
    assert first.thread is second.thread
    assert first.thread is not threading.current_thread()
    assert not first.thread.is_alive()
    assert not first.grad
    background.close()
    with pytest.raises(PlannerError, match=r"act was called after close\(\).*Make a new"):
        background.act(0.0, torch.zeros(1, 1, 1), generators=make_generators([0]))


def test_a_batch_that_changes_without_reset_is_refused(arm: MakeArm) -> None:
    acting = arm(GatedPlanner(2))
    acting.act(open_gate=True)
    acting.generators, acting.goal = make_generators([0, 1]), torch.zeros(2, 1, 1)
    with pytest.raises(PlannerError, match=r"got 2 problems while a plan for 1 is held.*Call reset\(\)"):
        acting.act()


WORLD = PointWorld([-0.075] * 3, [0.075] * 3)


def cem(world: PointWorld = WORLD, horizon: int = 4) -> CEM:
    return CEM(
        world,
        energy=GoalL1(1.0),
        horizon=horizon,
        num_samples=100,
        num_iterations=6,
        num_elites=10,
        momentum_mean=0.15,
        momentum_std=0.1,
    )


def proposing() -> Planner:
    """Its proposals are a straight path to the goal, in equal steps."""

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        return ((goal[:, 0] / WORLD.weights[0] - context) / 4)[:, None].expand(-1, 4, -1)

    few = ICEM(WORLD, energy=GoalL1(1.0), horizon=4, num_samples=16, num_iterations=2)
    return ProposalPlanner(few, propose)


REACHING: dict[str, Callable[[], Planner]] = {
    "cem": cem,
    "icem": lambda: ICEM(WORLD, energy=GoalL1(1.0), horizon=4, num_samples=60, num_iterations=4),
    "mppi": lambda: MPPI(WORLD, energy=GoalL1(1.0), horizon=4, num_samples=150, num_iterations=6),
    "gradient": lambda: GradientDescent(WORLD, energy=GoalL1(1.0), horizon=4, num_iterations=15, lr=0.2),
    "predictive": lambda: PredictiveSampling(
        WORLD, energy=GoalL1(1.0), horizon=4, num_samples=150, num_iterations=6, initial_std=0.2
    ),
    "proposing": proposing,
}


def closed_loop(background: BackgroundPlanner, steps: int, *, pushed_at: int = -1) -> tuple[Tensor, Tensor]:
    """Return the positions that 3 points reached and their goals, `[3, 3]`; searches end before the next step."""
    position = torch.zeros(3, 3)
    target = 0.4 * torch.rand(3, 3, generator=torch.Generator().manual_seed(1)) - 0.2
    goal, generators = WORLD.features(target), make_generators([0, 1, 2])
    for step in range(steps):
        if step == pushed_at:
            position = position + torch.tensor([0.1, -0.05, 0.05])
        action = background.act(position, goal, generators=generators)
        assert action.action.abs().max() <= 0.075
        position = position + action.action
        assert background.wait(LONG_S)
    return position, target


def test_every_planner_but_the_random_baseline_is_tested_here() -> None:
    assert set(REACHING) - {"proposing"} == set(PLANNERS) - {"random", "categorical_cem"}


def test_choices_reach_their_goals_on_a_grid() -> None:
    world, position = GridWorld(), torch.zeros(2, 2)
    target, generators = torch.tensor([[2.0, -1.0], [-1.0, 1.0]]), make_generators([0, 1])
    planner = CategoricalCEM(world, energy=GoalL1(1.0), horizon=3, num_samples=64, num_iterations=5)
    stay = torch.eye(len(MOVES))[0]
    with BackgroundPlanner(planner, period_s=LONG_S, hold=stay) as background:
        for _ in range(4):
            found = background.act(position, world.features(target), generators=generators)
            position = position + found.action @ MOVES
            assert background.wait(LONG_S)
        assert torch.equal(position, target)


@pytest.mark.parametrize("replan_every", [1, 2])
@pytest.mark.parametrize("name", REACHING)
def test_points_reach_their_goals(name: str, replan_every: int) -> None:
    with BackgroundPlanner(REACHING[name](), period_s=LONG_S, replan_every=replan_every) as background:
        reached, target = closed_loop(background, 8)
        assert target.norm(dim=1).min() > 0.05
        assert (reached - target).norm(dim=1).max() < 0.02
        assert background.held_count == background.dropped_count == 0


def test_points_reach_their_goals_despite_pushes_and_without_an_initial_plan() -> None:
    options = {"period_s": LONG_S, "replan_every": 2, "wait_first": False}
    with BackgroundPlanner(cem(), **options) as background:  # type: ignore[arg-type]
        reached, target = closed_loop(background, 13, pushed_at=6)
        assert (reached - target).norm(dim=1).max() < 0.02
        assert background.held_count == 2


def test_the_same_seeds_give_the_same_motion_and_reset_restarts() -> None:
    with BackgroundPlanner(cem(), period_s=LONG_S, replan_every=2) as background:
        first, _ = closed_loop(background, 6)
        background.reset()
        second, _ = closed_loop(background, 6)
    assert torch.equal(first, second)


def test_contexts_encoded_in_inference_mode_are_accepted() -> None:
    with torch.inference_mode():
        position, goal = torch.zeros(1, 3), WORLD.features(torch.full((1, 3), 0.1))
        with BackgroundPlanner(cem(), period_s=LONG_S) as background:
            for _ in range(3):
                position = position + background.act(position, goal, generators=make_generators([0])).action
                assert background.wait(LONG_S)
    assert (position - 0.1).abs().max() < 0.02


def test_the_hold_action_is_as_close_to_zero_as_the_bounds_allow() -> None:
    world = PointWorld([-0.1, 0.2, -0.3], [0.1, 0.3, -0.1])
    for planner in (cem(world), ProposalPlanner(cem(world), lambda context, goal: torch.zeros(1, 4, 3))):
        with BackgroundPlanner(planner, period_s=1.0) as background:
            assert background.hold is not None
            assert torch.equal(background.hold, torch.tensor([0.0, 0.2, -0.1]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"period_s": 0.0}, "period_s is 0.0; allowed is a finite number above 0"),
        ({"replan_every": 0}, "replan_every is 0; allowed is a whole number"),
        (
            {"replan_every": 3},
            "replan_every is 3, but the planner's plans have 4 actions; allowed is at most half",
        ),
        (
            {"margin_s": 1.0},
            "margin_s is 1.0; allowed is None or a time .* of at least 0 and below period_s=1",
        ),
        ({"period_s": "1"}, "period_s is '1'; allowed is a finite number above 0"),
        ({"margin_s": "0"}, "margin_s is '0'; allowed is None or a time"),
        ({"hold": [0.0, 0.0, 0.1]}, r"hold is \[0.0, 0.0, 0.10.*\]; allowed is an action \[A\] inside"),
        ({"hold": [0.0]}, r"hold is \[0.0\]; allowed is an action \[A\] inside the world model's bounds"),
    ],
)
def test_invalid_arguments_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        BackgroundPlanner(cem(), **{"period_s": 1.0, **options})  # type: ignore[arg-type]


def around(planner: Any) -> Planner:
    return ProposalPlanner(planner, lambda context, goal: torch.zeros(1, 4, 3))


@pytest.mark.parametrize(
    ("planner", "message"),
    [
        (
            RecedingHorizon(cem()),
            "got a RecedingHorizon, which counts its calls as steps; .*pass replan_every",
        ),
        (
            around(around(RecedingHorizon(cem()))),
            "got a RecedingHorizon, .* as steps, within ProposalPlanner within ProposalPlanner; "
            "allowed is a planner without",
        ),
        (
            SubGoals(cem()),
            "got a SubGoals, which counts its calls as steps; .*pass the goal whose turn it is",
        ),
        (around(SubGoals(cem())), "got a SubGoals, which counts its calls as steps, within ProposalPlanner"),
    ],
)
def test_a_planner_that_counts_calls_is_refused_at_any_nesting(planner: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        BackgroundPlanner(planner, period_s=1.0)


def test_a_planner_without_known_bounds_needs_a_hold_action() -> None:
    with pytest.raises(PlannerError, match="hold is None, and GatedPlanner has no world model"):
        BackgroundPlanner(GatedPlanner(2), period_s=1.0)


def test_plans_shorter_than_declared_are_refused(arm: MakeArm) -> None:
    planner = GatedPlanner(2)
    acting = arm(planner)
    planner.horizon = 1
    with pytest.raises(PlannerError, match="replan_every is 1, but the planner's plans have 1 actions"):
        acting.act(open_gate=True)

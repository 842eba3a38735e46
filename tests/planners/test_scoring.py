from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import CEM, Energy, GoalL1, PlannerError, make_generators
from planners.protocols import evaluate_energy, needs_states
from planners.scoring import LEAST_S, Deadline, Scorer
from tests.planners.worlds import ActionCost, WatchedWorld

ACTIONS = torch.linspace(-1.0, 1.0, 10).reshape(1, 10, 1, 1)
START = torch.zeros(1, 1)


class Sliced(WatchedWorld):
    """Declares the number of samples that it prefers at once."""

    best = 4

    def samples_at_once(self, context: Tensor, horizon: int) -> int:
        return self.best


def scorer(
    world: WatchedWorld, energy: Any, deadline_s: float | None = None, slice_size: int | None = None
) -> Scorer:
    return Scorer(world, energy, START, world.features(START), Deadline(deadline_s), slice_size)


@pytest.mark.parametrize(
    ("slice_size", "best", "expected"),
    [
        (None, 4, [4, 4, 2]),
        (None, 100, [10]),
        (None, 0, [1] * 10),
        (6, 4, [5, 5]),  # as even as may be
        (10, 4, [10]),
        (1000, 4, [10]),
    ],
)
def test_the_slice_size_is_the_option_or_the_models(
    slice_size: int | None, best: int, expected: list[int]
) -> None:
    world = Sliced([-1.0], [1.0])
    world.best = best
    energies = scorer(world, GoalL1(), slice_size=slice_size)(ACTIONS)
    assert [actions.shape[1] for actions in world.seen] == expected
    torch.testing.assert_close(
        energies, ACTIONS[:, :, 0, 0].abs()
    )  # the mean of the weights 0.5, 1, 1.5 is 1


def test_a_model_without_samples_at_once_gets_all_samples() -> None:
    world = WatchedWorld([-1.0], [1.0])
    scorer(world, GoalL1())(ACTIONS)
    assert [actions.shape[1] for actions in world.seen] == [10]


def test_energies_that_are_not_finite_count_as_infinite() -> None:
    values = torch.tensor([[1.0, torch.nan, torch.inf, -torch.inf]])
    energies = scorer(WatchedWorld([-1.0], [1.0]), ActionCost(lambda actions: values))(ACTIONS[:, :4])
    assert energies.tolist() == [[1.0, float("inf"), float("inf"), float("inf")]]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.int64, torch.float64),
    ],
)
def test_energies_keep_their_precision(given: torch.dtype, kept: torch.dtype) -> None:
    values = torch.tensor([[1, 2, 2**25 + 1]]).to(given)
    energies = scorer(WatchedWorld([-1.0], [1.0]), ActionCost(lambda actions: values))(ACTIONS[:, :3])
    assert energies.dtype == kept
    finite = torch.isfinite(values)
    assert torch.equal(energies[finite], values.to(kept)[finite])


def test_only_the_first_slice_runs_after_the_deadline() -> None:
    world = WatchedWorld([-1.0], [1.0])
    score = scorer(world, GoalL1(), deadline_s=1e-9, slice_size=3)
    for calls in (1, 2):
        assert score(ACTIONS)[0].isfinite().tolist() == [True] * 3 + [False] * 7
        assert len(world.seen) == calls


class Watch:
    """A clock that tests advance."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 5.0
        monkeypatch.setattr(time, "perf_counter", lambda: self.now_s)

    def batch(self, clock: Deadline, seconds: float, samples: int) -> None:
        self.now_s += seconds
        clock.record(torch.zeros(1, samples))


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    return Watch(monkeypatch)


def test_the_deadline_counts_as_passed_if_a_batch_would_not_end_in_time(watch: Watch) -> None:
    endless, clock = Deadline(None), Deadline(1.0)
    assert not clock.excludes(10**6)  # nothing is known yet
    watch.batch(clock, 0.3, samples=6)  # 0.05 s each
    endless.record(torch.zeros(1, 6))
    assert not clock.excludes(6)
    watch.now_s = 5.69
    assert [clock.excludes(samples) for samples in (1, 6, 7)] == [False, False, True]
    watch.now_s = 5.71
    assert [clock.excludes(samples) for samples in (1, 5, 6)] == [False, False, True]
    watch.now_s = 6.0001
    assert clock.excludes(1)
    assert not endless.excludes(10**6)


def test_a_single_slow_batch_has_no_lasting_effect(watch: Watch) -> None:
    clock = Deadline(1.0)
    watch.batch(clock, 0.6, samples=10)
    assert clock.excludes(10)
    watch.batch(clock, 0.1, samples=10)  # now at 0.7
    assert [clock.excludes(samples) for samples in (29, 31)] == [False, True]
    watch.batch(clock, 0.2, samples=10)  # now at 0.9: the quicker of the last two counts
    assert [clock.excludes(samples) for samples in (9, 11)] == [False, True]


def test_a_small_batch_is_expected_to_take_the_least_time_or_that_of_a_faster_large_one(watch: Watch) -> None:
    clock = Deadline(1.0)
    watch.batch(clock, 0.2, samples=1000)
    watch.now_s = 5.0 + 1.0 - 1.01 * LEAST_S
    assert not clock.excludes(1)
    watch.now_s = 5.0 + 1.0 - 0.99 * LEAST_S
    assert clock.excludes(1)
    clock = Deadline(0.003)
    watch.batch(clock, 0.001, samples=1000)
    assert not clock.excludes(1)


def test_a_slow_first_batch_leaves_time_for_fast_ones_and_the_final_mean(watch: Watch) -> None:
    class Warming(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            watch.now_s += 0.01 * actions.shape[1] + (0.0 if self.seen else 0.5)
            return super().rollout(context, actions)

    world = Warming([-1.0], [1.0])
    planner = CEM(world, energy=GoalL1(), num_samples=10, num_elites=5, num_iterations=99, answer="mean")
    plan = planner.plan(START, world.features(START), generators=make_generators([0]), deadline_s=1.55)
    # 0.6 s, then 0.1 s each until 1.5 s; the mean takes 0.01 s.
    assert [actions.shape[1] for actions in world.seen] == [10] * 10 + [1]
    assert torch.equal(plan.actions, world.seen[-1][:, 0])


def test_without_time_for_the_mean_the_best_sample_is_returned(watch: Watch) -> None:
    class Slow(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            watch.now_s += 1.0
            return super().rollout(context, actions)

    world = Slow([-1.0], [1.0])
    planner = CEM(world, energy=GoalL1(), num_samples=10, num_elites=5, num_iterations=1, answer="mean")
    plan = planner.plan(START, world.features(START), generators=make_generators([0]), deadline_s=1.0)
    assert len(world.seen) == 1
    assert plan.energy == plan.iterations[0].best_energy


class Stateful(WatchedWorld):
    """The state is the position."""

    def rollout_with_states(self, context: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rollout(context, actions), context[:, None, None] + actions.cumsum(dim=2)


class StateCost:
    needs_states = True

    def __call__(
        self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor | None = None
    ) -> Tensor:
        assert states is not None
        return states[:, :, -1].square().sum(-1)


def test_energies_that_need_states_get_them() -> None:
    energies = scorer(Stateful([-1.0], [1.0]), StateCost())(ACTIONS)
    torch.testing.assert_close(energies, ACTIONS[:, :, 0, 0].square())


def test_a_model_without_states_is_refused_by_energies_that_need_them() -> None:
    with pytest.raises(PlannerError, match="StateCost needs the imagined states, and WatchedWorld has no"):
        scorer(WatchedWorld([-1.0], [1.0]), StateCost())(ACTIONS)


def test_a_model_that_returns_energies_is_asked_for_energies() -> None:
    class WithEnergies(WatchedWorld):
        def rollout_energies(self, energy: Energy, context: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            return 10 * energy(self.rollout(context, actions), goal, actions)

    energies = scorer(WithEnergies([-1.0], [1.0]), GoalL1())(ACTIONS)
    torch.testing.assert_close(energies, 10 * ACTIONS[:, :, 0, 0].abs())


def test_a_model_attribute_named_energy_is_ignored() -> None:
    class Charged(WatchedWorld):
        energy = 0.7

    world = Charged([-1.0], [1.0])
    torch.testing.assert_close(scorer(world, GoalL1())(ACTIONS), ACTIONS[:, :, 0, 0].abs())


def test_an_energy_is_called_with_states_only_if_it_needs_them() -> None:
    states = torch.tensor([[[[3.0]], [[-2.0]]]])
    actions = torch.tensor([[[[0.5]], [[0.25]]]])
    plain = ActionCost(lambda actions: actions[:, :, 0, 0])
    assert needs_states(StateCost())
    assert not needs_states(plain)
    assert evaluate_energy(StateCost(), actions, actions, actions, states).tolist() == [[9.0, 4.0]]
    assert evaluate_energy(plain, actions, actions, actions, states).tolist() == [[0.5, 0.25]]

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import GoalL1, Objective, PlannerError
from planners.scoring import Clock, Scorer
from tests.planners.worlds import ActionCost, WatchedWorld

ACTIONS = torch.linspace(-1.0, 1.0, 10).reshape(1, 10, 1, 1)
START = torch.zeros(1, 1)


class Sliced(WatchedWorld):
    """Knows how much it imagines best at once."""

    best = 4

    def samples_at_once(self, context: Tensor, horizon: int) -> int:
        return self.best


def scorer(
    world: WatchedWorld, objective: Any, deadline_s: float | None = None, slice_size: int | None = None
) -> Scorer:
    return Scorer(world, objective, START, world.features(START), Clock(deadline_s), slice_size)


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
def test_slices_are_what_was_asked_or_what_the_model_likes(
    slice_size: int | None, best: int, expected: list[int]
) -> None:
    world = Sliced([-1.0], [1.0])
    world.best = best
    energies = scorer(world, GoalL1(), slice_size=slice_size)(ACTIONS)
    assert [actions.shape[1] for actions in world.seen] == expected
    torch.testing.assert_close(
        energies, ACTIONS[:, :, 0, 0].abs()
    )  # the mean of the weights 0.5, 1, 1.5 is 1


def test_a_model_without_a_word_of_its_own_gets_all_at_once() -> None:
    world = WatchedWorld([-1.0], [1.0])
    scorer(world, GoalL1())(ACTIONS)
    assert [actions.shape[1] for actions in world.seen] == [10]


def test_nan_is_infinite_and_infinite_stays() -> None:
    values = torch.tensor([[1.0, torch.nan, torch.inf]], dtype=torch.float64)
    energies = scorer(WatchedWorld([-1.0], [1.0]), ActionCost(lambda actions: values))(ACTIONS[:, :3])
    assert energies.dtype == torch.float32
    assert energies.tolist() == [[1.0, float("inf"), float("inf")]]


def test_the_first_slice_of_a_call_always_runs_and_no_further_one_when_time_is_up() -> None:
    world = WatchedWorld([-1.0], [1.0])
    score = scorer(world, GoalL1(), deadline_s=1e-9, slice_size=3)
    for calls in (1, 2):
        assert score(ACTIONS)[0].isfinite().tolist() == [True] * 3 + [False] * 7
        assert len(world.seen) == calls


def test_a_clock_is_up_when_the_longest_batch_would_not_end_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [5.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])
    endless, clock = Clock(None), Clock(1.0)
    up = []
    for at_s, ended in ((5.3, False), (5.3, True), (5.5, True), (5.69, False), (5.71, False), (7.0, True)):
        now_s[0] = at_s
        if ended:
            clock.tick(torch.zeros(1, 1))
            endless.tick(torch.zeros(1, 1))
        up.append(clock.is_up())
        assert not endless.is_up()
    # The longest batch takes 0.3 s, so that none is begun after 0.7 s.
    assert up == [False, False, False, False, True, True]


class Stateful(WatchedWorld):
    """The state is the position."""

    def rollout_with_states(self, context: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rollout(context, actions), context[:, None, None] + actions.cumsum(dim=2)


class StateCost:
    needs_states = True

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor) -> Tensor:
        return states[:, :, -1].square().sum(-1)


def test_objectives_that_need_states_get_them() -> None:
    energies = scorer(Stateful([-1.0], [1.0]), StateCost())(ACTIONS)
    torch.testing.assert_close(energies, ACTIONS[:, :, 0, 0].square())


def test_a_model_without_states_is_refused_by_objectives_that_need_them() -> None:
    with pytest.raises(PlannerError, match="StateCost needs the imagined states, and WatchedWorld has no"):
        scorer(WatchedWorld([-1.0], [1.0]), StateCost())(ACTIONS)


def test_a_model_that_judges_itself_is_asked_for_energies() -> None:
    class Judging(WatchedWorld):
        def energy(self, objective: Objective, context: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            return 10 * objective(self.rollout(context, actions), goal, actions)

    energies = scorer(Judging([-1.0], [1.0]), GoalL1())(ACTIONS)
    torch.testing.assert_close(energies, 10 * ACTIONS[:, :, 0, 0].abs())

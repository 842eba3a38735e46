from __future__ import annotations

import pytest
import torch

from planners import GoalL1, PlannerError


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """B=1, S=2, K=2, N=1, D=2: distances (1, 3) for the first sample and (5, 0) for the second."""
    goal = torch.tensor([[[1.0, -1.0]]])
    first = [[[2.0, 0.0]], [[4.0, -4.0]]]
    second = [[[6.0, 4.0]], [[1.0, -1.0]]]
    return torch.tensor([[first, second]]), goal, torch.zeros(1, 2, 2, 3)


@pytest.mark.parametrize(
    ("discount", "expected"),
    [(0.0, [3.0, 0.0]), (1.0, [2.0, 2.5]), (0.5, [(0.5 * 1 + 3) / 1.5, 0.5 * 5 / 1.5])],
)
def test_energy_is_the_equation_worked_by_hand(discount: float, expected: list[float]) -> None:
    predicted, goal, actions = example()
    torch.testing.assert_close(GoalL1(discount)(predicted, goal, actions), torch.tensor([expected]))


def test_energy_of_a_problem_does_not_depend_on_the_batch() -> None:
    # Large enough for the reduction to be split between threads, where a whole-batch mean would differ.
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(4, 1, 2, 256, 192, generator=generator)
    goal = torch.randn(4, 256, 192, generator=generator)
    actions = torch.zeros(4, 1, 2, 7)
    together = GoalL1(0.9)(predicted, goal, actions)
    alone = [GoalL1(0.9)(predicted[b : b + 1], goal[b : b + 1], actions[b : b + 1]) for b in range(4)]
    assert torch.equal(together, torch.cat(alone))


def test_half_precision_predictions_are_compared_in_float32() -> None:
    predicted, goal, actions = example()
    energy = GoalL1()(predicted.bfloat16(), goal, actions)
    assert energy.dtype == torch.float32
    assert energy.tolist() == [[3.0, 0.0]]


def test_a_goal_of_another_width_is_refused() -> None:
    predicted, _, actions = example()
    with pytest.raises(
        PlannerError, match=r"predictions of shape \(1, 2, 2, 1, 2\) and a goal of shape \(1, 1, 5\)"
    ):
        GoalL1()(predicted, torch.zeros(1, 1, 5), actions)


def test_a_discount_outside_its_range_is_refused() -> None:
    with pytest.raises(PlannerError, match=r"discount=1\.5; it allows numbers from 0"):
        GoalL1(1.5)

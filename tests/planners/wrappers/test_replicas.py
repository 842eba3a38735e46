from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import (
    CEM,
    CategoricalCEM,
    GoalL1,
    GradientDescent,
    Planner,
    PlannerError,
    RandomShooting,
    Replicas,
    make_generators,
)
from planners.protocols import Plan, WorldModel
from planners.registry import PLANNERS
from tests.planners.worlds import GridWorld, WatchedWorld

LOW, HIGH = [-0.5, -0.2], [0.5, 0.7]
STARTS = torch.tensor([[0.0, 0.1], [0.4, -0.3]])
TARGETS = torch.tensor([[0.7, 0.0], [-0.2, 0.3]])


def copies(count: int) -> tuple[list[WatchedWorld], Replicas]:
    worlds = [WatchedWorld(LOW, HIGH) for _ in range(count)]
    return worlds, Replicas(worlds)


def solve(kind: Callable[..., Planner], model: WorldModel, energy: Any = None) -> Plan:
    planner: Planner = kind(model, energy=energy or GoalL1(1.0), horizon=3, num_samples=21, num_iterations=4)
    context = model.encode(torch.empty(0), STARTS[:, None])
    goal = WatchedWorld(LOW, HIGH).features(TARGETS)
    return planner.plan(context, goal, generators=make_generators([0, 1]))


@pytest.mark.parametrize("name", PLANNERS)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_replicas_give_the_plan_of_a_single_model_bit_by_bit(name: str, count: int) -> None:
    kind = PLANNERS[name].load()
    world = GridWorld if kind is CategoricalCEM else partial(WatchedWorld, LOW, HIGH)
    alone, together = solve(kind, world()), solve(kind, Replicas([world() for _ in range(count)]))
    assert torch.equal(together.actions, alone.actions)
    assert torch.equal(together.energy, alone.energy)
    for mine, theirs in zip(together.iterations, alone.iterations, strict=True):
        assert torch.equal(mine.samples, theirs.samples)
        assert torch.equal(mine.energies, theirs.energies)


def test_samples_are_distributed_evenly() -> None:
    worlds, replicas = copies(2)
    solve(RandomShooting, replicas)
    assert [[actions.shape[1] for actions in world.seen] for world in worlds] == [[11] * 4, [10] * 4]


@pytest.mark.parametrize(("kind", "graph"), [(CEM, False), (GradientDescent, True)])
def test_copies_keep_a_graph_only_where_the_planner_asks_for_it(kind: type[Any], graph: bool) -> None:
    class Asking(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            modes.append(torch.is_grad_enabled())
            return super().rollout(context, actions)

    modes: list[bool] = []
    solve(kind, Replicas([Asking(LOW, HIGH), Asking(LOW, HIGH)]))
    # Where the last step led, or the last mean, is imagined by one of them or both, and without a graph.
    assert set(modes[:8]) == {graph}
    assert set(modes[8:]) == {False}


def test_one_sample_is_predicted_by_one_copy() -> None:
    worlds, replicas = copies(3)
    actions = torch.zeros(2, 1, 3, 2)
    context = replicas.encode(torch.empty(0), STARTS[:, None])
    assert torch.equal(replicas.rollout(context, actions), worlds[0].rollout(STARTS, actions))
    assert [len(world.seen) for world in worlds] == [2, 0, 0]


def test_predictions_come_back_in_order() -> None:
    worlds, replicas = copies(2)
    actions = torch.randn(2, 7, 3, 2, generator=torch.Generator().manual_seed(0))
    context = replicas.encode(torch.empty(0), STARTS[:, None])
    assert torch.equal(replicas.rollout(context, actions), worlds[0].rollout(STARTS, actions))


class Stateful(WatchedWorld):
    def rollout_with_states(self, context: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rollout(context, actions), context[:, None, None] + actions.cumsum(dim=2)

    best = 5

    def samples_at_once(self, context: Tensor, horizon: int) -> int:
        return self.best


class StateCost:
    needs_states = True

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor, *, states: Tensor) -> Tensor:
        return (states[:, :, -1] - TARGETS[:, None]).square().sum(-1)


def test_energies_that_need_states_get_them_from_each_copy() -> None:
    worlds = [Stateful(LOW, HIGH) for _ in range(2)]
    alone, together = solve(CEM, worlds[0], StateCost()), solve(CEM, Replicas(worlds), StateCost())
    assert torch.equal(together.actions, alone.actions)
    reached = STARTS + together.actions.sum(dim=1)
    torch.testing.assert_close(together.energy, (reached - TARGETS).square().sum(-1))


def test_slices_have_the_preferred_size_of_all_copies_together() -> None:
    worlds = [Stateful(LOW, HIGH) for _ in range(2)]
    solve(RandomShooting, Replicas(worlds))
    # 21 samples, 10 at once: three slices of 7.
    assert [[actions.shape[1] for actions in world.seen[:3]] for world in worlds] == [[4] * 3, [3] * 3]


@pytest.mark.parametrize("bests", [(2, 8), (8, 2), (2, None)])
def test_no_copy_gets_more_samples_than_it_prefers(bests: tuple[int, int | None]) -> None:
    worlds: list[WatchedWorld] = []
    for best in bests:
        worlds.append(WatchedWorld(LOW, HIGH) if best is None else Stateful(LOW, HIGH))
        worlds[-1].best = best  # type: ignore[attr-defined]
    solve(RandomShooting, Replicas(worlds))
    # 21 samples, 4 at once: in slices of 4, 2 for each.
    assert [world.seen[0].shape[1] for world in worlds] == [2, 2]
    assert max(actions.shape[1] for world in worlds for actions in world.seen) == 2


def test_a_copy_always_uses_the_same_thread() -> None:
    class Placed(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            threads.setdefault(id(self), set()).add(threading.get_ident())
            return super().rollout(context, actions)

    # The slower of two is the first to be asked next time, and the last to be free.
    threads: dict[int, set[int]] = {}
    solve(CEM, Replicas([Placed(LOW, HIGH, pause_s=0.01), Placed(LOW, HIGH)]))
    first, second = threads.values()
    assert len(first) == len(second) == 1
    assert first != second


def test_further_arguments_of_encode_reach_every_copy() -> None:
    class Further(WatchedWorld):
        def encode(
            self, frames: Tensor, states: Tensor | None, extrinsics: Any = None, actions: Any = None
        ) -> Tensor:
            return super().encode(frames, states) + extrinsics + 10 * actions

    replicas = Replicas([Further(LOW, HIGH) for _ in range(2)])
    for context in replicas.encode(torch.empty(0), STARTS[:, None], 1.0, actions=2.0):
        torch.testing.assert_close(context, STARTS + 21.0)


def replica_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("replica")]


def test_close_stops_the_threads_and_later_calls_are_refused() -> None:
    before = replica_threads()
    with copies(2)[1] as replicas:
        solve(CEM, replicas)
        started = [thread for thread in replica_threads() if thread not in before]
        assert len(started) == 2
    assert not any(thread.is_alive() for thread in started)
    replicas.close()
    with pytest.raises(PlannerError, match=r"after close\(\), which ended their threads"):
        solve(CEM, replicas)


def test_threads_of_unreferenced_replicas_stop() -> None:
    before = replica_threads()
    solve(CEM, copies(2)[1])
    started = [thread for thread in replica_threads() if thread not in before]
    gc.collect()
    for thread in started:
        thread.join(timeout=10.0)
        assert not thread.is_alive()


def test_an_error_in_a_copy_is_raised_after_the_others_have_finished() -> None:
    class Broken(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            raise RuntimeError("out of memory on the first device")

    class Slow(WatchedWorld):
        ended = 0

        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            predicted = super().rollout(context, actions)
            self.ended += 1
            return predicted

    slow = Slow(LOW, HIGH, pause_s=0.05)
    with pytest.raises(RuntimeError, match="out of memory on the first device"):
        solve(CEM, Replicas([Broken(LOW, HIGH), slow]))
    assert slow.ended == 1


def test_an_error_in_a_copy_reaches_the_caller() -> None:
    class Broken(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            raise RuntimeError("out of memory on the second device")

    replicas = Replicas([WatchedWorld(LOW, HIGH), Broken(LOW, HIGH)])
    with pytest.raises(RuntimeError, match="out of memory on the second device"):
        solve(CEM, replicas)


def test_a_wrong_shape_of_a_copy_is_reported() -> None:
    class Short(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            return super().rollout(context, actions)[:, :, :-1]

    with pytest.raises(PlannerError, match=r"shape \(2, 10, 2, 3, 2\) for actions of shape \(2, 10, 3, 2\)"):
        solve(CEM, Replicas([WatchedWorld(LOW, HIGH), Short(LOW, HIGH)]))


def test_models_with_different_bounds_are_refused() -> None:
    with pytest.raises(
        PlannerError, match=r"2 world models with the bounds .*-0\.25.*allowed are copies of one"
    ):
        Replicas([WatchedWorld([-0.5], [0.5]), WatchedWorld([-0.25], [0.5])])
    with pytest.raises(PlannerError, match="got 0 world models"):
        Replicas([])

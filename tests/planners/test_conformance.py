"""One suite over every planner of the registry: shapes, bounds, randomness, warm starts, deadlines, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import GoalL1, Plan, Planner, PlannerError, RecedingHorizon, make_generators
from planners.config import GaussianSearchConfig
from planners.protocols import Energy, WorldModel
from planners.registry import PLANNERS
from tests.planners.worlds import ActionCost, PointWorld, WatchedWorld, moved

LOW, HIGH = [-0.1, -0.2, 0.3, -0.05], [0.1, 0.1, 0.3, 0.15]
HORIZON, SAMPLES, ITERATIONS = (
    3,
    39,
    4,
)  # an odd number: the remainders of vectorised loops are at other positions in a batch

Make = Callable[..., Planner]


def maker(kind: Callable[..., Planner], **settings: Any) -> Make:
    """Return what makes a planner of a model, an energy and further options."""

    def make(model: WorldModel, energy: Energy, **options: Any) -> Planner:
        sizes = {"horizon": HORIZON, "num_samples": SAMPLES, "num_iterations": ITERATIONS}
        return kind(model, energy=energy, **{**sizes, **settings, **options})

    return make


def receding(make: Make) -> Make:
    return lambda *args, **options: RecedingHorizon(make(*args, **options))


SETTINGS: dict[str, dict[str, Any]] = {
    "cem": {"num_elites": 5, "momentum_mean": 0.15, "momentum_std": 0.75},
    "icem": {"num_elites": 5, "reused_elites": 0.5},
}
"""Options of planners that are not tested with their defaults."""

KINDS: dict[str, Make] = {
    name: maker(entry.load(), **SETTINGS.get(name, {}))
    for name, entry in PLANNERS.items()
    if name != "categorical_cem"  # of choices, not numbers: tests/planners/algorithms/test_categorical_cem.py
}
RECEDING: dict[str, Make] = {f"receding_{name}": receding(KINDS[name]) for name in ("cem", "icem")}
EVERY = KINDS | RECEDING
SAMPLING = {name: make for name, make in EVERY.items() if name != "gradient"}
"""The planners that need no gradient of the world model."""

GAUSSIAN = [name for name, entry in PLANNERS.items() if issubclass(entry.config, GaussianSearchConfig)]


@pytest.fixture(params=EVERY.values(), ids=list(EVERY))
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def problems(count: int) -> tuple[PointWorld, Tensor, Tensor]:
    """Return a world, contexts `[B, 4]` and goals `[B, N, 4]`, all different."""
    world = PointWorld(LOW, HIGH)
    generator = torch.Generator().manual_seed(7)
    starts = torch.rand(count, 4, generator=generator)
    goals = starts + 0.4 * torch.randn(count, 4, generator=generator)
    return world, starts, world.features(goals)


def solve(make: Make, seeds: list[int], options: dict[str, Any] | None = None, **asked: Any) -> Plan:
    """Plan for one problem per seed; `options` are of the planner, the rest of `plan`."""
    world, starts, goals = problems(len(seeds))
    planner = make(world, GoalL1(1.0), **(options or {}))
    return planner.plan(starts, goals, generators=make_generators(seeds), **asked)


def sequences(plan: Plan) -> list[Tensor]:
    """Return the plan, its warm starts and all samples of a search, each `[B, S, K, A]`."""
    kept = [] if plan.warm_starts is None else [plan.warm_starts]
    return [plan.actions[:, None], *kept, *(t.samples for t in plan.iterations)]


def within(actions: Tensor) -> bool:
    return bool((actions >= torch.tensor(LOW)).all() and (actions <= torch.tensor(HIGH)).all())


def equal(first: Plan, second: Plan, of: int, batch: int) -> bool:
    """Whether problem `of` of `batch` in the second plan is, bit for bit, the first plan's only problem."""
    mine, theirs = (
        [
            p.actions,
            p.energy,
            *([] if p.warm_starts is None else [p.warm_starts]),
            *(v for t in p.iterations for v in vars(t).values()),
        ]
        for p in (first, second)
    )
    assert all(len(m) == 1 and len(t) == batch for m, t in zip(mine, theirs, strict=True))
    return all(torch.equal(m[0], t[of]) for m, t in zip(mine, theirs, strict=True))


# The returned plan.


def test_shapes_and_energy_of_the_returned_actions(make: Make) -> None:
    world, starts, goals = problems(2)
    plan = make(world, GoalL1()).plan(starts, goals, generators=make_generators([0, 1]))
    assert plan.actions.shape == (2, HORIZON, 4)
    assert len(plan.iterations) == ITERATIONS
    again = GoalL1()(world.rollout(starts, plan.actions[:, None]), goals, plan.actions[:, None])
    assert torch.equal(again[:, 0], plan.energy)


def test_iterations_record_the_samples_and_their_energies(make: Make) -> None:
    world, starts, goals = problems(2)
    plan = make(world, GoalL1()).plan(starts, goals, generators=make_generators([0, 1]))
    for t in plan.iterations:
        tried = t.samples.shape[1]
        assert t.samples.shape == (2, tried, HORIZON, 4)
        assert t.energies.shape == t.selected.shape == (2, tried)
        assert t.selected.dtype == torch.bool
        assert bool(t.selected.any(dim=1).all())
        assert t.best_energy.shape == t.mean_energy.shape == t.spread.shape == (2,)
        assert torch.equal(t.energies, GoalL1()(world.rollout(starts, t.samples), goals, t.samples))
        assert torch.equal(t.best_energy, t.energies.amin(dim=1))
        torch.testing.assert_close(t.mean_energy, t.energies.mean(dim=1))
        assert bool((t.spread > 0).all())
    assert plan.iterations[0].samples.shape[1] == SAMPLES
    assert bool((plan.energy <= torch.stack([t.best_energy for t in plan.iterations]).amin(dim=0)).all())


def test_a_plan_has_no_autograd_graph(make: Make) -> None:
    world, starts, goals = problems(1)
    world.weights.requires_grad_()
    plan = make(world, GoalL1()).plan(starts, goals.detach(), generators=make_generators([0]))
    values = [*sequences(plan), plan.energy, *(v for t in plan.iterations for v in vars(t).values())]
    assert not any(v.requires_grad for v in values)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_actions_have_the_type_of_the_bounds_and_energies_that_of_the_energy(
    make: Make, dtype: torch.dtype
) -> None:
    _, starts, goals = problems(2)
    world = moved(PointWorld(LOW, HIGH), dtype)
    energy = ActionCost(lambda actions: (actions - 0.7).square().sum((-1, -2)))
    plan = make(world, energy).plan(starts.to(dtype), goals.to(dtype), generators=make_generators([0, 1]))
    low, high = (torch.tensor(bound).to(dtype) for bound in (LOW, HIGH))
    assert all(s.dtype == dtype for s in sequences(plan))
    assert all(bool((s >= low).all() and (s <= high).all()) for s in sequences(plan))
    assert plan.energy.dtype == plan.iterations[0].energies.dtype == dtype
    torch.testing.assert_close(plan.energy, energy(goals, goals, plan.actions))


@pytest.mark.gpu
def test_a_world_on_an_accelerator_is_planned_for_there(make: Make) -> None:
    world, starts, goals = problems(2)
    here = make(world, GoalL1(1.0)).plan(starts, goals, generators=make_generators([0, 1]))
    device = torch.device("cuda")
    world, starts, goals = moved(world, device), starts.to(device), goals.to(device)
    there = make(world, GoalL1(1.0)).plan(starts, goals, generators=make_generators([0, 1]), deadline_s=60.0)
    assert all(s.device.type == "cuda" and within(s.cpu()) for s in sequences(there))
    torch.testing.assert_close(there.iterations[0].samples.cpu(), here.iterations[0].samples)
    torch.testing.assert_close(there.energy.cpu(), here.energy, rtol=0.05, atol=1e-3)


# Action bounds.


def test_actions_stay_within_bounds_when_the_goal_is_out_of_reach(make: Make) -> None:
    world, starts, _ = problems(3)
    far = world.features(starts + torch.tensor([100.0, -100.0, 100.0, 100.0]))
    plan = make(world, GoalL1()).plan(starts, far, generators=make_generators([0, 1, 2]))
    assert within(plan.actions)
    # Far away on each axis, the best action is a corner of the box.
    assert plan.actions[..., 0].mean() > 0.4 * HIGH[0]
    assert plan.actions[..., 1].mean() < 0.4 * LOW[1]


def test_all_samples_are_within_the_action_bounds(make: Make) -> None:
    _, starts, goals = problems(1)
    world = WatchedWorld(LOW, HIGH)
    plan = make(world, GoalL1()).plan(starts, goals, generators=make_generators([0]))
    assert len(world.seen) >= ITERATIONS
    assert all(within(actions) for actions in world.seen + sequences(plan))


def test_a_frozen_axis_keeps_its_value_exactly(make: Make) -> None:
    assert all(bool((s[..., 2] == torch.tensor(0.3)).all()) for s in sequences(solve(make, [0, 1])))


def test_bounds_of_zero_width_leave_one_plan(make: Make) -> None:
    # The mean of equal numbers may round to a neighbour of theirs, outside a box that is one point.
    values = [0.1 * i + 0.013 for i in range(30)]
    planner = make(PointWorld(values, values), GoalL1())
    plan = planner.plan(torch.zeros(1, 30), torch.zeros(1, 3, 30), generators=make_generators([0]))
    assert all(bool((s == torch.tensor(values)).all()) for s in sequences(plan))


def test_fixed_axes_keep_their_values_exactly_and_the_others_are_searched(make: Make) -> None:
    plan = solve(make, [0, 1], {"fixed": {0: 0.05, 3: (None, 0.1, None)}})
    for s in sequences(plan):
        assert bool((s[..., 0] == torch.tensor(0.05)).all())
        assert bool((s[:, :, 1, 3] == torch.tensor(0.1)).all())
    searched = plan.iterations[0].samples.std(dim=1) > 0.01
    expected = [[False, True, False, True], [False, True, False, False], [False, True, False, True]]
    assert torch.equal(searched, torch.tensor([expected] * 2))


def test_every_sequence_starts_with_the_prefix(make: Make) -> None:
    prefix = torch.tensor([[[0.02, -0.11, 0.3, 0.15]], [[-0.1, 0.1, 0.3, 0.07]]])  # two values are bounds
    plan = solve(make, [0, 1], {"fixed": {1: (0.0, 0.05, None)}}, prefix=prefix)
    for s in sequences(plan):
        assert torch.equal(s[:, :, :1], prefix[:, None].expand(-1, s.shape[1], -1, -1))
        assert bool((s[:, :, 1, 1] == torch.tensor(0.05)).all())
    searched = plan.iterations[0].samples.std(dim=1) > 0.01
    expected = [[False] * 4, [True, False, False, True], [True, True, False, True]]
    assert torch.equal(searched, torch.tensor([expected] * 2))


# Randomness.


def test_same_seed_same_plan_other_seed_other_plan(make: Make) -> None:
    first, same, other = (solve(make, [seed]) for seed in (3, 3, 4))
    assert equal(first, same, 0, 1)
    assert not torch.equal(first.actions, other.actions)


def test_a_plan_is_bit_equal_alone_and_in_a_batch_of_sixteen(make: Make) -> None:
    world, starts, goals = problems(16)
    seeds = list(range(100, 116))
    together = make(world, GoalL1(1.0)).plan(starts, goals, generators=make_generators(seeds))
    for b, seed in enumerate(seeds):
        one = slice(b, b + 1)
        alone = make(world, GoalL1(1.0)).plan(starts[one], goals[one], generators=make_generators([seed]))
        assert equal(alone, together, b, 16)


def test_slices_do_not_change_the_plan(make: Make) -> None:
    whole = solve(make, [5])
    world, starts, goals = problems(1)
    watched = WatchedWorld(LOW, HIGH)
    planner = make(watched, GoalL1(1.0), slice_size=7)
    assert equal(planner.plan(starts, goals, generators=make_generators([5])), whole, 0, 1)
    assert [a.shape[1] for a in watched.seen[:6]] == [7, 7, 7, 7, 7, 4]


# Warm starts.


@pytest.mark.parametrize(("several", "place"), [(False, 0), (True, 0), (True, 2)])
def test_a_perfect_warm_start_is_returned(make: Make, several: bool, place: int) -> None:
    world, starts, goals = problems(2)
    tried = torch.rand(2, 3, HORIZON, 4, generator=torch.Generator().manual_seed(1))
    tried = world.action_low + (world.action_high - world.action_low) * tried
    perfect = tried[:, place].clone()
    cost = ActionCost(lambda actions: (actions - perfect[:, None]).square().sum((-1, -2)))
    warm = tried if several else perfect
    plan = make(world, cost).plan(starts, goals, generators=make_generators([0, 1]), warm_start=warm)
    assert torch.equal(plan.actions, perfect)
    assert plan.energy.tolist() == [0.0, 0.0]
    first = warm if several else warm[:, None]
    assert torch.equal(plan.iterations[0].samples[:, : first.shape[1]], first)


@pytest.mark.parametrize("name", [*GAUSSIAN, *RECEDING])
def test_a_search_starts_around_the_first_warm_start(name: str) -> None:
    first = torch.tensor([[0.05, -0.1, 0.3, 0.08]] * HORIZON)
    given = torch.stack([first, torch.zeros(HORIZON, 4)])[None]
    drawn = solve(SAMPLING[name], [0], {"initial_std": 0.05}, warm_start=given).iterations[0].samples[0, 2:]
    assert (drawn - first).abs().max() < 0.05  # the box is 0.2 wide and more
    assert drawn[..., :2].std(dim=0).min() > 0.003


def test_a_warm_start_is_clipped_to_the_bounds_and_the_prefix(make: Make) -> None:
    prefix = torch.tensor([[[0.02, -0.11, 0.3, 0.15]]])
    plan = solve(make, [0], warm_start=torch.full((1, HORIZON, 4), 9.0), prefix=prefix)
    expected = torch.cat([prefix[0], torch.tensor(HIGH).expand(HORIZON - 1, -1)])
    assert torch.equal(plan.iterations[0].samples[0, 0], expected)


def test_at_most_num_samples_warm_starts_are_used(make: Make) -> None:
    plan = solve(make, [0], warm_start=torch.zeros(1, SAMPLES + 5, HORIZON, 4))
    assert plan.iterations[0].samples.shape[1] == SAMPLES
    assert bool((plan.iterations[0].samples[..., 0] == 0).all())


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        ((1, HORIZON + 1, 4), 0.0),
        ((1, HORIZON, 4), torch.nan),
        ((2, 1, HORIZON, 4), 0.0),
        ((1, 0, HORIZON, 4), 0.0),
        ((4,), 0.0),
        ((), 0.0),
    ],
)
def test_a_warm_start_that_does_not_fit_is_refused(make: Make, shape: tuple[int, ...], value: float) -> None:
    with pytest.raises(PlannerError, match="warm_start has"):
        solve(make, [0], warm_start=torch.full(shape, value))


@pytest.mark.parametrize("name", ["warm_start", "prefix"])
def test_arguments_that_are_not_tensors_are_refused_also_between_replans(make: Make, name: str) -> None:
    world, starts, goals = problems(1)
    planner = make(world, GoalL1(1.0))
    none: list[tuple[Any, str]] = [
        ([[[0.0]]], "is a list; allowed is a tensor"),
        (torch.zeros(()), "has shape"),
    ]
    for _ in range(2):
        for given, message in none:
            asked = {name: given}
            with pytest.raises(PlannerError, match=f"{name} {message}"):
                planner.plan(starts, goals, generators=make_generators([0]), **asked)
        planner.plan(starts, goals, generators=make_generators([0]))


# Deadlines.


def test_the_deadline_cuts_an_iteration_short(make: Make) -> None:
    _, starts, goals = problems(1)
    pause_s, deadline_s = 0.004, 0.06
    world = WatchedWorld(LOW, HIGH, pause_s)
    planner = make(world, GoalL1(1.0), slice_size=1)
    plan = planner.plan(starts, goals, generators=make_generators([0]), deadline_s=deadline_s)
    # No batch is started that would not end in time, and each takes at least the pause.
    assert 1 <= len(world.seen) <= deadline_s / pause_s
    [only] = plan.iterations
    assert torch.equal(only.energies[0].isfinite(), torch.arange(SAMPLES) < len(world.seen))
    assert plan.energy == only.energies.amin()
    assert torch.equal(plan.actions[0], only.samples[0, only.energies.argmin()])


def test_the_deadline_ends_the_search(make: Make) -> None:
    _, starts, goals = problems(1)
    world = WatchedWorld(LOW, HIGH, pause_s=0.01)
    planner = make(world, GoalL1(1.0), num_iterations=1000)
    plan = planner.plan(starts, goals, generators=make_generators([0]), deadline_s=0.08)
    assert 1 <= len(plan.iterations) <= len(world.seen) <= 8
    assert plan.energy <= min(t.best_energy.item() for t in plan.iterations)


def test_a_deadline_that_is_too_short_still_gives_a_plan(make: Make) -> None:
    _, starts, goals = problems(1)
    world = WatchedWorld(LOW, HIGH, pause_s=0.001)
    planner = make(world, GoalL1(1.0), slice_size=10)
    plan = planner.plan(starts, goals, generators=make_generators([0]), deadline_s=1e-9)
    assert len(world.seen) == len(plan.iterations) == 1
    assert plan.energy == plan.iterations[0].energies[0, :10].amin()
    assert bool(plan.iterations[0].energies[0, 10:].isposinf().all())


@pytest.mark.parametrize("name", SAMPLING)
def test_only_scored_samples_are_selected(name: str) -> None:
    _, starts, goals = problems(1)
    planner = SAMPLING[name](WatchedWorld(LOW, HIGH, pause_s=0.001), GoalL1(1.0), slice_size=2)
    [only] = planner.plan(starts, goals, generators=make_generators([0]), deadline_s=1e-9).iterations
    assert only.selected.nonzero()[:, 1].max() < 2


@pytest.mark.parametrize("deadline_s", [0, "1"])
def test_a_deadline_that_is_not_positive_is_refused(make: Make, deadline_s: Any) -> None:
    with pytest.raises(PlannerError, match=f"deadline_s is {deadline_s!r}; allowed is None or a time"):
        solve(make, [0], deadline_s=deadline_s)


# Energies that are not finite.


def test_nan_energies_never_win(make: Make) -> None:
    world, starts, goals = problems(1)

    def cost(actions: Tensor) -> Tensor:
        first = actions[..., 0, 0]
        return torch.where(first > 0.0, torch.nan, first.abs() + 1.0)

    plan = make(world, ActionCost(cost)).plan(starts, goals, generators=make_generators([0]))
    assert plan.actions[0, 0, 0] <= 0.0
    assert 1.0 <= plan.energy.item() < 1.05
    first = plan.iterations[0]
    assert torch.equal(first.energies[0].isposinf(), first.samples[0, :, 0, 0] > 0)
    assert 1.0 <= first.mean_energy.item() < 1.1


def test_a_problem_with_only_nan_energies_is_named_in_the_error(make: Make) -> None:
    world, starts, goals = problems(3)
    starts[1] = torch.nan
    with pytest.raises(
        PlannerError, match=rf"All {SAMPLES} samples of problem 1 \(of 3, counted from 0\) have a NaN"
    ):
        make(world, GoalL1()).plan(starts, goals, generators=make_generators([0, 1, 2]))


def test_a_model_that_diverges_later_gives_the_best_plan_so_far(make: Make) -> None:
    class Diverging(WatchedWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            predicted = super().rollout(context, actions)
            lost = torch.zeros(len(actions), 1, 1, 1, 1)
            lost[0] = torch.nan if len(self.seen) > 1 else 0.0
            return predicted + lost

    _, starts, goals = problems(2)
    planner = make(Diverging(LOW, HIGH), GoalL1(1.0))
    plan = planner.plan(starts, goals, generators=make_generators([5, 6]))
    assert len(plan.iterations) == ITERATIONS
    assert plan.energy[0] == plan.iterations[0].best_energy[0]
    assert bool(plan.iterations[0].samples[0].eq(plan.actions[0]).all(-1).all(-1).any())
    # The other problem is solved as if nothing had happened.
    sound = make(PointWorld(LOW, HIGH), GoalL1(1.0)).plan(starts, goals, generators=make_generators([5, 6]))
    assert torch.equal(plan.actions[1], sound.actions[1])


# Arguments that are not allowed.


def test_a_model_that_returns_fewer_steps_is_refused(make: Make) -> None:
    class Short(PointWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            return super().rollout(context, actions)[:, :, :-1]

    _, starts, goals = problems(1)
    with pytest.raises(PlannerError, match=r"shape \(1, 39, 2, 3, 4\) for actions of shape \(1, 39, 3, 4\)"):
        make(Short(LOW, HIGH), GoalL1()).plan(starts, goals, generators=make_generators([0]))


def test_an_energy_of_the_wrong_shape_is_refused(make: Make) -> None:
    world, starts, goals = problems(1)
    with pytest.raises(
        PlannerError, match=r"energy returned shape \(1, 39, 3\).*allowed is \[B, S\] = \[1, 39\]"
    ):
        make(world, ActionCost(lambda a: a.sum(-1))).plan(starts, goals, generators=make_generators([0]))


def test_goals_must_be_a_tensor(make: Make) -> None:
    world, starts, _ = problems(1)
    with pytest.raises(PlannerError, match=r"goal is a list; allowed is a tensor \[B, N, D\]"):
        make(world, GoalL1()).plan(starts, [[[0.0]]], generators=make_generators([0]))  # type: ignore[arg-type]


def test_the_number_of_generators_must_be_the_batch(make: Make) -> None:
    world, starts, goals = problems(2)
    with pytest.raises(PlannerError, match=r"goals of shape \(2, 3, 4\) and 1 generators"):
        make(world, GoalL1()).plan(starts, goals, generators=make_generators([0]))


def test_two_problems_cannot_share_a_generator(make: Make) -> None:
    world, starts, goals = problems(2)
    with pytest.raises(PlannerError, match="the same object; each problem needs its own"):
        make(world, GoalL1()).plan(starts, goals, generators=make_generators([0]) * 2)


@pytest.mark.parametrize("name", ["horizon", "num_samples", "num_iterations", "slice_size"])
@pytest.mark.parametrize("value", [0, 2.5, True])
def test_sizes_are_checked_at_construction(make: Make, name: str, value: float) -> None:
    with pytest.raises(PlannerError, match=rf"{name} is {value}; allowed is a whole number of at least 1"):
        make(PointWorld(LOW, HIGH), GoalL1(), **{name: value})


@pytest.mark.parametrize(("low", "high"), [([1.0], [-1.0]), ([-1.0], [float("inf")]), ([-1.0, -1.0], [1.0])])
def test_invalid_action_bounds_are_refused(make: Make, low: list[float], high: list[float]) -> None:
    with pytest.raises(PlannerError, match="two finite vectors of the same length with low <= high"):
        make(PointWorld(low, high), GoalL1())


@pytest.mark.parametrize("name", SAMPLING)
def test_planners_that_need_no_gradient_run_in_inference_mode(name: str) -> None:
    with torch.inference_mode():
        plan = solve(SAMPLING[name], [0])
    assert torch.equal(plan.actions, solve(SAMPLING[name], [0]).actions)

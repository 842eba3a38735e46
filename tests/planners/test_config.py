"""A planner's options: the constructor, the dataclass and the registry agree, and each option is documented."""

from __future__ import annotations

import dataclasses
import inspect
import re
import subprocess
import sys
from typing import Any

import pytest
import torch

import planners
from planners import CEM, GoalL1, PlannerError, Search, make_generators
from planners.config import CEMConfig, ICEMConfig, SearchConfig
from planners.registry import ENERGIES, PLANNERS
from tests.planners.worlds import GridWorld, PointWorld

WORLD = PointWorld([-1.0, -1.0], [1.0, 1.0])


@pytest.mark.parametrize("name", PLANNERS)
def test_a_constructor_shows_every_option_with_its_default(name: str) -> None:
    entry = PLANNERS[name]
    parameters = inspect.signature(entry.load()).parameters
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    options = {
        field.name: field.default for field in dataclasses.fields(entry.config) if field.name != "kind"
    }
    assert set(parameters) == {"model", "energy", "fixed", *options}
    assert {key: parameters[key].default for key in options} == options
    assert entry.config.kind == entry.load().kind == name  # type: ignore[attr-defined]


@pytest.mark.parametrize("entry", [*PLANNERS.values(), *ENERGIES.values()], ids=[*PLANNERS, *ENERGIES])
def test_every_option_has_a_line_of_documentation(entry: Any) -> None:
    described = "\n".join(inspect.getdoc(base) or "" for base in entry.config.__mro__)
    for field in dataclasses.fields(entry.config):
        assert re.search(rf"^ *{field.name}: \S+", described, re.MULTILINE), field.name


@pytest.mark.parametrize("entry", [*PLANNERS.values(), *ENERGIES.values()], ids=[*PLANNERS, *ENERGIES])
def test_every_registered_class_is_public(entry: Any) -> None:
    name = entry.load().__name__
    assert name in planners.__all__
    assert getattr(planners, name) is entry.load()


@pytest.mark.parametrize("name", PLANNERS)
def test_a_configuration_builds_what_the_constructor_does(name: str) -> None:
    entry, sizes = PLANNERS[name], {"horizon": 2, "num_samples": 12, "num_iterations": 2}
    world, axis, value = (GridWorld(), 2, 0.0) if name == "categorical_cem" else (WORLD, 0, 0.5)
    fixed = {axis: value}
    built = planners.build_planner(entry.config(**sizes), world, energy=GoalL1(), fixed=fixed)
    made = entry.load()(world, energy=GoalL1(), fixed=fixed, **sizes)
    assert type(built) is type(made)
    start, goal = torch.zeros(1, 2), world.features(torch.tensor([[0.5, -0.3]]))
    plans = [planner.plan(start, goal, generators=make_generators([0])) for planner in (built, made)]
    assert torch.equal(plans[0].actions, plans[1].actions)
    assert bool((plans[0].actions[..., axis] == value).all())


def test_options_cannot_be_changed_afterwards() -> None:
    planner = CEM(WORLD, energy=GoalL1())
    with pytest.raises(dataclasses.FrozenInstanceError):
        planner.num_samples = 3  # type: ignore[misc]
    assert repr(CEMConfig(num_samples=9)) != repr(CEMConfig())


def test_options_are_checked_without_a_model() -> None:
    with pytest.raises(PlannerError, match="num_elites is 8; .* at most num_samples=4"):
        CEMConfig(num_samples=4)
    with pytest.raises(PlannerError, match=r"momentum_std is \(0.5, 2\); allowed is a number in \[0, 1\]"):
        ICEMConfig(momentum_std=(0.5, 2))
    with pytest.raises(PlannerError, match="horizon is 0; allowed is a whole number of at least 1"):
        PLANNERS["random"].config(horizon=0)


def test_options_and_names_need_no_torch() -> None:
    program = "import sys, planners.config, planners.registry; print('torch' in sys.modules, 'numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class MidwayConfig(SearchConfig):
    """Options of `Midway`.

    Attributes:
        share: Where between the bounds the plan lies.
    """

    kind: str = "midway"
    share: float = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Midway(MidwayConfig, Search[None]):
    """A third-party planner with one sample, the centre of the bounds."""

    def _initial_state(self, box: Any, starts: Any, generators: Any) -> None:
        return None

    def _sample(self, state: None, box: Any, iteration: int, generators: Any) -> torch.Tensor:
        return (box.low + self.share * (box.high - box.low)).unsqueeze(1)

    def _refit(self, state: None, box: Any, scored: Any) -> tuple[None, torch.Tensor]:
        return None, torch.ones_like(scored.energies, dtype=torch.bool)

    def _spread(self, state: None, box: Any) -> torch.Tensor:
        return torch.zeros(len(box.low))


def test_a_third_party_planner_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(PLANNERS, "midway", raising=False)
    with pytest.raises(
        PlannerError, match="holds the options of no planner; allowed are instances of CEMConfig"
    ):
        planners.build_planner(MidwayConfig(), WORLD, energy=GoalL1())
    monkeypatch.setitem(PLANNERS, "midway", PLANNERS["cem"])
    del PLANNERS["midway"]
    assert planners.register_planner("midway", config=MidwayConfig)(Midway) is Midway
    planner = planners.build_planner(MidwayConfig(share=0.75), WORLD, energy=GoalL1())
    plan = planner.plan(torch.zeros(1, 2), WORLD.features(torch.zeros(1, 2)), generators=make_generators([0]))
    assert plan.actions.tolist() == [[[0.5, 0.5]]]
    with pytest.raises(PlannerError, match="planner 'midway' is registered already"):
        planners.register_planner("midway", config=MidwayConfig)


def test_a_registration_needs_a_dataclass_of_its_name() -> None:
    for config in (MidwayConfig, dict):
        with pytest.raises(
            PlannerError, match=r"allowed is a dataclass with the field kind: Literal\['other'\]"
        ):
            planners.register_energy("other", config=config)


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="module 'planners' has no attribute 'CEMM'; it has: .*CEM"):
        _ = planners.CEMM  # type: ignore[attr-defined]
    assert set(planners.__all__) <= set(dir(planners))

"""Planning options of the commands: kinds, presets, and options that the selected planner does not use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

import planners
from planners.config import CEMConfig, GoalL2Config, ICEMConfig, MPPIConfig, SearchConfig
from planners.registry import ENERGIES, PLANNERS
from planners.wrappers.unwrap import unwrap
from vjepa_world.cli.evaluate import Config
from vjepa_world.config import compose, from_yaml, to_yaml
from vjepa_world.errors import ConfigError
from vjepa_world.planning.build import build_energy, load_planner
from vjepa_world.planning.config import (
    SHIPPED,
    ExecutionConfig,
    InferenceConfig,
    PenaltiesConfig,
    PlanningConfig,
)


def composed(*words: str) -> Config:
    return compose("evaluate", Config, words)


def test_the_kind_selects_the_planner_and_its_options() -> None:
    assert composed().planner == CEMConfig()
    assert composed("planner=icem", "planner.num_samples=20").planner == ICEMConfig(num_samples=20)
    assert composed("planner.kind=mppi", "planner.std_decay=1").planner == MPPIConfig(std_decay=1.0)
    assert composed("energy=l2", "energy.discount=1").energy == GoalL2Config(discount=1.0)
    config = composed("planner=icem", "planner.momentum_std=[0.1,0.2]")
    assert config.planner == ICEMConfig(momentum_std=(0.1, 0.2))
    assert from_yaml(to_yaml(config), Config) == config


def test_the_published_search_is_a_preset() -> None:
    expected = CEMConfig(
        num_samples=800,
        num_iterations=10,
        num_elites=10,
        momentum_mean=0.15,
        momentum_std=(0.75, 0.75, 0.75, 0.75, 0.75, 0.75, 0.15),
    )
    assert composed("planner=vjepa2_ac").planner == expected
    assert composed("planner=vjepa2_ac", "planner.horizon=2").planner.horizon == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["planner=cme"], "unknown planner 'cme'; did you mean 'cem'"),
        (["planner.kind=cme"], "'planner.kind' got 'cme'; did you mean 'cem'"),
        (["planner=random", "planner.num_elites=3"], "planner.kind=random does not use it"),
        (["planner.lr=0.1"], "'planner.lr' is given, and planner.kind=cem does not use it"),
        (["energy=l3"], "unknown energy 'l3'; did you mean 'l2'"),
        (["planner.num_samples=0"], "'planner.num_samples' got 0, expected a number from 1"),
        (
            ["planner.horizon=2", "execution.replan_every=3"],
            "execution.replan_every is 3 and planner.horizon 2",
        ),
        (["planner.deadline_s=1"], "unknown key 'planner.deadline_s'; did you mean 'execution.deadline_s'"),
        (["planner.replan_every=1"], "did you mean 'execution.replan_every'"),
    ],
)
def test_unused_or_unknown_options_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        composed(*words)
    assert message in str(caught.value)


def test_penalties_are_added_to_the_energy() -> None:
    penalties = PenaltiesConfig(actions=0.5, smoothness=2.0)
    energy = build_energy(PlanningConfig(energy=GoalL2Config(discount=1.0), penalties=penalties))
    assert repr(energy) == "GoalL2(discount=1) + 0.5 * ActionPenalty(norm='l2') + 2 * Smoothness(norm='l2')"


@dataclass(frozen=True, kw_only=True)
class StillConfig(SearchConfig):
    """Options of a planner that does nothing.

    Attributes:
        value: Every number of its plans.
    """

    kind: Literal["still"] = "still"
    value: float = field(default=0.0, metadata={"range": (-1.0, 1.0)})


@dataclass(frozen=True, kw_only=True)
class NearestConfig:
    """Options of an energy without a discount."""

    kind: Literal["nearest"] = "nearest"


def nearest_energy() -> Any:
    def energy(predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        return (predicted - goal[:, None, None]).abs().mean(dim=(-1, -2)).min(dim=-1).values

    return energy


class Still:
    """A planner that is not a search."""

    def __init__(self, model: Any, *, energy: Any, fixed: Any, value: float, horizon: int, **_: Any) -> None:
        self.model, self.horizon, self.value = model, horizon, value

    def plan(self, context: Any, goal: Tensor, **_: Any) -> planners.Plan:
        shape = (len(goal), self.horizon, len(self.model.action_low))
        return planners.Plan(torch.full(shape, self.value), torch.zeros(len(goal)), ())

    def reset(self) -> None: ...


def test_a_plugin_adds_a_planner_and_an_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown planner 'still'"):
        composed("planner=still")
    monkeypatch.setattr("planners.registry.PLANNERS", PLANNERS)  # restored below by delitem's undo
    monkeypatch.setitem(PLANNERS, "still", PLANNERS["cem"])
    monkeypatch.setitem(ENERGIES, "nearest", ENERGIES["l1"])
    del PLANNERS["still"], ENERGIES["nearest"]
    planners.register_planner("still", config=StillConfig)(Still)
    planners.register_energy("nearest", config=NearestConfig)(nearest_energy)
    config = composed("planner=still", "planner.value=0.01", "energy=nearest", "planner.horizon=2")
    loaded = load_planner(SHIPPED, config, torch.device("cpu"))
    frames, states = torch.zeros(1, 1, 3, 128, 128, dtype=torch.uint8), torch.zeros(1, 1, 7)
    goal = loaded.model.encode_goal(frames[:, 0])
    plan = loaded.planner.plan(
        loaded.model.encode(frames, states), goal, generators=planners.make_generators([0])
    )
    assert plan.actions.shape == (1, 2, 7)
    with pytest.raises(ConfigError, match="energy.kind=nearest does not use it"):
        composed("energy=nearest", "energy.discount=1")


def test_proposals_need_an_inverse_model_and_no_penalty_is_of_targets() -> None:
    config = PlanningConfig(
        execution=ExecutionConfig(propose=True, camera_rotation_deg=5.0, frozen=(3, 4)),
        inference=InferenceConfig(precision="float32"),
    )
    loaded = load_planner(SHIPPED, config, torch.device("cpu"))
    names = [type(layer).__name__ for layer in unwrap(loaded.planner)]
    assert names == ["RotatedPlanner", "RecedingHorizon", "ProposalPlanner", "CEM"]


def test_a_frozen_axis_that_the_action_does_not_have_is_refused_by_its_key() -> None:
    config = PlanningConfig(execution=ExecutionConfig(frozen=(9,)))
    with pytest.raises(
        ConfigError, match=r"execution\.frozen names axis 9, .* has 7 numbers; allowed: 0 to 6\."
    ):
        load_planner(SHIPPED, config, torch.device("cpu"))

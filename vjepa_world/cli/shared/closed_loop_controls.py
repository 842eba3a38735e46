"""The controls of a closed-loop evaluation: which there are, and the policies that they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from vjepa_world.config.ranges import LARGEST

if TYPE_CHECKING:
    from vjepa_world.evaluation.closed_loop.environment import Environment
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.planning.config import PlanningConfig
    from vjepa_world.planning.planner_policy import PlannerPolicy
    from vjepa_world.planning.policy import Policy

HOLD, EXPERT, INVERSE = "no motion", "scripted expert", "inverse model alone"
SIMULATOR = "true simulator"
UNTRAINED, PIXELS = "untrained encoder", "raw pixels"


@dataclass(frozen=True, kw_only=True)
class ControlsConfig:
    """Policies to compare with, on the same pairs; random actions always run.

    Attributes:
        hold: Whether to run the action that holds the robot still.
        expert: Whether to run the environment's scripted expert, if it has one.
        inverse: Whether to run the checkpoint's inverse model without any search, if it has one.
        simulator: Pairs, the first ones, on which to plan in the true simulator instead of the model; slow.
        untrained: Checkpoint of a predictor trained in the same way on an untrained encoder; empty for none.
        pixels: Checkpoint of a predictor trained in the same way on raw pixels; empty for none.
    """

    hold: bool = True
    expert: bool = True
    inverse: bool = True
    simulator: int = field(default=0, metadata={"range": (0, LARGEST)})
    untrained: str = ""
    pixels: str = ""


@dataclass
class Controls:
    """The policies of the controls by name.

    Attributes:
        policies: The policies.
        only_first: The number of pairs of those that run on the first ones only.
        left_out: The reasons for those that are left out.
    """

    policies: dict[str, Policy] = field(default_factory=dict)
    only_first: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def build_controls(
    controls: ControlsConfig,
    env: Environment,
    policy: PlannerPolicy | None,
    planning: PlanningConfig,
    load: Callable[[str], PlannerPolicy],
) -> Controls:
    """Return the controls of a policy; without one those that need no model.

    Args:
        controls: Which ones.
        env: The environment.
        policy: The policy that is evaluated; None if random actions are.
        planning: Its options.
        load: Returns the policy of a checkpoint, with the same options.
    """
    from vjepa_world.evaluation.closed_loop.expert_policy import ExpertPolicy, has_expert
    from vjepa_world.evaluation.closed_loop.hold_policy import EnvHoldPolicy, has_hold

    found = Controls()
    if policy is not None:
        _add_those_of_model(found, controls, env, policy, planning)
    elif controls.hold and has_hold(env):
        found.policies[HOLD] = EnvHoldPolicy()
    if controls.expert:
        if has_expert(env):
            found.policies[EXPERT] = ExpertPolicy()
        else:
            found.left_out[EXPERT] = "left out: the environment has none"
    for name, checkpoint in ((UNTRAINED, controls.untrained), (PIXELS, controls.pixels)):
        if checkpoint:
            found.policies[name] = load(checkpoint)
    return found


def _add_those_of_model(
    found: Controls,
    controls: ControlsConfig,
    env: Environment,
    policy: PlannerPolicy,
    planning: PlanningConfig,
) -> None:
    """Add the controls that need the policy's model."""
    from vjepa_world.evaluation.closed_loop.hold_policy import EnvHoldPolicy, has_hold
    from vjepa_world.evaluation.closed_loop.simulator_model import can_imagine
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.planning.action_axes import space_of
    from vjepa_world.planning.planner_policy import ProposalPolicy
    from vjepa_world.planning.policy import HoldPolicy

    model, bounds = policy.model, {"action_low": policy.action_low, "action_high": policy.action_high}
    if controls.hold:
        space = space_of(model)
        if space.meaning not in ("given", "choice"):
            found.policies[HOLD] = HoldPolicy(space, **bounds)
        elif has_hold(env):
            found.policies[HOLD] = EnvHoldPolicy()
        else:
            found.left_out[HOLD] = space.why_no_hold
    if controls.inverse:
        if isinstance(model, LatentWorldModel) and model.inverse is not None:
            propose = partial(model.propose, horizon=planning.planner.horizon)
            found.policies[INVERSE] = ProposalPolicy(model, propose, energy=policy.energy, **bounds)
        else:
            found.left_out[INVERSE] = "left out: the checkpoint has none (inverse.horizon of finetune)"
    if controls.simulator:
        if isinstance(model, LatentWorldModel) and can_imagine(env):
            found.policies[SIMULATOR] = _in_simulator(model, policy, planning)
            found.only_first[SIMULATOR] = controls.simulator
        else:
            found.left_out[SIMULATOR] = "left out: the environment has no get_state and set_state"


def _in_simulator(model: LatentWorldModel, policy: PlannerPolicy, planning: PlanningConfig) -> Policy:
    """Return the policy that plans in the true simulator, with the same planner, energy and encoder."""
    from vjepa_world.evaluation.closed_loop.simulator_model import SimulatorModel, SimulatorPolicy
    from vjepa_world.planning.build import build_planner

    true = SimulatorModel(model, policy.action_low, policy.action_high)
    planner, energy = build_planner(true, planning, "the true simulator")
    return SimulatorPolicy(
        true, planner, energy=energy, action_low=policy.action_low, action_high=policy.action_high
    )

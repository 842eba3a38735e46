"""Builds the planner and the policy of a checkpoint from their configuration."""

from __future__ import annotations

import logging
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

import planners
from planners.bounds import HOLD
from planners.config import CategoricalCEMConfig, CEMConfig, SearchConfig
from planners.protocols import Context, Energy, Planner, WorldModel, action_type
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.planning.config import PlanningConfig
from vjepa_world.planning.planner_policy import PlannerPolicy
from vjepa_world.planning.rotated_planner import RotatedPlanner
from vjepa_world.pretrained.loading import load_world_model, read_checkpoint
from vjepa_world.pretrained.shipped import checkpoint_path
from vjepa_world.system.device import keep_freed_memory, resolve_precision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CheckpointPlanner:
    """A world model, the planner over it, the options it was built from, and the energy that it minimises."""

    model: LatentWorldModel
    planner: Planner
    options: SearchConfig
    energy: Energy


#: Weight of the state that is read from a goal image, next to the distance of the features, where none is given.
READER_WEIGHT = 5.0


class PlannedModel(WorldModel, Protocol):
    """A world model that may propose actions and read goal states."""

    @property
    def inverse(self) -> object:
        """The inverse model; None if there is none."""

    def propose(self, context: Context, goal: Tensor, horizon: int) -> Tensor:
        """Return the inverse model's actions, `[B, K, A]`."""

    @property
    def goal_reader(self) -> object:
        """The goal reader; None if there is none."""

    @property
    def robot(self) -> EmbodimentConfig:
        """What the robot's state is."""

    @property
    def state_spread(self) -> Tensor:
        """Standard deviation of the states of the training data, `[P]`."""

    def read_goal_states(self, context: Context, goal: Tensor) -> Tensor:
        """Return the goal reader's states, `[B, P]`."""


def load_planner(
    checkpoint: str | Path, config: PlanningConfig, device: torch.device, *, embodiment: str | None = None
) -> CheckpointPlanner:
    """Load a checkpoint's world model and build the planner over it.

    On a CPU the process keeps its freed memory from then on (:func:`keep_freed_memory`).

    Args:
        checkpoint: A finetune run or a world model's checkpoint, or the name of a shipped one.
        config: The options.
        device: Where the model runs.
        embodiment: Name of the robot; None for the first.

    Raises:
        CheckpointError: If the checkpoint is missing or broken.
        ConfigError: If proposals are requested and it has no inverse model, a penalty of actions that are targets, an
            axis of the action that it does not have, or plans of more steps than it can predict.
        PlannerError: If an option does not fit the model.
    """
    if device.type == "cpu":
        keep_freed_memory()
    source = checkpoint_path(checkpoint)
    model = load_world_model(source, device=device, embodiment=embodiment)
    model.prepare(resolve_precision(config.inference.precision, device), compiled=config.inference.compile)
    _check_horizon(model, config.planner.horizon, checkpoint)
    planner, energy = build_planner(model, config, checkpoint)
    return CheckpointPlanner(model, planner, options_for(model, config.planner), energy)


def options_for(model: WorldModel, options: SearchConfig) -> SearchConfig:
    """Return the options of the planner over a model: where actions are choices, CEM is the categorical one.

    Options that a Gaussian alone has are not dropped: if one is not the default, CEM remains, which refuses choices.
    """
    if not isinstance(options, CEMConfig) or action_type(model) != "choice":
        return options
    names = {entry.name for entry in fields(CEMConfig)} & {
        entry.name for entry in fields(CategoricalCEMConfig)
    }
    shared = {name: getattr(options, name) for name in names - {"kind"}}
    return CategoricalCEMConfig(**shared) if options == replace(CEMConfig(), **shared) else options


def _check_horizon(model: LatentWorldModel, horizon: int, checkpoint: str | Path) -> None:
    """Check that a model can predict as many steps as are planned.

    Raises:
        ConfigError: If it knows no state after the first action.
    """
    if horizon > 1 and not model.knows_next_state:
        robot = model.robot
        raise ConfigError(
            f"planner.horizon is {horizon}, and {checkpoint} predicts single steps: nothing says how its actions "
            f"({robot.action_dim} numbers, meaning: {robot.action_meaning}) change its states "
            f"({robot.state_dim} numbers). Set planner.horizon=1, or fine-tune with predictor.predict_state=true."
        )


def build_planner(
    model: PlannedModel, config: PlanningConfig, checkpoint: str | Path
) -> tuple[Planner, Energy]:
    """Return the planner over a model, with the wrappers that its execution needs, and the energy that it minimises.

    Args:
        model: The world model.
        config: The options.
        checkpoint: Where the model is from, for messages.

    Raises:
        ConfigError, PlannerError: As in :func:`load_planner`.
    """
    targets = action_type(model) == "absolute"
    if config.penalties.actions and targets:
        raise ConfigError(
            f"penalties.actions is {config.penalties.actions:g}, and the actions of {checkpoint} are targets, "
            "whose size is not a motion; leave it at 0, or use penalties.smoothness."
        )
    size = len(model.action_low)
    for axis in config.execution.frozen:
        if not 0 <= axis < size:
            raise ConfigError(
                f"execution.frozen names axis {axis}, and an action of the checkpoint {checkpoint} has {size} numbers; "
                f"allowed: 0 to {size - 1}."
            )
    energy = build_energy(config)
    weight = config.goal_state.weight
    if weight is None:
        weight = 0.0 if model.goal_reader is None else READER_WEIGHT
    if weight:
        energy = energy + weight * _state_energy(model, checkpoint)
    fixed = dict.fromkeys(config.execution.frozen, HOLD if targets else 0.0)
    options = options_for(model, config.planner)
    if options.kind != config.planner.kind:
        logger.info("actions are choices: planner %s plans them", options.kind)
    planner = planners.build_planner(options, model, energy=energy, fixed=fixed)
    return _for_execution(planner, model, config, checkpoint), energy


def checkpoint_provenance(checkpoint: str | Path) -> dict[str, Any]:
    """Return what a checkpoint records of how it was made; empty if it records nothing.

    Args:
        checkpoint: A finetune run or a world model's checkpoint, or the name of a shipped one.

    Raises:
        CheckpointError: If the checkpoint is missing or broken.
    """
    source = checkpoint_path(checkpoint)
    known = read_checkpoint(source).details.get("provenance")
    return known if isinstance(known, dict) else {}


def load_policy(
    checkpoint: str | Path,
    config: PlanningConfig,
    device: torch.device,
    *,
    action_low: np.ndarray,
    action_high: np.ndarray,
) -> PlannerPolicy:
    """Load a checkpoint's world model and build the policy that plans with it.

    Args:
        checkpoint: A finetune run or a world model's checkpoint, or the name of a shipped one.
        config: The options.
        device: Where the model runs.
        action_low: Lowest action of the environment, `[A]`.
        action_high: Highest action of the environment, `[A]`.

    Raises:
        CheckpointError: If the checkpoint is missing or broken, or its actions are not the environment's.
        ConfigError, PlannerError: As in :func:`load_planner`.
    """
    loaded = load_planner(checkpoint, config, device)
    return PlannerPolicy(
        loaded.model,
        loaded.planner,
        energy=loaded.energy,
        action_low=action_low,
        action_high=action_high,
        deadline_s=config.execution.deadline_s or None,
    )


def build_energy(config: PlanningConfig) -> Energy:
    """Return the energy of the features plus the weighted penalties of the actions."""
    energy = planners.build_energy(config.energy)
    if config.penalties.actions:
        energy = energy + config.penalties.actions * planners.ActionPenalty()
    if config.penalties.smoothness:
        energy = energy + config.penalties.smoothness * planners.Smoothness()
    return energy


def _state_energy(model: PlannedModel, checkpoint: str | Path) -> planners.ReadStateGoal:
    """Return the distance of the predicted state to the one that the model reads from the goal image."""
    if model.goal_reader is None:
        raise ConfigError(
            f"goal_state.weight is given, and {checkpoint} has no goal reader; fine-tune with goal_reader.depth=4, or "
            "leave it out."
        )
    weights = 1 / (len(model.state_spread) * model.state_spread)
    return planners.ReadStateGoal(model.read_goal_states, weights=weights, angles=model.robot.state_angles)


def _for_execution(
    planner: Planner, model: PlannedModel, config: PlanningConfig, checkpoint: str | Path
) -> Planner:
    """Return a planner with the wrappers that its execution needs."""
    execution = config.execution
    if execution.propose:
        if model.inverse is None:
            raise ConfigError(
                f"execution.propose is true, and {checkpoint} has no inverse model; fine-tune with "
                "inverse.horizon of 1 or more, or leave it out."
            )
        planner = planners.ProposalPlanner(planner, partial(model.propose, horizon=config.planner.horizon))
    planner = planners.RecedingHorizon(
        planner, replan_every=execution.replan_every, warm_start=execution.warm_start
    )
    if execution.camera_rotation_deg:
        return RotatedPlanner(planner, execution.camera_rotation_deg, model)
    return planner

"""The options of planning: planner, energy, penalties, execution and inference. Free of torch.

The options of a planner and of an energy are those of their dataclass in `planners.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from planners.config import CEMConfig, EnergyConfig, GoalL1Config, SearchConfig
from vjepa_world.config.ranges import AT_LEAST_ONE, DEGREES, PATIENCE_S, WEIGHT
from vjepa_world.errors import ConfigError
from vjepa_world.planning.registry import ENERGIES, PLANNERS

#: Stands for the checkpoint that comes with the package.
SHIPPED = "shipped"


@dataclass(frozen=True, kw_only=True)
class PenaltiesConfig:
    """Energies of the actions that are added to the energy of the features.

    Attributes:
        actions: Weight of the actions' mean size; not for actions that are targets.
        smoothness: Weight of the mean change from one action to the next.
    """

    actions: float = field(default=0.0, metadata=WEIGHT)
    smoothness: float = field(default=0.0, metadata=WEIGHT)


@dataclass(frozen=True, kw_only=True)
class GoalStateConfig:
    """The energy of the robot's state, which is added to that of the features; for checkpoints with a goal reader.

    Attributes:
        weight: Weight of the distance between the predicted state and the one that is read from the goal image, in
            standard deviations of the training data, averaged over the state's numbers. null takes 5 for a checkpoint
            with a goal reader, and 0 for others.
    """

    weight: float | None = field(default=None, metadata=WEIGHT)


@dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """How plans are made and executed in a closed loop.

    Attributes:
        frozen: Axes of the action that are held at zero, counted from 0: [3,4,5] for no rotation; targets are held
            where they are.
        replan_every: Actions executed from one plan.
        warm_start: Whether a search starts from the last plan, shifted.
        propose: Whether a search starts from the proposal of the checkpoint's inverse model too.
        deadline_s: Time for a plan [s], after which the best so far is used; 0 for no deadline.
        camera_rotation_deg: Rotates planned motions about the base's z axis before they are executed, counter-clockwise
            seen from above; `evaluate-open-loop` measures the angle.
    """

    frozen: tuple[int, ...] = ()
    replan_every: int = field(default=1, metadata=AT_LEAST_ONE)
    warm_start: bool = True
    propose: bool = False
    deadline_s: float = field(default=0.0, metadata=PATIENCE_S)
    camera_rotation_deg: float = field(default=0.0, metadata=DEGREES)

    def __post_init__(self) -> None:
        if self.deadline_s < 0:
            raise ConfigError(f"execution.deadline_s is {self.deadline_s}; it must be 0 (none) or more.")


@dataclass(frozen=True, kw_only=True)
class InferenceConfig:
    """How the predictor is run.

    Attributes:
        precision: auto, float32 or bfloat16: the number format of the predictor.
        compile: Whether the predictor is compiled with torch.compile: somewhat faster, after seconds of warming up.
    """

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False


@dataclass(frozen=True, kw_only=True)
class PlanningConfig:
    """All options of planning with a checkpoint; the configurations of commands inherit it.

    Attributes:
        planner: The planner; `docs/planning.md` says when to use which.
        energy: The distance of predicted features to the goal's.
        goal_state: The distance of the predicted state to the one read from the goal image, which is added.
        penalties: Energies of the actions that are added.
        execution: How plans are executed.
        inference: How the predictor is run.
    """

    planner: Annotated[SearchConfig, PLANNERS] = field(default_factory=CEMConfig)
    energy: Annotated[EnergyConfig, ENERGIES] = field(default_factory=GoalL1Config)
    goal_state: GoalStateConfig = field(default_factory=GoalStateConfig)
    penalties: PenaltiesConfig = field(default_factory=PenaltiesConfig)
    execution: ExecutionConfig = field(default_factory=ExecutionConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)

    def __post_init__(self) -> None:
        if self.execution.replan_every > self.planner.horizon >= 1:
            raise ConfigError(
                f"execution.replan_every is {self.execution.replan_every} and planner.horizon {self.planner.horizon}; "
                "no plan has so many actions. Lower the first or raise the second."
            )

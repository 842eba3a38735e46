"""Whether recorded episodes fit a world model: sizes, meanings and names of their numbers, cameras, and the horizon."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import WindowTable
from vjepa_world.errors import CheckpointError, DataError
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.models.world_model import LatentWorldModel

logger = logging.getLogger(__name__)


def possible_horizon(model: LatentWorldModel, horizon: int) -> tuple[int, list[str]]:
    """Return the steps of a rollout: 1 if the states after the first action cannot be known; and notes."""
    robot = model.robot
    if horizon == 1 or model.knows_next_state:
        return horizon, []
    note = (
        f"One step is predicted instead of {horizon}: states of size {robot.state_dim} cannot be advanced by actions "
        f"of size {robot.action_dim}. Fine-tune with predictor.predict_state=true for more."
    )
    logger.warning("%s", note)
    return 1, [note]


def check_numbers(robot: EmbodimentConfig, table: WindowTable, dataset: TrajectoryDataset) -> None:
    """Check that states and actions of a dataset have the sizes and meanings that the robot of a model has.

    Raises:
        CheckpointError: If sizes, meanings, names or units differ.
    """
    _check_meaning(robot, dataset)
    for what, got, expected in (
        ("actions", table.action_dim, robot.action_dim),
        ("states", table.state_dim, robot.state_dim),
    ):
        if len(table) and got != expected:
            raise CheckpointError(
                f"the {what} of {dataset.path} have {got} numbers, those of the checkpoint's robot '{robot.name}' "
                f"{expected}; choose data.embodiment or data.fps, or fine-tune on this data."
            )


def _check_meaning(robot: EmbodimentConfig, dataset: TrajectoryDataset) -> None:
    convention = dataset.convention
    if robot.numbers != "joints" and not convention.has_joints:
        return
    if not robot.numbers:  # a checkpoint from before meanings were stored
        return
    kind = "target" if convention.absolute_actions else "given" if convention.actions == "given" else "delta"
    names = tuple(dataset.state_names)
    joints = (
        tuple(names[index] for index in convention.joint_indices(len(names))) if convention.has_joints else ()
    )
    units = convention.units_of_joints(len(joints))
    pairs = [
        ("states", "joints" if convention.has_joints else "no joints", robot.numbers),
        ("actions", kind, robot.action_meaning),
        ("joints", ", ".join(joints), ", ".join(robot.state_names)),
    ]
    if any(units) and any(robot.state_units):
        pairs.append(("units", ", ".join(units), ", ".join(robot.state_units)))
    for what, got, expected in pairs:
        if got != expected:
            raise CheckpointError(
                f"the {what} of {dataset.path} are {got}, those of the checkpoint's robot '{robot.name}' {expected}; "
                "give data.convention as in training (data.convention.joints, .actions, .joint_units), or fine-tune on "
                "this data."
            )


def choose_cameras(dataset: TrajectoryDataset, names: Sequence[str], views: int) -> tuple[str, ...]:
    """Return the cameras that a model of `views` views sees: those called `names`, else the first ones.

    Raises:
        DataError: If one is unknown, or their number differs.
    """
    cameras = tuple(names) or tuple(dataset.cameras[:views])
    missing = [name for name in cameras if name not in dataset.cameras]
    if missing or len(cameras) != views:
        raise DataError(
            f"data.cameras is {', '.join(cameras) or 'empty'}, and the model sees {views} of the cameras of "
            f"{dataset.path}: {', '.join(dataset.cameras) or 'none'}. Name as many."
        )
    return cameras

"""The robot of a dataset as a model sees it: names, units and meaning of its states and actions, largest steps.

Legend: M windows, T frames, A action size, S state size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.ops.convention import Convention
from vjepa_world.ops.rotations import shortest_changes
from vjepa_world.training.finetune.trajectory_sources import TrajectorySource


def robot_of(source: TrajectorySource) -> EmbodimentConfig:
    """Return the robot of a dataset, with the sizes of its windows' actions and states."""
    table, convention = source.table, source.dataset.convention
    robot = EmbodimentConfig(name=source.embodiment, action_dim=table.action_dim, state_dim=table.state_dim)
    if convention.has_pose:
        given = convention.actions == "given"
        names = _action_names(source, robot.action_dim) if given else ()
        return replace(robot, numbers="pose", actions="given" if given else "delta", action_names=names)
    names = tuple(source.dataset.state_names)
    if convention.has_joints:
        return _with_joints(robot, source, convention)
    if len(names) != robot.state_dim:
        names = ()
    if convention.choices == robot.action_dim:
        return replace(robot, numbers="given", actions="choice", state_names=names)
    return replace(
        robot,
        numbers="given",
        actions="delta" if convention.actions == "delta" else "given",
        state_names=names,
        action_names=_action_names(source, robot.action_dim),
    )


def _with_joints(
    robot: EmbodimentConfig, source: TrajectorySource, convention: Convention
) -> EmbodimentConfig:
    every = tuple(source.dataset.state_names)
    joints = tuple(every[index] for index in convention.joint_indices(len(every)))
    units = convention.units_of_joints(len(joints))
    if convention.actions == "given":
        names = _action_names(source, robot.action_dim)
        return replace(
            robot,
            numbers="joints",
            actions="given",
            state_names=joints,
            state_units=units,
            action_names=names,
        )
    return replace(
        robot,
        numbers="joints",
        actions="target" if convention.absolute_actions else "delta",
        state_names=joints,
        state_units=units,
        action_names=joints,
        action_units=units,
        action_step=_largest_steps(source, convention),
    )


def _largest_steps(source: TrajectorySource, convention: Convention) -> tuple[float, ...]:
    """Return the largest change of a joint in a step: as declared, else the largest of the training targets.

    Actions that are changes have bounds of their own, and need a step only where a speed is declared.
    """
    table = source.table
    states, actions = table.states_and_actions(source.train)
    far = actions
    if convention.absolute_actions:
        far = shortest_changes(actions - states[:, :-1], convention.units_of_joints(actions.shape[-1]))
    seen = far.abs().flatten(0, 1).amax(dim=0).double()
    speeds = torch.tensor(convention.speeds_of_joints(len(seen)), dtype=torch.float64)
    if not convention.absolute_actions and not torch.isfinite(speeds).any():
        return ()
    return tuple(torch.where(torch.isfinite(speeds), speeds / table.fps, seen).tolist())


def _action_names(source: TrajectorySource, size: int) -> tuple[str, ...]:
    """Return a name for each number of an action, which holds those of several rows if rows are skipped."""
    names = tuple(source.dataset.action_names)
    rows = size // len(names) if names else 0
    if not rows or rows * len(names) != size:
        return ()
    return names if rows == 1 else tuple(f"{name} of row {row}" for row in range(rows) for name in names)


def embodiments_of(sources: Sequence[TrajectorySource]) -> tuple[EmbodimentConfig, ...]:
    """Return the robots of some datasets, in their order.

    Raises:
        ConfigError: If two datasets of one robot have actions or states of different sizes or meanings.
    """
    found: dict[str, EmbodimentConfig] = {}
    for source in sources:
        robot = robot_of(source)
        other = found.get(source.embodiment, robot)
        differing = _difference(robot, other)
        if differing:
            raise ConfigError(
                f"source {source.name} has {differing}, as another of its embodiment '{robot.name}' has not; give it "
                f"an embodiment of its own: data.sources.{source.name}.embodiment=NAME."
            )
        found[source.embodiment] = replace(robot, action_step=_wider(robot.action_step, other.action_step))
    return tuple(found.values())


def _difference(robot: EmbodimentConfig, other: EmbodimentConfig) -> str:
    """Return in words how two datasets of one robot differ; empty where they do not."""
    if (robot.action_dim, robot.state_dim) != (other.action_dim, other.state_dim):
        return (
            f"actions of size {robot.action_dim} and states of size {robot.state_dim} (not {other.action_dim} and "
            f"{other.state_dim})"
        )
    keys: tuple[str, ...] = (
        "numbers",
        "actions",
        "state_names",
        "state_units",
        "action_names",
        "action_units",
    )
    if robot.numbers == other.numbers == "given":
        keys = ("actions",)
    for key in keys:
        value, expected = getattr(robot, key), getattr(other, key)
        if value != expected:
            return f"{key.replace('_', ' ')} {_words(value)} (not {_words(expected)})"
    return ""


def _words(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _wider(steps: tuple[float, ...], others: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(map(max, steps, others)) if steps and others else steps or others

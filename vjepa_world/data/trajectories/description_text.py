"""A dataset's description as text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from vjepa_world.data.trajectories.checks.run import Finding
from vjepa_world.data.trajectories.description import DatasetDescription
from vjepa_world.errors import counted
from vjepa_world.ops.convention import Convention
from vjepa_world.system.text_table import text_table

_ACTIONS = {
    "derived": "changes of the pose from row to row (the file's actions are not used)",
    "delta": "changes of the pose, in the standard convention",
    "target": "the pose to reach, written like the state",
    "given": "taken as they are",
}
_WRITTEN = {
    "rotvec": "rotation vector",
    "quat_xyzw": "quaternion x y z w",
    "quat_wxyz": "quaternion w x y z",
    "rot6d": "first two columns of the matrix",
}


def dataset_text(description: DatasetDescription, most: int = 5) -> str:
    """Return the description as text; at most `most` findings of each kind and bad episodes are listed."""
    names = [feature.name for feature in description.state]
    lines = [
        *_head(description, most),
        "convention:",
        *(f"  {name:<8}  {words}" for name, words in convention_words(description.convention, names).items()),
        "",
    ]
    rows = [
        (kind, f.name, f"{f.low:.4f}", f"{f.high:.4f}", f"{f.mean:.4f}", f"{f.std:.4f}")
        for kind, group in (("state", description.state), ("action", description.action))
        for f in group
    ]
    lines += [*text_table([("", "name", "min", "max", "mean", "std"), *rows]), ""]
    if description.bad:
        lines += [f"bad episodes: {len(description.bad)}"]
        lines += _listed([f"  {index}: {reason}" for index, reason in description.bad.items()], most)
    return "\n".join([*lines, *_findings(description, most)])


def convention_words(convention: Convention, state_names: Sequence[str] = ()) -> dict[str, str]:
    """Return a convention in words by topic.

    Args:
        convention: How numbers are written.
        state_names: Names of the entries of a state.
    """
    if convention.has_joints:
        return _joint_words(convention, state_names)
    if not convention.has_pose:
        return {
            "pose": "none is declared; numbers are taken as they are (name it with --convention position_at=...)",
            "actions": (
                f"choices, by their number from 0 to {convention.choices - 1}"
                if convention.choices
                else _ACTIONS[convention.actions]
            ),
        }

    def indices(wanted: Sequence[int]) -> str:
        named = [state_names[index] for index in wanted if index < len(state_names)]
        words = f"{', '.join(named)} " if len(named) == len(wanted) else ""
        return f"{words}(state {', '.join(map(str, wanted))})"

    rotation = convention.rotation
    fixed = "fixed" if rotation.islower() else "moving"
    written = _WRITTEN.get(rotation, f"Euler angles about the {fixed} axes {' '.join(rotation)}")
    unit = "" if rotation.startswith(("quat", "rot6d")) else f" in {convention.angle_unit}"
    gripper = f": {convention.gripper_open:g} open, {convention.gripper_closed:g} closed"
    shift = ", ".join(f"{value:g}" for value in convention.frame)
    return {
        "position": f"{indices(convention.position_at)} in {convention.position_unit}",
        "rotation": "none" if rotation == "none" else f"{indices(convention.rotation_at)}: {written}{unit}",
        "gripper": indices(convention.gripper_at) + gripper if convention.gripper_at else "none",
        "frame": f"{shift} in the robot's base" if any(convention.frame) else "the robot's base",
        "actions": _ACTIONS[convention.actions],
    }


def _joint_words(convention: Convention, state_names: Sequence[str]) -> dict[str, str]:
    """Return a convention of joints in words."""
    indices = tuple(range(len(state_names))) if isinstance(convention.joints, str) else convention.joints
    units, speeds = convention.units_of_joints(len(indices)), convention.speeds_of_joints(len(indices))
    joints = [
        (state_names[index] if index < len(state_names) else f"state {index}")
        + (f" [{unit}]" if unit else "")
        for index, unit in zip(indices, units, strict=True)
    ]
    actions = {
        "derived": "changes of the joints from row to row (the file's actions are not used)",
        "derived_target": "the joints of the next row, as targets (the file's actions are not used)",
        "delta": "changes of the joints",
        "target": "the joints to reach, written like the state",
        "given": _ACTIONS["given"],
    }
    words = {"joints": ", ".join(joints), "actions": actions[convention.actions]}
    if convention.action_joints and convention.actions in ("delta", "target"):
        words["actions"] += f", at {', '.join(map(str, convention.action_joints))} in the file's actions"
    if not any(units):
        words["units"] = "not declared (name them with --convention joint_units=...)"
    if convention.joint_speeds:
        words["speeds"] = f"at most {', '.join(f'{speed:g}' for speed in speeds)} per second"
    return words


def _head(description: DatasetDescription, most: int) -> list[str]:
    """Return the first lines: size, tasks, success, cameras, further information."""
    about = dict(description.about)
    robot = about.pop("robot", "") or "unknown"
    lengths = description.lengths
    looked = len(lengths) + len(description.bad)
    part = "" if looked == description.num_episodes else f" ({looked} of them read)"
    lines = [
        f"{description.path}: {description.format} of {counted(description.num_episodes, 'episode')}{part}, "
        f"{counted(description.num_frames, 'frame')} at {description.fps:g}/s "
        f"({description.num_frames / description.fps:.1f} s), robot {robot}"
    ]
    if lengths:
        lines.append(f"episode lengths: {min(lengths)} to {max(lengths)}, median {np.median(lengths):g}")
    tasks = [f"{task} ({count})" for task, count in description.tasks.items()]
    more = f" and {len(tasks) - most} more" if len(tasks) > most else ""
    lines.append(f"tasks: {', '.join(tasks[:most]) or 'unknown'}{more}")
    known, succeeded = description.successes
    lines.append(f"success: {succeeded} of {counted(known, 'episode')}" if known else "success: unknown")
    lines += [f"camera: {c.name}, {c.width}x{c.height}, {c.codec}" for c in description.cameras] or [
        "cameras: none"
    ]
    for name, value in about.items():
        if isinstance(value, Mapping):
            lines += [f"{name}:", *(f"  {key:<32}  {inner}" for key, inner in value.items())]
        else:
            lines.append(f"{name}: {value}")
    return lines


def _findings(description: DatasetDescription, most: int) -> list[str]:
    looked = (
        f"numbers of {counted(len(description.lengths), 'episode')}, frames of "
        f"{counted(description.frame_episodes, 'episode')}"
    )
    if not description.findings:
        return [f"findings: none ({looked} checked)"]
    counts = Counter(finding.severity for finding in description.findings)
    total = ", ".join(counted(count, name) for name, count in counts.items())
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in description.findings:
        groups.setdefault((finding.severity, finding.check), []).append(finding)
    lines = [f"findings: {total} ({looked} checked)"]
    for (severity, check), group in groups.items():
        lines += _listed([f"  {severity}, {check}, {f.location}: {f.message}" for f in group], most)
    return lines


def _listed(lines: Sequence[str], most: int) -> list[str]:
    more = [f"  ... and {len(lines) - most} more"] if len(lines) > most else []
    return [*lines[:most], *more]

"""Checks of joint data; checks of poses ignore joints."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.data.arm_motion import make_trajectory
from tests.data.joint_robot import JOINTS, joint_episode
from vjepa_world.data.trajectories.checks.run import Finding, check_numbers
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.convention import Convention


def episodes(kind: str = "target") -> list[Trajectory]:
    found = []
    for index in range(12):
        _, joints, targets = joint_episode(index)
        actions = targets if kind == "target" else targets - joints
        found.append(make_trajectory(index, joints, actions[:-1]))
    return found


def checked(parts: list[Trajectory], **words: Any) -> list[Finding]:
    convention = Convention(joints="all", **{"actions": "target", "joint_units": "deg", **words})
    return check_numbers(parts, convention, JOINTS, JOINTS)


@pytest.mark.parametrize("actions", ["target", "derived", "derived_target"])
def test_correct_data_has_no_findings(actions: str) -> None:
    assert checked(episodes(), actions=actions) == []
    assert checked(episodes("delta"), actions="delta") == []


@pytest.mark.parametrize(("said", "are"), [("delta", "target"), ("target", "delta")])
def test_targets_and_changes_are_distinguished(said: str, are: str) -> None:
    found = {finding.check: finding for finding in checked(episodes(are), actions=said)}
    assert found["joint actions"].severity == "error"
    assert f"set actions={are}" in found["joint actions"].message
    [given] = checked(episodes(are), actions="given")
    assert (given.check, given.severity) == ("joint actions", "note")
    assert f"set actions={are}" in given.message


def test_degrees_declared_as_radians() -> None:
    found = checked(episodes(), joint_units="rad")
    assert {finding.check for finding in found} == {"joint unit"}
    assert {finding.severity for finding in found} == {"error"}
    assert "set joint_units=deg" in found[0].message


def test_radians_declared_as_degrees() -> None:
    parts = [
        replace(part, states=np.radians(part.states), actions=np.radians(part.actions)) for part in episodes()
    ]
    [finding] = checked(parts)
    assert (finding.check, finding.severity) == ("joint unit", "warning")
    assert "set joint_units=rad" in finding.message


def test_without_a_unit_the_likely_one_is_suggested() -> None:
    [finding] = checked(episodes(), joint_units=())
    assert finding.severity == "note"
    assert "no unit of the joints is declared" in finding.message


def test_a_jump_is_reported_with_its_joint_and_row() -> None:
    parts = episodes()
    for values in (parts[3].states, parts[3].actions):
        values[6:, 4] += 60
    [finding] = [f for f in checked(parts) if f.check == "joint jump"]
    assert (finding.episode, finding.row) == (3, 5)
    assert "state 4 (wrist_roll.pos) jumps by" in finding.message
    for values in (parts[3].states, parts[3].actions):
        values[6:, 4] += 300
    [finding] = [f for f in checked(parts) if f.check == "joint jump"]
    assert "unwrap the angle" in finding.message

"""States around a goal: true distances, one thing moved, nothing inside of another, the running episode untouched."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np
import pytest

from envs import ArmEnv, EnvError, Goal, Reach
from envs.goal_states import GoalStates, states_around
from envs.object_probe import ObjectProbe
from tests.envs.test_conformance import every_task

SIZE = 32
TOLERANCE_M = 1e-6


class Recorder:
    """Takes notes of each state instead of a picture."""

    def __init__(self, env: ArmEnv) -> None:
        self.env = env
        self.tcp_m, self.object_m, self.depth_m, self.held = [], [], [], []  # type: ignore[var-annotated]

    def __call__(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        model = self.env.simulation.model
        self.tcp_m.append(data.site("robot/tcp").xpos.copy())
        self.depth_m.append(-min(data.contact.dist, default=0.0))
        if self.env.task.with_object:
            probe = ObjectProbe(model, data, self.env.robot.scale)
            self.object_m.append(data.joint("object").qpos[:3].copy())
            self.held.append(probe.is_grasped)
        return {"image": np.zeros((1, 1, 3), np.uint8)}


def noted(env: ArmEnv, goal: int, count: int = 12) -> tuple[Recorder, list[GoalStates]]:
    """Return states around one of the goals of the running episode; the first note is of the goal."""
    configurations = env.get_state().goal.configurations
    assert configurations is not None
    notes = Recorder(env)
    found = states_around(
        env.simulation,
        "goal",
        configurations[goal],
        photograph=notes,
        count=count,
        radii_m=(0.1, 0.04),
        rng=np.random.default_rng(0),
    )
    return notes, found


@every_task
def test_one_thing_is_moved_by_the_stated_distance(robot: str, task: str) -> None:
    env = ArmEnv(task, robot=robot, image_size=SIZE)
    env.reset(seed=3)
    for goal in range(max(len(env.task.subgoals), 1)):
        notes, found = noted(env, goal)
        assert {states.moved for states in found} in ({"arm"}, {"arm", "object"}, {"arm with object"})
        tcp = np.linalg.norm(np.array(notes.tcp_m) - notes.tcp_m[0], axis=1)
        low, high = env.simulation.workspace.low_m, env.simulation.workspace.high_m
        assert max(notes.depth_m[1:]) < notes.depth_m[0] + 0.001 + TOLERANCE_M
        first = 1
        for states in found:
            rows = slice(first, first + len(states.distances_m))
            first = rows.stop
            assert states.distances_m.shape == (12,) and states.distances_m.max() <= states.radius_m
            if env.task.with_object:
                moved = np.array(notes.object_m) - notes.object_m[0]
                distance = np.linalg.norm(moved, axis=1)
            if states.moved == "object":
                np.testing.assert_allclose(distance[rows], states.distances_m, atol=TOLERANCE_M)
                assert tcp[rows].max() < TOLERANCE_M and np.abs(moved[rows, 2]).max() < TOLERANCE_M
            else:
                np.testing.assert_allclose(tcp[rows], states.distances_m, atol=TOLERANCE_M)
                assert all((low <= at).all() and (at <= high).all() for at in notes.tcp_m[rows])
            if states.moved == "arm" and env.task.with_object:
                assert distance[rows].max() < TOLERANCE_M
            if states.moved == "arm with object":
                assert all(notes.held[rows])
    env.close()


def test_at_least_one_state_is_asked_for() -> None:
    env = ArmEnv("grasp", image_size=SIZE)
    env.reset(seed=0)
    with pytest.raises(EnvError, match="count 0 is out of range: use 1 to"):
        env.states_around_goals(0, (0.1,), np.random.default_rng(0))
    env.close()


def test_pictures_are_those_of_the_goals_and_the_episode_goes_on() -> None:
    env = ArmEnv("pick_place", image_size=SIZE, cameras=("main", "wrist"))
    _, info = env.reset(seed=1)
    before, seen = env.get_state(), env.step(np.zeros(7))[0]
    env.set_state(before)
    found = env.states_around_goals(3, (0.1,), np.random.default_rng(0))
    assert [states.goal for states in found] == ["grasped", "near_place", "at_place", "at_place"]
    for camera, key in (("image", "subgoal_images"), ("image_wrist", "subgoal_images_wrist")):
        for states, index in zip(found, (0, 1, 2, 2), strict=True):
            assert (states.goal_images[camera] == info[key][index]).all()
            assert states.images[camera].shape == (3, SIZE, SIZE, 3)
    for states in found:
        assert (states.images["image"] != states.goal_images["image"]).any(axis=(1, 2, 3)).all()
    again = env.step(np.zeros(7))[0]
    assert all((seen[name] == again[name]).all() for name in seen)
    env.close()


def test_the_same_generator_gives_the_same_states() -> None:
    env = ArmEnv("grasp", image_size=SIZE)
    env.reset(seed=5)
    one, two, other = (env.states_around_goals(4, (0.2,), np.random.default_rng(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(one, two, other, strict=True):
        assert (a.distances_m == b.distances_m).all() and (a.images["image"] == b.images["image"]).all()
        assert (a.distances_m != c.distances_m).any()
    env.close()


def test_places_are_uniform_in_the_ball() -> None:
    env = ArmEnv("reach", image_size=SIZE)
    env.reset(seed=0, options={"goal_state": [0.47, 0.0, 0.25, np.pi, 0, 0, 0]})
    (states,) = env.states_around_goals(400, (0.08,), np.random.default_rng(0))
    # Of a ball, an eighth lies within half of the radius, and the mean distance is three quarters of it.
    assert (states.distances_m < 0.04).mean() == pytest.approx(1 / 8, abs=0.05)
    assert states.distances_m.mean() == pytest.approx(0.06, abs=0.002)
    env.close()


def test_a_place_without_room_is_refused() -> None:
    env = ArmEnv("reach", image_size=SIZE)
    env.reset(seed=0)
    with pytest.raises(
        EnvError, match=r"only 0 of 5 states with the arm elsewhere within 1e-12 m .* larger radius"
    ):
        env.states_around_goals(5, (1e-12,), np.random.default_rng(0))
    env.close()


def test_a_task_that_does_not_describe_its_goals_is_refused() -> None:
    class Plain(Reach):
        def stage(self, *args: Any) -> Goal:
            goal = super().stage(*args)
            return Goal(images=goal.images, state=goal.state)

    env = ArmEnv(Plain(), image_size=SIZE)
    with pytest.raises(EnvError, match="states_around_goals was called before reset"):
        env.states_around_goals(3, (0.1,), np.random.default_rng(0))
    env.reset(seed=0)
    with pytest.raises(
        EnvError, match="goals of 'reach' have no configurations: its `stage` must return them"
    ):
        env.states_around_goals(3, (0.1,), np.random.default_rng(0))
    env.close()

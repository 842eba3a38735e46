"""What every task keeps with every robot: exact reproduction, limits, the contract of info, experts, memory."""

from __future__ import annotations

import gc
import hashlib
import resource
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from envs import ENV_IDS, ArmEnv
from envs.arm.robots import ROBOTS
from tests.envs.checker import faults_of
from tests.paths import REPO

OBJECT_TASKS = [task for task in ENV_IDS if task != "reach"]
SIZE = 48
#: How far the TCP of a hand that touches nothing leaves the box of its commands.
FREE_OVERSHOOT_M = 0.008


def on_every_robot(tasks: Iterable[str]) -> list[Any]:
    """Return the pairs of robot and task as parameters; a robot whose package is not installed is skipped."""
    return [
        pytest.param(
            robot,
            task,
            id=f"{robot}-{task}",
            marks=pytest.mark.skipif(
                not ROBOTS[robot].is_available, reason=f"{robot}'s package is not installed"
            ),
        )
        for robot in ROBOTS
        for task in tasks
    ]


every_task = pytest.mark.parametrize(("robot", "task"), on_every_robot(ENV_IDS))
every_task_with_an_object = pytest.mark.parametrize(("robot", "task"), on_every_robot(OBJECT_TASKS))


@pytest.fixture(
    scope="module", params=[pytest.param(p.values, id=p.id, marks=p.marks) for p in on_every_robot(ENV_IDS)]
)
def env(request: pytest.FixtureRequest) -> Iterator[ArmEnv]:
    robot, task = request.param
    made = ArmEnv(task, robot=robot, image_size=SIZE, max_steps=10_000)
    yield made
    made.close()


def digest(env: ArmEnv, seed: int, steps: int = 6) -> str:
    """Return a digest of everything that an episode with seeded actions returns as arrays or numbers."""
    rng = np.random.default_rng(seed)
    found = hashlib.sha256()

    def add(values: dict[str, Any]) -> None:
        for name, value in sorted(values.items()):
            if name not in ("scene", "factors", "subgoal_names"):
                found.update(np.asarray(value).tobytes())

    for values in env.reset(seed=seed):
        add(values)
    for _ in range(steps):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, _, _, info = env.step(action)
        add(observation | info | {"reward": reward})
    return found.hexdigest()


def test_the_same_seed_gives_the_same_episode_after_any_history(env: ArmEnv) -> None:
    first = digest(env, 5)
    digest(env, 6, steps=2)
    digest(env, 7, steps=1)
    assert digest(env, 5) == first
    assert digest(env, 6) != first


def test_the_same_seed_gives_the_same_episode_in_another_process() -> None:
    cases = [(robot, task) for robot in ROBOTS for task in ENV_IDS if ROBOTS[robot].is_available]

    def digests() -> list[str]:
        found = []
        for robot, task in cases:
            made = ArmEnv(task, robot=robot, image_size=SIZE, variation="test")
            found.append(digest(made, 3))
            made.close()
        return found

    code = (
        "from envs import ArmEnv\nfrom tests.envs.test_conformance import SIZE, digest\n"
        f"for robot, task in {cases[::-1]}:\n"
        "    print(digest(ArmEnv(task, robot=robot, image_size=SIZE, variation='test'), 3))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == digests()[::-1]


@every_task
def test_gymnasiums_environment_checker_passes(robot: str, task: str) -> None:
    assert faults_of(ENV_IDS[task], robot=robot, image_size=SIZE) == []


def test_info_has_what_the_contract_says(env: ArmEnv) -> None:
    observation, info = env.reset(seed=1)
    later = env.step(np.zeros(7))[4]
    always = {"distance", "success"}
    if env.task.with_object:
        always |= {"contact", "object_moving", "object_lifted", "subgoals_reached"}
        goals = len(env.task.subgoals)
        assert info["subgoal_names"] == env.task.subgoals
        assert info["subgoal_images"].shape == (goals, SIZE, SIZE, 3)
        np.testing.assert_array_equal(info["subgoal_images"][-1], info["goal_image"])
        assert later["subgoals_reached"].shape == (goals,)
        assert {"object_shape", "unseen_object", "unseen_colour"} <= info["factors"].keys()
    for values in (info, later):
        assert always <= values.keys()
        assert isinstance(values["distance"], float)
        for name in always - {"distance", "subgoals_reached"}:
            assert isinstance(values[name], bool), name
    assert {"camera_moved", "unseen_light", "clutter"} <= info["factors"].keys()
    assert info["goal_image"].shape == observation["image"].shape
    assert info["goal_state"].shape == observation["state"].shape
    assert isinstance(info["redrawn_scenes"], int)
    assert info["solved_at_reset"] is info["success"]


def test_a_saved_state_continues_bit_for_bit(env: ArmEnv) -> None:
    def follow(actions: np.ndarray) -> list[bytes]:
        found = []
        for action in actions:
            observation, _, _, _, info = env.step(action)
            found += [observation["image"].tobytes(), observation["state"].tobytes()]
            found.append(str({k: v for k, v in info.items() if np.ndim(v) == 0}).encode())
        return found

    high = env.action_space.high
    actions = np.random.default_rng(2).uniform(-high, high, (8, 7))
    env.reset(seed=9)
    expert, observation = env.expert(), {"state": env.simulation.state()}
    for _ in range(5):
        observation = env.step(expert.act(observation))[0]
    state = env.get_state()
    first = follow(actions)
    env.set_state(state)
    assert follow(actions) == first
    env.reset(seed=10)
    env.set_state(state)
    assert follow(actions) == first


def limits_of_episodes(env: ArmEnv, seeds: range, steps: int) -> None:
    """Check joints, speeds and workspace in episodes of random actions, uniform or at the corners of the bounds."""
    high, arm, data = env.action_space.high, env.simulation.arm, env.simulation.data
    robot, bodies = env.robot, ("hand", "finger_left", "finger_right")
    hand = [env.simulation.model.body(f"robot/{name}").id for name in bodies]
    speeds: list[np.ndarray] = []
    contacts: list[bool] = []

    def watch() -> None:
        assert (data.qpos[robot.arm] >= robot.joint_low_rad).all()
        assert (data.qpos[robot.arm] <= robot.joint_high_rad).all()
        speeds.append(np.abs(data.qvel[robot.arm]))
        touching = env.simulation.model.geom_bodyid[data.contact.geom]
        contacts.append(bool(np.isin(touching, hand).any()))

    for seed in seeds:
        rng = np.random.default_rng(seed)
        env.reset(seed=seed)
        touched = False
        for _ in range(steps):
            draw = rng.uniform(-high, high) if seed % 2 else rng.choice([-1.0, 1.0], 7) * high
            speeds.clear()
            contacts.clear()
            arm.step(draw.astype(np.float64), watch)
            position = arm.pose()[:3]
            assert env.simulation.workspace.contains(position), (seed, position)
            # A hand that presses on something is pushed out further, and springs off faster, also in the next step.
            free, touched = not (touched or any(contacts)), any(contacts)
            if free:
                box = env.simulation.workspace
                assert (position >= box.command_low_m - FREE_OVERSHOOT_M).all(), (seed, position)
                assert (position <= box.command_high_m + FREE_OVERSHOOT_M).all(), (seed, position)
                if box.keeps_speeds:
                    assert (np.max(speeds, axis=0) <= robot.speed_limit_rad_s).all(), seed


def test_limits_hold_in_random_episodes(env: ArmEnv) -> None:
    limits_of_episodes(env, range(4), 15)


@pytest.mark.slow
def test_limits_hold_in_many_random_episodes(env: ArmEnv) -> None:
    limits_of_episodes(env, range(1000), 20)


def solved(env: ArmEnv, seed: int) -> bool:
    observation, _ = env.reset(seed=seed)
    expert = env.expert()
    for _ in range(env.task.max_steps):
        observation, _, terminated, _, _ = env.step(expert.act(observation))
        if terminated:
            return True
    return False


@pytest.mark.parametrize("variation", ["train", "test"])
@every_task
def test_the_expert_achieves_the_goal(robot: str, task: str, variation: str) -> None:
    made = ArmEnv(task, robot=robot, variation=variation, image_size=SIZE)
    assert sum(solved(made, seed) for seed in range(6)) == 6
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("variation", ["train", "test"])
@every_task
def test_the_expert_achieves_the_goal_in_95_of_100_scenes(robot: str, task: str, variation: str) -> None:
    made = ArmEnv(task, robot=robot, variation=variation, image_size=SIZE)
    assert sum(solved(made, seed) for seed in range(100)) >= 95
    made.close()


@every_task_with_an_object
def test_nothing_sinks_into_anything_at_rest(robot: str, task: str) -> None:
    made = ArmEnv(task, robot=robot, image_size=SIZE)
    for seed in range(6):
        made.reset(seed=seed)
        for _ in range(4):
            made.step(np.zeros(7))
        contacts = made.simulation.data.contact
        assert contacts.dist.min(initial=0.0) > -1e-3
        # A jaw that turns tilts what it holds.
        upright_rad = 0.1 if (robot, task) == ("so101", "reach_with_object") else 0.01
        assert made.simulation.object.spec.shape == "ball" or made.simulation.object.tilt_rad < upright_rad
    made.close()


@pytest.mark.parametrize(("robot", "task"), on_every_robot(["reach_with_object"]))
def test_a_held_object_does_not_slip(robot: str, task: str) -> None:
    made = ArmEnv(task, robot=robot, image_size=SIZE)
    for seed in range(8):
        made.reset(seed=seed)
        thing, simulation = made.simulation.object, made.simulation
        before = thing.position_m - simulation.tcp_m
        for _ in range(20):
            made.step(np.zeros(7))
        assert thing.is_grasped
        np.testing.assert_allclose(thing.position_m - simulation.tcp_m, before, atol=5e-4)
    made.close()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's memory statistics")
def test_episodes_and_saved_states_leave_no_memory_behind(env: ArmEnv) -> None:
    def used() -> int:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    def episodes(count: int) -> None:
        for seed in range(count):
            env.reset(seed=seed)
            env.step(np.zeros(7))
            env.set_state(env.get_state())

    episodes(10)
    before = used()
    episodes(30)
    assert used() - before < 4e6

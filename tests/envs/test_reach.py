from __future__ import annotations

import copy
import dataclasses
import gc
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from envs import REACH_ID, ArmEnv, EnvError
from envs.arm.limits import WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.arm.robots.panda import JOINT_HIGH_RAD, JOINT_LOW_RAD, PANDA, TORQUE_LIMIT_NM
from tests.envs.checker import faults_of

STEP_M = 0.075


def play(env: ArmEnv, seed: int, steps: int = 8) -> list[tuple[bytes, bytes, float]]:
    """Return the exact trajectory of an episode with seeded actions."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    course = [(observation["image"].tobytes(), info["goal_image"].tobytes(), info["distance"])]
    for _ in range(steps):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, *_ = env.step(action)
        course.append((observation["image"].tobytes(), observation["state"].tobytes(), float(reward)))
    return course


def towards(env: ArmEnv, position: np.ndarray, target: np.ndarray) -> np.ndarray:
    delta = np.clip(target - position, -STEP_M, STEP_M)
    return np.concatenate([delta, np.zeros(4)]).astype(np.float32)


@pytest.mark.parametrize("variation", ["test", "none"])
def test_gymnasiums_environment_checker_passes_with_other_variations(variation: str) -> None:
    assert faults_of(REACH_ID, variation=variation) == []


def test_the_same_seed_gives_the_same_trajectory_after_any_history(env: ArmEnv) -> None:
    first = play(env, 5)
    for other in (6, 7, 8):
        play(env, other, steps=3)
    assert play(env, 5) == first
    fresh = ArmEnv("reach")
    assert play(fresh, 5) == first
    fresh.close()
    assert play(env, 6) != first


def test_unseeded_resets_continue_the_same_generator(env: ArmEnv) -> None:
    def three() -> list[float]:
        return [env.reset(seed=11)[1]["distance"]] + [env.reset()[1]["distance"] for _ in range(2)]

    first = three()
    assert three() == first
    assert len(set(first)) == 3


def test_nothing_returned_shares_memory_with_the_environment(env: ArmEnv) -> None:
    observation, info = env.reset(seed=1)
    kept = {
        name: value.copy() for name, value in (observation | info).items() if isinstance(value, np.ndarray)
    }
    later, _, _, _, later_info = env.step(np.full(7, 0.05, np.float32))
    for array in (*later.values(), later_info["commanded_position"]):
        array[...] = 0
    for name, value in kept.items():
        np.testing.assert_array_equal((observation | info)[name], value)
    assert env.step(np.zeros(7, np.float32))[0]["state"][0] > 0.3


def test_two_environments_in_one_process_are_independent() -> None:
    first, second = ArmEnv("reach"), ArmEnv("reach", variation="test", image_size=64)
    alone = play(first, 3, steps=2)
    play(second, 3, steps=2)
    assert play(first, 3, steps=2) == alone
    del second
    gc.collect()
    assert play(first, 3, steps=2) == alone
    first.close()


@pytest.mark.parametrize("kind", ["random", "corners", "constant"])
def test_limits_hold_under_random_and_adversarial_actions(env: ArmEnv, kind: str) -> None:
    high = env.action_space.high
    low_joints, high_joints = np.array(JOINT_LOW_RAD), np.array(JOINT_HIGH_RAD)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        env.reset(seed=seed)
        constant = rng.choice([-1.0, 1.0], 7) * high
        for _ in range(25):
            draws = {"random": rng.uniform(-high, high), "corners": rng.choice([-1, 1], 7) * high}
            observation, *_ = env.step(draws.get(kind, constant).astype(np.float32))
            data = env.simulation.data
            assert (data.qpos[:7] >= low_joints).all()
            assert (data.qpos[:7] <= high_joints).all()
            assert (np.abs(data.qfrc_actuator[:7]) <= np.array(TORQUE_LIMIT_NM) + 1e-9).all()
            assert (observation["state"][:3] >= WORKSPACE_LOW_M - 0.02).all()
            assert (observation["state"][:3] <= WORKSPACE_HIGH_M + 0.02).all()
            assert env.observation_space.contains(observation)


def test_the_end_effector_reaches_the_commanded_pose(env: ArmEnv) -> None:
    errors = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        env.reset(seed=seed)
        for step in range(12):
            delta = rng.uniform(-STEP_M, STEP_M, 3) if step % 2 else rng.choice([-STEP_M, STEP_M], 3)
            action = np.concatenate([delta, np.zeros(4)]).astype(np.float32)
            observation, _, _, _, info = env.step(action)
            errors.append(np.linalg.norm(observation["state"][:3] - info["commanded_position"]))
    assert np.max(errors) < 0.008
    assert np.median(errors) < 0.004


def test_commanded_position_is_start_plus_delta_within_the_workspace(env: ArmEnv) -> None:
    centre = np.array([0.47, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])
    observation, _ = env.reset(seed=0, options={"start_state": centre})
    start = observation["state"][:3].copy()
    _, _, _, _, info = env.step(np.array([0.05, -0.02, 0.03, 0, 0, 0, 0], np.float32))
    np.testing.assert_allclose(info["commanded_position"], start + [0.05, -0.02, 0.03], atol=1e-6)
    assert not info["workspace_clipped"]
    for _ in range(8):
        _, _, _, _, info = env.step(np.array([0.0, 0.0, -STEP_M, 0, 0, 0, 0], np.float32))
    assert info["workspace_clipped"]
    assert info["commanded_position"][2] == WORKSPACE_LOW_M[2]


def test_zero_actions_hold_the_arm_still(env: ArmEnv) -> None:
    for seed in range(4):
        observation, _ = env.reset(seed=seed)
        start = observation["state"].copy()
        for _ in range(12):
            observation, *_ = env.step(np.zeros(7, np.float32))
        assert np.linalg.norm(observation["state"][:3] - start[:3]) < 0.002
        np.testing.assert_allclose(observation["state"][3:], start[3:], atol=0.01)


def test_rotation_and_closure_follow_the_convention(env: ArmEnv) -> None:
    centre = np.array([0.47, 0.0, 0.25, np.pi, 0.0, 0.0, 0.2])
    env.reset(seed=0, options={"start_state": centre})
    observation, *_ = env.step(np.array([0, 0, 0, 0, 0, 0.25, 0.5], np.float32))
    # A left rotation about the base's z axis adds to the last of the extrinsic angles.
    np.testing.assert_allclose(observation["state"][3:6], [np.pi, 0.0, 0.25], atol=0.01)
    assert observation["state"][6] == pytest.approx(0.7, abs=0.03)


def test_goal_image_is_what_the_camera_sees_at_the_goal(env: ArmEnv) -> None:
    for seed in range(5):
        observation, info = env.reset(seed=seed)
        goal = info["goal_state"]
        away = np.abs(observation["image"].astype(float) - info["goal_image"]).mean()
        done = False
        for _ in range(14):
            action = towards(env, observation["state"][:3], goal[:3])
            observation, _, terminated, _, last = env.step(action)
            done = done or terminated
        assert done
        assert last["distance"] < 0.003
        difference = np.abs(observation["image"].astype(float) - info["goal_image"]).mean()
        assert difference < 1.0
        assert difference < 0.15 * away


def test_reset_uses_given_states(env: ArmEnv) -> None:
    goal = np.array([0.4, 0.2, 0.1, np.pi, 0.0, 0.1, 0.5])
    start = np.array([0.6, -0.2, 0.3, np.pi, 0.0, -0.1, 0.1])
    observation, info = env.reset(seed=0, options={"goal_state": goal, "start_state": start})
    np.testing.assert_allclose(observation["state"], start, atol=2e-3)
    np.testing.assert_allclose(info["goal_state"], goal, atol=2e-3)
    assert info["distance"] == pytest.approx(np.linalg.norm(goal[:3] - start[:3]), abs=2e-3)
    assert not info["solved_at_reset"]
    _, info = env.reset(seed=0, options={"goal_state": start, "start_state": start})
    assert info["solved_at_reset"]


def test_reset_accepts_a_measured_state(env: ArmEnv) -> None:
    for seed in range(10):
        _, info = env.reset(seed=seed)
        _, again = env.reset(seed=seed + 100, options={"goal_state": info["goal_state"]})
        np.testing.assert_allclose(again["goal_state"], info["goal_state"], atol=1e-3)


def test_reward_success_and_truncation() -> None:
    env = ArmEnv("reach", variation="none", max_steps=3)
    start = np.array([0.47, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])
    env.reset(seed=0, options={"goal_state": start + [0.1, 0, 0, 0, 0, 0, 0], "start_state": start})
    _, reward, terminated, truncated, info = env.step(np.zeros(7, np.float32))
    assert (terminated, truncated, info["success"]) == (False, False, False)
    assert reward == pytest.approx(-0.1, abs=2e-3)
    _, _, terminated, truncated, info = env.step(np.array([STEP_M, 0, 0, 0, 0, 0, 0], np.float32))
    assert (terminated, truncated, info["success"]) == (True, False, True)
    assert env.step(np.zeros(7, np.float32))[3]
    env.close()


def test_actions_out_of_bounds_are_clipped_and_reported(env: ArmEnv) -> None:
    wide, narrow = np.array([9.0, 0, 0, 0, 0, 0, 0]), np.array([STEP_M, 0, 0, 0, 0, 0, 0])
    start = {"start_state": np.array([0.4, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])}
    env.reset(seed=0, options=start)
    first, _, _, _, info = env.step(wide)
    assert info["action_clipped"]
    env.reset(seed=0, options=start)
    second, _, _, _, info = env.step(narrow.astype(np.float32))
    assert not info["action_clipped"]
    np.testing.assert_array_equal(first["state"], second["state"])


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(6), r"action has shape \(6,\), not \(7,\)"),
        (np.zeros((1, 7)), r"action has shape \(1, 7\), not \(7,\)"),
        (np.array([0, np.nan, 0, 0, 0, 0, 0]), "action .* is not finite"),
        (np.array([np.inf, 0, 0, 0, 0, 0, 0]), "action .* is not finite"),
        (["up"] * 7, "action .* is not an array of real numbers"),
        (np.zeros(7, complex) + 1j, "action .* is not an array of real numbers"),
        (["0"] * 7, "action .* is not an array of real numbers"),
        ([True] * 7, "action .* is not an array of real numbers"),
        (None, "action None is not an array of real numbers"),
        ([[0.0], [0.0, 1.0]], "action .* is not an array of numbers"),
        ([10**400] + [0] * 6, "action .* is not an array of real numbers"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(env: ArmEnv, action: Any, message: str) -> None:
    env.reset(seed=0)
    before = env.simulation.data.qpos.copy()
    with pytest.raises(EnvError, match=message):
        env.step(action)
    np.testing.assert_array_equal(env.simulation.data.qpos, before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"goal": np.zeros(7)},
            r"reset options \['goal'\] are unknown: allowed are \['goal_state', 'start_state', 'variation'\]",
        ),
        (5, "reset options 5 are not a mapping"),
        ("goal_state", "reset options 'goal_state' are not a mapping"),
        ([1], r"reset options \[1\] are not a mapping"),
        ({1: 2, "a": 3}, r"reset options \[1, 'a'\] are unknown"),
        ({"goal_state": None}, "goal_state None is not an array of real numbers"),
        ({"goal_state": np.zeros(7, complex)}, "goal_state .* is not an array of real numbers"),
        ({"goal_state": np.zeros(3)}, "goal_state .* is not a pose: give 7 finite numbers"),
        ({"start_state": np.array([2.0, 0, 0.2, np.pi, 0, 0, 0])}, "start_state .* is out of the workspace"),
        (
            {"goal_state": np.array([0.5, 0, 0.2, 0, 0, 0, 0])},
            "turns the hand 3.14 rad away from pointing down",
        ),
        (
            {"goal_state": np.array([0.62, 0.3, 0.42, 2.9, 0.18, 0.24, 0])},
            "goal_state .* is out of the arm's reach",
        ),
    ],
)
def test_bad_options_are_refused(env: ArmEnv, options: Any, message: str) -> None:
    with pytest.raises(EnvError, match=message):
        env.reset(seed=0, options=options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"camera": "wobbly"}, "camera 'wobbly' is unknown: use 'jittered' or 'fixed'"),
        ({"image_size": 4}, "image_size 4 is out of range: use 16 to 1024"),
        ({"image_size": 64.5}, "image_size 64.5 is not a whole number: use 16 to 1024"),
        ({"image_size": True}, "image_size True is not a whole number"),
        ({"max_steps": 0}, "max_steps 0 is out of range: use 1 to"),
        ({"max_steps": 1.5}, "max_steps 1.5 is not a whole number"),
        ({"max_steps": "x"}, "max_steps 'x' is not a whole number"),
        ({"variation": None}, "variation None is unknown"),
        ({"camera": np.zeros(2)}, "camera .* is unknown"),
        ({"render_mode": np.zeros(2)}, "render_mode .* is unknown"),
        ({"render_mode": "human"}, "render_mode 'human' is unknown"),
        ({"variation": "real"}, "variation 'real' is unknown"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        ArmEnv("reach", **arguments)


def test_stepping_before_reset_and_rendering_after_close_are_refused() -> None:
    env = ArmEnv("reach", image_size=32)
    with pytest.raises(EnvError, match="call reset first"):
        env.step(np.zeros(7))
    env.close()
    env.close()
    with pytest.raises(EnvError, match="the environment was closed"):
        env.reset(seed=0)


@pytest.mark.parametrize("seed", [-1, 1.5, "x", np.float64(1), [1]])
def test_a_seed_is_a_whole_number(env: ArmEnv, seed: Any) -> None:
    with pytest.raises(EnvError, match="seed .* is (not a whole number|out of range)"):
        env.reset(seed=seed)


def test_numpy_numbers_are_numbers() -> None:
    env = ArmEnv("reach", image_size=np.int64(32), max_steps=np.int32(1))  # type: ignore[arg-type]
    first = env.reset(seed=np.int64(3))[1]["goal_state"]  # type: ignore[arg-type]
    np.testing.assert_array_equal(first, env.reset(seed=3)[1]["goal_state"])
    assert env.step(np.zeros(7, np.int8))[3] is True  # truncated after one step
    env.close()


def test_any_thread_may_use_an_environment_and_sees_the_same() -> None:
    env = ArmEnv("reach", image_size=32)
    action = np.full(7, 0.02)

    def course() -> list[bytes]:
        images = [env.reset(seed=1)[0]["image"], env.step(action)[0]["image"]]
        return [image.tobytes() for image in images]

    expected = course()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        assert first.submit(course).result() == expected
        made_there = second.submit(ArmEnv, "reach", image_size=32).result()
        assert second.submit(course).result() == expected
    assert course() == expected
    assert made_there.reset(seed=1)[0]["image"].tobytes() == expected[0]
    made_there.close()
    with ThreadPoolExecutor(1) as other:
        other.submit(env.close).result()
    with pytest.raises(EnvError, match="was closed"):
        env.reset(seed=1)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_copy_is_refused_and_leaves_the_environment_as_it_was(
    env: ArmEnv, copied: Callable[[object], object]
) -> None:
    image = env.reset(seed=2)[0]["image"]
    with pytest.raises(EnvError, match="cannot be copied or pickled: make another one"):
        copied(env)
    np.testing.assert_array_equal(env.render(), image)


def test_fixed_camera_stays_while_the_jittered_one_moves() -> None:
    def cameras(camera: str) -> set[bytes]:
        env = ArmEnv("reach", camera=camera, image_size=32)  # type: ignore[arg-type]
        seen = set()
        for seed in range(4):
            env.reset(seed=seed)
            seen.add(env.simulation.model.cam_pos.tobytes() + env.simulation.model.cam_quat.tobytes())
        env.close()
        return seen

    assert len(cameras("fixed")) == 1
    assert len(cameras("jittered")) == 4


def test_the_scene_of_a_seed_does_not_depend_on_the_camera() -> None:
    fixed, jittered = ArmEnv("reach", camera="fixed"), ArmEnv("reach", camera="jittered")
    (_, first), (_, second) = fixed.reset(seed=3), jittered.reset(seed=3)
    np.testing.assert_array_equal(first["goal_state"], second["goal_state"])
    assert first["scene"].clutter == second["scene"].clutter
    assert (first["goal_image"] != second["goal_image"]).any()
    fixed.close()
    jittered.close()


def test_the_hand_stays_in_the_picture() -> None:
    """The dark hand and the orange fingers are seen at every corner of the workspace."""
    plain = ArmEnv("reach", variation="none", camera="fixed")
    corners = np.stack(np.meshgrid(*zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True)), -1).reshape(-1, 3)
    for corner in corners:
        start = np.array([*corner, np.pi, 0.0, 0.0, 0.0])
        image = plain.reset(seed=0, options={"start_state": start})[0]["image"].astype(int)
        dark = (image.max(axis=2) < 60).sum()
        orange = ((image[..., 0] > 120) & (image[..., 0] > 2 * image[..., 1]) & (image[..., 2] < 60)).sum()
        assert dark > 120
        assert orange >= 4
    plain.close()


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("MUJOCO_GL", "PYOPENGL_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY", "LP_NUM_THREADS")
    }
    return subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, text=True, check=False
    )


def test_gymnasium_makes_it_by_module_and_id() -> None:
    done = run_python(
        "import gymnasium; print(gymnasium.make('envs:vjepa_world/Reach-v0').reset(seed=0)[1]['success'])"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def test_missing_opengl_is_a_clear_error() -> None:
    code = "import envs\ntry: envs.ArmEnv('reach')\nexcept envs.EnvError as error: print(error)"
    done = run_python(code, MUJOCO_GL="disable")
    assert done.returncode == 0, done.stderr
    assert "OpenGL did not start with MUJOCO_GL='disable'" in done.stdout
    assert "libegl1" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="these back ends are Linux's")
@pytest.mark.parametrize("backend", ["foo", "osmesa", "glfw"])
def test_an_unknown_or_missing_opengl_back_end_is_a_clear_error(backend: str) -> None:
    """A machine that has OSMesa, or a display that glfw finds, renders instead."""
    code = (
        "import importlib, sys\n"
        "try: importlib.import_module('envs').ArmEnv('reach', image_size=32).reset(seed=0); print('rendered')\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = run_python(code, MUJOCO_GL=backend)
    assert done.returncode == 0, done.stderr
    if backend == "foo" or "rendered" not in done.stdout:
        assert done.stdout.startswith("EnvError ")
        assert f"MUJOCO_GL='{backend}'" in done.stdout
        assert "set MUJOCO_GL to egl or osmesa" in done.stdout


def test_an_invalid_back_end_is_one_line_and_exit_code_2() -> None:
    done = run_python(
        "from vjepa_world.cli.main import main\n"
        "raise SystemExit(main(['collect', 'name=a', 'episodes=1', 'steps=1']))",
        MUJOCO_GL="foo",
    )
    assert done.returncode == 2
    assert "vjepa-world collect: error: MuJoCo does not start with MUJOCO_GL='foo'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="EGL is chosen on Linux only")
def test_an_empty_back_end_variable_counts_as_unset() -> None:
    done = run_python(
        "import envs; envs.ArmEnv('reach', image_size=32).reset(seed=0); print('ok')", MUJOCO_GL=""
    )
    assert done.stdout.strip() == "ok", done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="EGL is chosen on Linux only")
def test_headless_linux_renders_with_egl_by_default() -> None:
    code = "import mujoco, os, envs; envs.ArmEnv('reach').reset(seed=0); print(os.environ['MUJOCO_GL'])"
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "egl"


def test_a_saved_state_continues_bit_for_bit_also_in_another_environment(env: ArmEnv) -> None:
    rng = np.random.default_rng(0)
    actions = rng.uniform(env.action_space.low, env.action_space.high, (6, 7)).astype(np.float32)

    def rest(made: ArmEnv) -> list[tuple[bytes, bytes, float]]:
        steps = [made.step(action) for action in actions[3:]]
        return [(o["image"].tobytes(), o["state"].tobytes(), float(reward)) for o, reward, *_ in steps]

    env.reset(seed=12)
    for action in actions[:3]:
        env.step(action)
    state = env.get_state()
    expected = rest(env)
    env.set_state(state)
    assert rest(env) == expected
    env.reset(seed=13)
    env.set_state(state)
    assert rest(env) == expected
    other = ArmEnv("reach", max_steps=10_000)
    other.set_state(state)
    assert rest(other) == expected
    other.close()


@pytest.mark.parametrize(
    "other", [{"task": "push"}, {"task": "reach", "robot": dataclasses.replace(PANDA, name="mine")}]
)
def test_a_state_of_another_task_or_robot_is_refused(other: dict[str, Any]) -> None:
    made, source = ArmEnv("reach", image_size=32), ArmEnv(**other, image_size=32)
    for env in (made, source):
        env.reset(seed=0)
    with pytest.raises(
        EnvError, match=r"a state of .* with .*, and the environment is reach with panda: give"
    ):
        made.set_state(source.get_state())
    for env in (made, source):
        env.close()


def test_saved_states_need_an_episode_and_their_own_type() -> None:
    made = ArmEnv("reach", image_size=32)
    for method in (made.get_state, made.expert):
        with pytest.raises(EnvError, match="was called before reset"):
            method()
    with pytest.raises(EnvError, match="set_state got a int: give what get_state returned"):
        made.set_state(5)  # type: ignore[arg-type]
    made.close()


def test_the_expert_reaches_the_goal(env: ArmEnv) -> None:
    for seed in range(5):
        observation, _ = env.reset(seed=seed)
        expert = env.expert()
        done = False
        for _ in range(14):
            observation, _, terminated, _, _ = env.step(expert.act(observation))
            done = done or terminated
        assert done

"""The simulated arm: milliseconds per frame, actions per second, and what more processes add."""

from __future__ import annotations

import time

import numpy as np

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row, time_pair
from vjepa_world.system.cpu import available_cores

SIZE = 128
STEPS = 20
DEFAULT_SHADOWS, DEFAULT_SAMPLES, DEFAULT_SLICES, DEFAULT_STACKS = 4096, 4, 28, 16
#: Factors of the scene with the most shapes.
CROWDED = {"clutter.count": 4, "object.shape": "cup"}


def run(config: BenchConfig) -> list[Row]:
    """Return milliseconds per frame next to MuJoCo's default quality, and rates of actions."""
    return [
        _frame("reach", {}, f"frame {SIZE}x{SIZE}, Reach"),
        _frame("grasp", CROWDED, f"frame {SIZE}x{SIZE}, a cup and 4 other objects"),
        _actions(),
        _processes(config),
    ]


def _frame(task: str, factors: dict[str, object], name: str) -> Row:
    """Compare a frame with our settings and with MuJoCo's defaults."""
    from envs import ArmEnv  # chooses the OpenGL backend before mujoco is imported

    import mujoco  # isort: skip

    env = ArmEnv(task, image_size=SIZE, render_mode="rgb_array")
    env.reset(seed=0, options={"variation": factors})
    detailed = ArmEnv(task, image_size=SIZE).simulation
    detailed.show(env.get_state().scene)
    model, quality = detailed.model, detailed.model.vis.quality
    quality.shadowsize, quality.offsamples = DEFAULT_SHADOWS, DEFAULT_SAMPLES
    quality.numslices, quality.numstacks = DEFAULT_SLICES, DEFAULT_STACKS
    model.light_castshadow[:] = True
    baseline = mujoco.Renderer(model, SIZE, SIZE)

    def default_frame() -> None:
        baseline.update_scene(env.simulation.data, "main")
        baseline.render()

    pair = time_pair(env.render, default_frame)
    env.close()
    baseline.close()
    return row(name, 1e3 * pair.ours, 1e3 * pair.baseline, "ms", lower_is_better=True)


def _actions() -> Row:
    """Compare actions with a frame each and physics alone, which is the limit of one process."""
    from envs import ArmEnv

    env = ArmEnv("grasp", image_size=SIZE, max_steps=10**9)
    env.reset(seed=0, options={"variation": CROWDED})
    action = np.zeros(7)
    pair = time_pair(lambda: env.step(action), lambda: env.simulation.step(action))
    env.close()
    return row(
        "Grasp, actions with a frame compared with physics alone",
        1 / pair.ours,
        1 / pair.baseline,
        "actions/s",
    )


def _processes(config: BenchConfig) -> Row:
    """Compare one process a core with one process, each with environments made by `gymnasium.make_vec`."""
    cores = available_cores()
    rates = {count: _rate(count, config.seed) for count in (1, cores)}
    return row(f"Grasp, {cores} processes compared with 1", rates[cores], rates[1], "frames/s")


def _rate(processes: int, seed: int) -> float:
    """Return the frames per second of environments in their own processes, without the time to start them."""
    import gymnasium

    import envs  # noqa: F401  (registers the ids)

    made = gymnasium.make_vec(
        "envs:vjepa_world/Grasp-v0",
        num_envs=processes,
        vectorization_mode="async",
        vector_kwargs={"context": "spawn"},  # a forked process would share an OpenGL state
        image_size=SIZE,
        max_steps=10**9,
    )
    made.reset(seed=seed)
    actions = np.zeros((processes, 7), np.float32)
    made.step(actions)
    begin = time.perf_counter()
    for _ in range(STEPS):
        made.step(actions)
    seconds = time.perf_counter() - begin
    made.close()
    return processes * STEPS / seconds

"""Rendering a frame of the arm at 128 x 128 with OpenGL, compared with MuJoCo's default quality."""

from __future__ import annotations

from vjepa_world.bench.harness import Row, row, time_pair

SIZE = 128
DEFAULT_SHADOWS, DEFAULT_SAMPLES, DEFAULT_SLICES, DEFAULT_STACKS = 4096, 4, 28, 16


def run(config: object) -> list[Row]:
    """Return the milliseconds per frame with our settings and with MuJoCo's defaults."""
    from envs.arm.model import build_model
    from envs.cameras import View
    from envs.rendering import SceneRenderer  # chooses the OpenGL backend before mujoco is imported

    import mujoco  # isort: skip

    model = build_model(SIZE, SIZE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    ours = SceneRenderer(model)
    view = View(camera="main", height=SIZE, width=SIZE)
    detailed = build_model(SIZE, SIZE)
    quality = detailed.vis.quality
    quality.shadowsize, quality.offsamples = DEFAULT_SHADOWS, DEFAULT_SAMPLES
    quality.numslices, quality.numstacks = DEFAULT_SLICES, DEFAULT_STACKS
    detailed.light_castshadow[:] = True
    baseline = mujoco.Renderer(detailed, SIZE, SIZE)

    def default_frame() -> None:
        baseline.update_scene(data, "main")
        baseline.render()

    pair = time_pair(lambda: ours.render(data, view), default_frame)
    ours.close()
    baseline.close()
    return [row(f"frame {SIZE}x{SIZE}", 1e3 * pair.ours, 1e3 * pair.baseline, "ms", lower_is_better=True)]

"""Rendering of images through one OpenGL context that lives as long as its environment."""

from __future__ import annotations

import os
import sys
import weakref
from contextlib import suppress
from typing import Final

from envs.errors import EnvError

_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")

_HELP: Final = (
    "Rendering needs EGL or OSMesa: install a driver (Debian: `apt install libegl1 libgl1-mesa-dri`) and set MUJOCO_GL "
    "to egl or osmesa, or to glfw where a display is attached."
)


def configure_gl() -> None:
    """Select headless EGL if neither a backend nor a display is set, and single-threaded software rendering.

    Must run before OpenGL starts. For a small image a single thread is faster than several.
    """
    is_chosen = any(os.environ.get(name) for name in ("MUJOCO_GL", *_DISPLAYS))
    if sys.platform == "linux" and not is_chosen:
        os.environ["MUJOCO_GL"] = "egl"
    os.environ.setdefault("LP_NUM_THREADS", "0")


configure_gl()

try:
    import mujoco  # (MuJoCo reads MUJOCO_GL when it is imported)
except ModuleNotFoundError as problem:
    raise EnvError(
        "the simulated arm needs MuJoCo, which is not installed: pip install 'vjepa-world[sim]'"
    ) from problem
except (RuntimeError, AttributeError) as problem:
    raise EnvError(
        f"MuJoCo does not start with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} ({problem}). {_HELP}"
    ) from problem
import numpy as np  # noqa: E402

from envs.cameras import View  # noqa: E402

_MAX_GEOMS: Final = 100
#: What is on the hand sees things that are nearer than the near plane of the others.
_NEAR_CAMERAS: Final = ("wrist",)
_NEAR_M: Final = 0.01
#: Slow or of no use in a small image.
_FLAGS_OFF: Final = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_FOG,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class SceneRenderer:
    """Renders the cameras of one model.

    `mujoco.Renderer` does not expose the context that a changed texture has to be uploaded to.

    An OpenGL context belongs to the thread in which it is current. Here it is current only while an image is drawn, so
    any thread may draw, one at a time.

    Args:
        model: The compiled model; its `vis.global_` says how large a picture may be.

    Raises:
        EnvError: If OpenGL does not start.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        screen = model.vis.global_
        self._gl = _gl_context(screen.offwidth, screen.offheight)
        with self._gl.as_current():
            self._context = _render_context(model)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # Keeps both contexts alive until they are freed in order. Freed while another renderer's context is
        # current, this context would delete that renderer's buffers with the same numbers.
        self._free = weakref.finalize(self, _free_contexts, self._gl, self._context)
        self._free.atexit = False
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        for flag in _FLAGS_OFF:
            self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value

    def upload_texture(self, texture_id: int) -> None:
        """Upload a texture that was edited in the model."""
        self._check_open()
        with self._gl.as_current():
            mujoco.mjr_uploadTexture(self._model, self._context, texture_id)

    def render(self, data: mujoco.MjData, view: View) -> np.ndarray:
        """Return a new image, uint8 `[height, width, 3]`."""
        self._check_open()
        self._camera.fixedcamid = self._model.camera(view.camera).id
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        for eye in self._scene.camera:
            if view.camera in _NEAR_CAMERAS:
                _move_near_plane(eye, _NEAR_M)
            if view.is_cropped:
                _crop(eye, view)
        rectangle = mujoco.MjrRect(0, 0, view.width, view.height)
        pixels = np.empty((view.height, view.width, 3), np.uint8)
        with self._gl.as_current():
            mujoco.mjr_render(rectangle, self._scene, self._context)
            mujoco.mjr_readPixels(pixels, None, rectangle, self._context)
        # OpenGL's first row is the bottom row.
        return pixels[::-1].copy()

    def close(self) -> None:
        """Free the OpenGL context; calling it again has no effect."""
        self._free()

    def _check_open(self) -> None:
        if not self._free.alive:
            raise EnvError("the environment was closed and cannot render any more: make a new one.")


def _move_near_plane(eye: mujoco.MjvGLCamera, near_m: float) -> None:
    """Show what is nearer than the model's near plane."""
    share = near_m / eye.frustum_near
    eye.frustum_near = near_m
    eye.frustum_top, eye.frustum_bottom = eye.frustum_top * share, eye.frustum_bottom * share
    eye.frustum_center, eye.frustum_width = eye.frustum_center * share, eye.frustum_width * share


def _crop(eye: mujoco.MjvGLCamera, view: View) -> None:
    """Let a part of the picture fill it: the frustum becomes that part's."""
    left, top, right, bottom = view.crop
    height = eye.frustum_top - eye.frustum_bottom
    shown = height * (bottom - top)
    eye.frustum_top, eye.frustum_bottom = (
        eye.frustum_top - top * height,
        eye.frustum_top - bottom * height,
    )
    width = shown * view.width / view.height / (right - left)  # of the complete picture
    eye.frustum_center += width * ((left + right) / 2 - 0.5)
    eye.frustum_width = width * (right - left) / 2  # MuJoCo's is half of the width


def _free_contexts(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    with gl.as_current():
        context.free()
    gl.free()


def _load_triton_before_opengl() -> None:
    """Load triton if it is installed: after Mesa's software renderer, which brings another LLVM, it crashes.

    It comes with the CUDA builds of torch, which load it late.
    """
    with suppress(ImportError):
        import triton  # noqa: F401


def _gl_context(width: int, height: int) -> mujoco.GLContext:
    _load_triton_before_opengl()
    backend = os.environ.get("MUJOCO_GL", "")
    try:
        if backend.lower() == "egl":
            # Not `mujoco.GLContext`: it was selected when mujoco was first imported, maybe before this module.
            from mujoco.egl import GLContext

            return GLContext(width, height)
        return mujoco.GLContext(width, height)
    except (ImportError, RuntimeError, AttributeError, TypeError, mujoco.FatalError) as error:
        raise _not_started(error) from error


def _render_context(model: mujoco.MjModel) -> mujoco.MjrContext:
    try:
        return mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
    except mujoco.FatalError as error:  # without a display a context exists but does not work
        raise _not_started(error) from error


def _not_started(error: Exception) -> EnvError:
    backend = os.environ.get("MUJOCO_GL", "")
    return EnvError(f"OpenGL did not start with MUJOCO_GL={backend!r} ({error}). {_HELP}")

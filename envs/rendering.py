"""Pictures of a model through one OpenGL context that lives as long as its environment."""

from __future__ import annotations

import os
import sys
import weakref
from typing import Final

from envs.errors import EnvError

_DISPLAYS: Final = ("DISPLAY", "WAYLAND_DISPLAY")

_HELP: Final = (
    "Pictures need EGL or OSMesa: install a driver (Debian: `apt install libegl1 libgl1-mesa-dri`) and set MUJOCO_GL "
    "to egl or osmesa, or to glfw where a display is attached."
)


def configure_gl() -> None:
    """Choose headless EGL where neither a backend nor a display is set, and one-threaded software rendering.

    Must run before OpenGL starts. A small picture is drawn faster by one thread than it is shared out.
    """
    is_chosen = any(os.environ.get(name) for name in ("MUJOCO_GL", *_DISPLAYS))
    if sys.platform == "linux" and not is_chosen:
        os.environ["MUJOCO_GL"] = "egl"
    os.environ.setdefault("LP_NUM_THREADS", "0")


configure_gl()

try:
    import mujoco  # (the backend is chosen by the environment, when mujoco is imported)
except ModuleNotFoundError as problem:
    raise EnvError(
        "the simulated arm needs MuJoCo, which is not installed: pip install 'vjepa-world[sim]'"
    ) from problem
except (RuntimeError, AttributeError) as problem:
    raise EnvError(
        f"MuJoCo does not start with MUJOCO_GL={os.environ.get('MUJOCO_GL', '')!r} ({problem}). {_HELP}"
    ) from problem
import numpy as np  # noqa: E402

_MAX_GEOMS: Final = 100
#: Costly or unwanted in a small picture.
_FLAGS_OFF: Final = (
    mujoco.mjtRndFlag.mjRND_SHADOW,
    mujoco.mjtRndFlag.mjRND_REFLECTION,
    mujoco.mjtRndFlag.mjRND_SKYBOX,
    mujoco.mjtRndFlag.mjRND_FOG,
    mujoco.mjtRndFlag.mjRND_HAZE,
)


class SceneRenderer:
    """Renders one camera of one model.

    `mujoco.Renderer` does not give out the context that a changed texture has to be uploaded to.

    OpenGL's context belongs to the thread in which it is current. Here it is current only while something is drawn, so
    any thread may draw, one at a time.

    Args:
        model: The compiled model.
        camera: The name of the camera.
        size: Height and width of the picture in pixels.

    Raises:
        EnvError: If OpenGL does not start.
    """

    def __init__(self, model: mujoco.MjModel, camera: str, size: int) -> None:
        self._model = model
        self._gl = _gl_context(size)
        with self._gl.as_current():
            self._context = _render_context(model)
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        # Holds both contexts until they are freed, in order: freed while another renderer's context is
        # current, this one's buffers would take the other's of the same number with them.
        self._free = weakref.finalize(self, _free_contexts, self._gl, self._context)
        self._free.atexit = False
        self._scene = mujoco.MjvScene(model, maxgeom=_MAX_GEOMS)
        for flag in _FLAGS_OFF:
            self._scene.flags[flag] = False
        self._option = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED.value
        self._camera.fixedcamid = model.camera(camera).id
        self._rectangle = mujoco.MjrRect(0, 0, size, size)
        self._pixels = np.empty((size, size, 3), np.uint8)

    def upload_texture(self, texture_id: int) -> None:
        """Hand a texture that was edited in the model to the renderer."""
        self._check_open()
        with self._gl.as_current():
            mujoco.mjr_uploadTexture(self._model, self._context, texture_id)

    def render(self, data: mujoco.MjData) -> np.ndarray:
        """Return a new picture, uint8 `[size, size, 3]`."""
        self._check_open()
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        with self._gl.as_current():
            mujoco.mjr_render(self._rectangle, self._scene, self._context)
            mujoco.mjr_readPixels(self._pixels, None, self._rectangle, self._context)
        # OpenGL's first row is the lowest.
        return self._pixels[::-1].copy()

    def close(self) -> None:
        """Free the OpenGL context; harmless when done twice."""
        self._free()

    def _check_open(self) -> None:
        if not self._free.alive:
            raise EnvError("the environment was closed and renders no more: make a new one.")


def _free_contexts(gl: mujoco.GLContext, context: mujoco.MjrContext) -> None:
    with gl.as_current():
        context.free()
    gl.free()


def _gl_context(size: int) -> mujoco.GLContext:
    backend = os.environ.get("MUJOCO_GL", "")
    try:
        if backend.lower() == "egl":
            # Not `mujoco.GLContext`: that one was chosen when mujoco was first imported, maybe before us.
            from mujoco.egl import GLContext

            return GLContext(size, size)
        return mujoco.GLContext(size, size)
    except (ImportError, RuntimeError, AttributeError, TypeError, mujoco.FatalError) as error:
        raise _not_started(error) from error


def _render_context(model: mujoco.MjModel) -> mujoco.MjrContext:
    try:
        return mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
    except mujoco.FatalError as error:  # without a display there is a context, but nothing behind it
        raise _not_started(error) from error


def _not_started(error: Exception) -> EnvError:
    backend = os.environ.get("MUJOCO_GL", "")
    return EnvError(f"OpenGL did not start with MUJOCO_GL={backend!r} ({error}). {_HELP}")

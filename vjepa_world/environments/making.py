"""Makes an environment from its options: a task of the simulated arm as it is, any other one adapted."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import gymnasium
from gymnasium.envs.registration import EnvSpec, load_env_creator

from vjepa_world.environments.config import EnvConfig
from vjepa_world.environments.functions import import_user_module
from vjepa_world.errors import ConfigError, VJEPAWorldError, described, nearest
from vjepa_world.system.packages import check_siblings, load_triton_before_opengl

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Options that the constructors of the arm's tasks take.
_OF_THE_ARM = ("variation", "camera", "cameras", "image_size", "max_steps")
#: Frames of environments that draw themselves come from this mode.
_RENDER_MODE = "rgb_array"


def make(config: EnvConfig, *, goals: bool) -> gymnasium.Env[Any, Any]:
    """Make the environment; see :meth:`EnvConfig.make`."""
    spec = _spec_of(config.id)
    maker = _maker_of(spec)
    if is_of_the_arm(maker):
        taken = inspect.signature(maker).parameters
        options = {name: getattr(config, name) for name in _OF_THE_ARM if name in taken}
        if not config.cameras:
            options.pop("cameras", None)
        made = gymnasium.make(spec, **{**options, **config.kwargs})
        return made if goals else EndlessEpisodes(made.unwrapped)
    return _adapted(config, spec, maker, goals=goals)


def is_of_the_arm(maker: Callable[..., Any]) -> bool:
    """Return whether a constructor is one of our tasks', or of a class that derives from one."""
    return any(base.__module__.partition(".")[0] == "envs" for base in getattr(maker, "__mro__", ()))


class EndlessEpisodes(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A task whose episodes have no end: what is recorded goes on after a goal was reached by chance."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Execute an action; the episode never ends."""
        observation, reward, _, _, info = self.env.step(action)
        return observation, reward, False, False, info


def _adapted(
    config: EnvConfig, spec: EnvSpec, maker: Callable[..., Any], *, goals: bool
) -> gymnasium.Env[Any, Any]:
    from vjepa_world.environments.goal_env import GoalEnv
    from vjepa_world.environments.observed import RENDER, ObservedEnv
    from vjepa_world.environments.spaces import find_image

    load_triton_before_opengl()
    env = None if config.image == RENDER else _constructed(config, spec, {})
    if env is not None and config.image == "auto" and find_image(env.observation_space) is None:
        _check_renders(config, env, maker)
        env.close()
        env = None
    if env is None:
        env = _constructed(config, spec, {"render_mode": _RENDER_MODE})
    observed = ObservedEnv(env, config)
    return GoalEnv(observed) if goals else observed


def _check_renders(config: EnvConfig, env: gymnasium.Env[Any, Any], maker: Callable[..., Any]) -> None:
    """Check that an environment without images in its observations draws itself."""
    from vjepa_world.environments.spaces import described as keys_of

    modes = list((getattr(maker, "metadata", None) or env.metadata or {}).get("render_modes") or ())
    if _RENDER_MODE not in modes:
        raise ConfigError(
            f"the environment {config.id} has no image: its observations are {keys_of(env.observation_space)}, and its "
            f"render modes {', '.join(map(str, modes)) or 'none'}. Add an image [H, W, 3], uint8, to its observations "
            f"(env.image=KEY), or give it the render mode {_RENDER_MODE} (env.image=render)."
        )


def _constructed(config: EnvConfig, spec: EnvSpec, options: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    try:
        # `steps` and env.max_steps end episodes, which a limit in unskipped steps would cut at other places.
        return gymnasium.make(
            spec, max_episode_steps=-1, disable_env_checker=True, **{**options, **config.kwargs}
        )
    except VJEPAWorldError:
        raise
    except Exception as error:  # of a foreign environment: any
        arguments = ", ".join(f"{name}={value!r}" for name, value in {**options, **config.kwargs}.items())
        raise ConfigError(
            f"env.id {config.id} cannot be made with ({arguments}): {described(error)}. Change env.kwargs, or repair "
            "it."
        ) from error


def _spec_of(name: str) -> EnvSpec:
    """Return the registration of an id, after importing the module before its colon.

    The simulated arm is imported for its own ids alone: it needs a version of MuJoCo that other environments may not
    work with.

    Raises:
        ConfigError: If it is not registered.
    """
    module, colon, plain = name.rpartition(":")
    if module == "envs" or (not colon and plain not in gymnasium.registry):
        check_siblings("envs")
        import envs  # noqa: F401  (registers the ids)
    elif colon:
        import_user_module(module, "env.id", name)
    try:
        return gymnasium.spec(plain)
    except gymnasium.error.Error as error:
        known = [entry for entry, spec in gymnasium.registry.items() if not _is_of_gymnasium(spec)]
        raise ConfigError(
            f"env.id '{name}' is not registered; {nearest(plain, known)} One of your own is given as module:ID, and "
            "any of Gymnasium by its id."
        ) from error


def _maker_of(spec: EnvSpec) -> Callable[..., Any]:
    creator = spec.entry_point
    if creator is None:
        raise ConfigError(f"env.id '{spec.id}' is registered without entry_point; give one, module:Class.")
    return cast("Callable[..., Any]", load_env_creator(creator) if isinstance(creator, str) else creator)


def _is_of_gymnasium(spec: EnvSpec) -> bool:
    maker = spec.entry_point
    module = maker.partition(":")[0] if isinstance(maker, str) else getattr(maker, "__module__", "")
    return module.partition(".")[0] == "gymnasium"

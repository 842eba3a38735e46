"""What several commands' configurations share. Free of heavy imports, so that help is quick."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from vjepa_world.config.ranges import AT_LEAST_ONE, STEPS
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.system.packages import check_siblings

if TYPE_CHECKING:
    from collections.abc import Callable

    import gymnasium
    from gymnasium.envs.registration import EnvSpec

    from vjepa_world.runs import RunConfig

#: What datasets of `collect` call their robot.
SIMULATED_ROBOT = "panda_simulated"


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The simulated environment.

    Attributes:
        id: Gymnasium id.
        variation: What differs between episodes: train, test (ranges that train does not have) or none.
        camera: jittered (drawn with the scene) or fixed.
        image_size: Height and width of the pictures [pixels].
        max_steps: Actions after which an episode is cut off.
        fps: Actions per second.
    """

    id: str = "vjepa_world/Reach-v0"
    variation: Literal["train", "test", "none"] = "train"
    camera: Literal["jittered", "fixed"] = "jittered"
    image_size: int = 128
    max_steps: int = field(default=20, metadata=STEPS)
    fps: int = field(default=4, metadata=AT_LEAST_ONE)

    def make(self) -> gymnasium.Env[Any, Any]:
        """Make the environment; a task of another package gets those of the options that its constructor takes.

        Raises:
            ConfigError: If the id is not registered.
        """
        check_siblings("envs")
        import gymnasium
        from gymnasium.envs.registration import load_env_creator

        import envs  # noqa: F401  (registers the ids)

        if self.id not in gymnasium.registry:
            known = [name for name, spec in gymnasium.registry.items() if not _is_of_gymnasium(spec)]
            raise ConfigError(f"env.id '{self.id}' is not registered; {nearest(self.id, known)}")
        creator = gymnasium.spec(self.id).entry_point
        maker = load_env_creator(creator) if isinstance(creator, str) else creator
        taken = inspect.signature(cast("Callable[..., Any]", maker)).parameters
        options = ("variation", "camera", "image_size", "max_steps")
        return gymnasium.make(self.id, **{name: getattr(self, name) for name in options if name in taken})


def _is_of_gymnasium(spec: EnvSpec) -> bool:
    """Return whether an environment comes with Gymnasium; those have no arm and no goal image."""
    maker = spec.entry_point
    module = maker.partition(":")[0] if isinstance(maker, str) else getattr(maker, "__module__", "")
    return module.partition(".")[0] == "gymnasium"


def refuse_taken_run(command: str, config: RunConfig) -> None:
    """Refuse at once a run that is not free, in a job of one process; of several, one holds it for the others.

    Raises:
        RunError: If it exists already, or is to be resumed and does not, or is in use.
    """
    from vjepa_world.runs import refuse_taken

    if os.environ.get("WORLD_SIZE", "1") == "1":
        refuse_taken(command, config)

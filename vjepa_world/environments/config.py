"""The options of an environment. Free of heavy imports, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vjepa_world.config.ranges import AT_LEAST_ONE, LARGEST_FLOAT, STEPS
from vjepa_world.environments.functions import is_function_name
from vjepa_world.errors import ConfigError, word_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import gymnasium

#: Values of `env.goal` besides `module:function`, and those that need recorded episodes.
GOALS, RECORDED_GOALS = ("info", "demonstration", "ahead"), ("demonstration", "ahead")
#: Values of `env.success` besides `module:function`.
SUCCESSES = ("auto", "info", "terminated")


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The environment: a task of the simulated arm, or any Gymnasium environment with an image.

    Attributes:
        id: Gymnasium id; module:ID imports the module that registers it.
        kwargs: Arguments of its constructor: env.kwargs.NAME=VALUE.
        variation: Of the arm's tasks: what differs between episodes: train, test (ranges that train does not have) or
            none.
        camera: Of the arm's tasks: jittered (drawn with the scene) or fixed.
        cameras: Further cameras: of the arm by name; of another environment, keys of its observations.
        image_size: Height and width of the pictures [pixels]; those of another size are resized. 0 keeps the size of an
            environment that is not the arm.
        max_steps: Actions after which an episode is cut off.
        fps: Actions per second.
        image: Where an environment has its image: a key of its observations, render, or auto.
        state: Where it has the robot's state: a key of its observations, several joined by +, none, or auto.
        frame_skip: How often it executes each action.
        action_low: Lowest action, one number for all or one each; [] takes the environment's.
        action_high: Highest action, likewise.
        goal: Where the goal image is from: info (info["goal_image"] after reset), module:function, demonstration (the
            last frame of a recorded episode), or ahead (a frame goal_steps later in one).
        goal_data: LeRobot dataset of the recorded episodes.
        goal_steps: Steps from the start to the goal of goal=ahead.
        restore: module:function that puts the environment into a recorded state; empty replays the recorded actions.
        success: info (info["success"] or info["is_success"]), terminated, module:function, or auto.
        success_distance: Success within this distance of the goal's state; 0 leaves it to `success`.
    """

    id: str = field(default="vjepa_world/Reach-v0", metadata={"example": "my_module:MyEnv-v0"})
    kwargs: dict[str, Any] = field(default_factory=dict)
    variation: Literal["train", "test", "none"] = "train"
    camera: Literal["jittered", "fixed"] = "jittered"
    cameras: tuple[str, ...] = ()
    image_size: int = field(default=128, metadata={"range": (0, 4096)})
    max_steps: int = field(default=20, metadata=STEPS)
    fps: int = field(default=4, metadata=AT_LEAST_ONE)
    image: str = "auto"
    state: str = "auto"
    frame_skip: int = field(default=1, metadata={"range": (1, 10**6)})
    action_low: tuple[float, ...] = ()
    action_high: tuple[float, ...] = ()
    goal: str = "info"
    goal_data: str = ""
    goal_steps: int = field(default=25, metadata=STEPS)
    restore: str = ""
    success: str = "auto"
    success_distance: float = field(default=0.0, metadata={"range": (0.0, LARGEST_FLOAT)})

    def __post_init__(self) -> None:
        for key, named in (("goal", GOALS), ("success", SUCCESSES), ("restore", ("",))):
            value = getattr(self, key)
            if value not in named and not is_function_name(value):
                choices = ", ".join(name for name in named if name)
                raise ConfigError(
                    f"env.{key} is '{value}'; allowed: {choices + ', or ' if choices else ''}module:function."
                )
        if self.goal in RECORDED_GOALS and not self.goal_data:
            raise ConfigError(
                f"env.goal is {self.goal}, which takes goals from recorded episodes; give env.goal_data=DATASET."
            )
        if len(self.action_low) != len(self.action_high):
            raise ConfigError(
                f"env.action_low has {len(self.action_low)} numbers and env.action_high {len(self.action_high)}; give "
                "both, of one number for all axes or one for each."
            )

    def unused(self) -> dict[str, str]:
        """Return the options that goals do not use, as they are chosen."""
        found: dict[str, str] = {}
        if self.goal != "ahead":
            found |= dict.fromkeys(("goal_steps", "restore"), f"env.goal={self.goal}")
        if self.goal not in RECORDED_GOALS:
            found["goal_data"] = f"env.goal={self.goal}"
        return found

    def make(self, *, goals: bool = True) -> gymnasium.Env[Any, Any]:
        """Make the environment, with dictionaries of images and a state as observations.

        Args:
            goals: Whether it needs goals: an evaluation does, a recording does not. Without goals an episode of the arm
                has no end.

        Raises:
            ConfigError: If the id is not registered, the environment cannot be made, or something about it cannot be
                inferred; the key to give is named.
            EnvironmentFailure: If the environment fails at its first reset or step.
        """
        from vjepa_world.environments.making import make

        return make(self, goals=goals)

    def identity(self, *, of_the_arm: bool = True) -> dict[str, Any]:
        """Return what observations and actions depend on besides seeds, as JSON, for datasets to record.

        Args:
            of_the_arm: Whether it is a task of the arm; the options that others do not have are left out otherwise.
        """
        names = [name for name in _IDENTITY if of_the_arm or name not in _OF_THE_ARM]
        return {name: _plain(getattr(self, name)) for name in names}


#: Keys that decide what an environment shows and what its actions do; the others are about goals and episodes.
_IDENTITY = (
    *("id", "kwargs", "variation", "camera", "cameras", "image_size", "fps"),
    *("image", "state", "frame_skip", "action_low", "action_high"),
)
#: Those of them that only the arm's tasks have.
_OF_THE_ARM = ("variation", "camera")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def words_of(environment: Mapping[str, Any]) -> list[str]:
    """Return the words of a command line that select a recorded environment again; none for the default one.

    Args:
        environment: What :meth:`EnvConfig.identity` returned. Of `variation` the commands have defaults of their own.
    """
    default = EnvConfig().identity()
    if environment.get("id") not in (None, default["id"]):
        default |= {"id": None, "fps": environment.get("fps")}
    words = []
    for name, value in environment.items():
        if name == "kwargs":
            words += _words_below("env.kwargs", value)
        elif name in default and name not in ("variation", "fps") and value != default[name]:
            words.append(f"env.{name}={word_of(value)}")
    return words


def _words_below(key: str, value: Any) -> list[str]:
    """Return the words of a command line that give a value, one for each entry of a dictionary."""
    if not isinstance(value, dict):
        return [f"{key}={word_of(value)}"]
    return [word for name, inner in value.items() for word in _words_below(f"{key}.{name}", inner)]

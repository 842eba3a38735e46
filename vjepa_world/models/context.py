"""What a rollout starts from: the encoded frames, states and past actions of B problems.

Legend: B problems, T frames, N tokens per frame, D feature width, S state size, A action size, X extrinsics size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig
from vjepa_world.models.state_transition import actions_between
from vjepa_world.ops.tensor_checks import check_numbers


@dataclass(frozen=True)
class StepInput:
    """One step's input to a predictor, for R rows (problems, or samples of problems).

    Attributes:
        features: `[R, N, D]`.
        actions: `[R, A]`, in the data's units.
        states: `[R, S]`, in the data's units.
        extrinsics: Camera poses, `[R, X]`, or None.
    """

    features: Tensor
    actions: Tensor
    states: Tensor
    extrinsics: Tensor | None


@dataclass(frozen=True)
class Context:
    """The observations of B problems up to now, encoded.

    Attributes:
        features: `[B, T, N, D]`.
        states: `[B, T, S]`, in the data's units.
        extrinsics: Camera poses at each frame, `[B, T, X]`.
        actions: Taken between the frames, `[B, T-1, A]`, in the data's units; None derives them from the states where
            the robot's numbers allow it.
        embodiment: Name of the robot; None for the model's first.

    Raises:
        ConfigError: If an attribute is not a tensor of these axes, is not finite, or has another number of problems or
            frames.
    """

    features: Tensor
    states: Tensor
    extrinsics: Tensor | None = None
    actions: Tensor | None = None
    embodiment: str | None = None

    def __post_init__(self) -> None:
        check_numbers("features", self.features, "[B, T, N, D]")
        given = {"states": self.states, "extrinsics": self.extrinsics, "actions": self.actions}
        for name, part in given.items():
            if part is not None or name == "states":
                check_numbers(name, part, f"[B, T{'-1' if name == 'actions' else ''}, size]")
        check_same_frames(given, *self.features.shape[:2])

    def step_inputs(
        self, problems: slice, config: ActionPredictorConfig, robot: EmbodimentConfig
    ) -> list[StepInput]:
        """Return the frames that a predictor attends to, oldest first; the newest one has an action of zeros.

        Args:
            problems: Which of the B problems, R of them.
            config: Of the predictor, which attends to the newest frame alone or to all.
            robot: Sizes and meaning of actions and states.

        Returns:
            One input of R rows for each frame.

        Raises:
            ConfigError: If the actions between the frames are needed, are not given, and do not follow from the states.
        """
        features, states = self.features[problems], self.states[problems]
        count = features.shape[1]
        first = count - 1 if config.context_frames == 1 else 0
        actions = features.new_zeros(len(features), count, robot.action_dim)
        if first < count - 1:
            taken = self.actions
            actions[:, :-1] = (
                actions_between(states, robot.action_dim, robot) if taken is None else taken[problems]
            )
        cameras = None if self.extrinsics is None else self.extrinsics[problems]
        return [
            StepInput(features[:, t], actions[:, t], states[:, t], None if cameras is None else cameras[:, t])
            for t in range(first, count)
        ]


def check_same_frames(given: Mapping[str, Tensor | None], problems: int, frames: int) -> None:
    """Check that parts of a context have one row for each frame (actions: for each step between frames).

    Args:
        given: Tensors `[B, T, size]` by name, `actions` `[B, T-1, size]`; None is skipped.
        problems: B.
        frames: T.

    Raises:
        ConfigError: If one has not.
    """
    for name, part in given.items():
        count = frames - 1 if name == "actions" else frames
        if part is not None and (part.ndim != 3 or part.shape[:2] != (problems, count)):
            raise ConfigError(
                f"got {name} of shape {list(part.shape)} with {frames} frames of {problems} problems; give "
                f"[{problems}, {count}, size]: one row for each "
                + ("step between frames." if count < frames else "frame.")
            )

"""Imagining several steps: each imagined frame is fed back, with the state that the action leads to.

Legend: B problems, T frames, N tokens a frame, D width, R samples of one problem, K horizon, A action size, S state
size, X extrinsics size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.models.action_predictor import ActionPredictor, StepCache
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig
from vjepa_world.models.inference.cached_predictor import FastPredictor, Memory, Opening, Step
from vjepa_world.ops.pose import POSE_SIZE, apply_action, pose_delta
from vjepa_world.ops.tensor_checks import check_numbers

Imagined = tuple[Tensor, Tensor | None]
"""Features `[R, N, D]` after a step, and the state `[R, S]` that goes with them where it was asked for."""


@dataclass(frozen=True)
class Context:
    """What a problem looks like now, and before.

    Attributes:
        features: `[B, T, N, D]`.
        states: `[B, T, S]`.
        extrinsics: The camera's at each frame, `[B, T, X]`.
        actions: What was done between the frames, `[B, T-1, A]`; None derives it from the states where a rule can.
        embodiment: Name of the robot; None for the model's first.

    Raises:
        ConfigError: If something is no tensor of these axes, not finite, or of another number of problems or frames.
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
        check_parts(given, *self.features.shape[:2])

    def frames(self, problem: int, config: ActionPredictorConfig, robot: EmbodimentConfig) -> list[Step]:
        """Return the frames of a problem that its predictor sees, oldest first; the newest with an action of zeros.

        Raises:
            ConfigError: If actions between the frames are needed, and neither given nor told by the states.
        """
        count = self.features.shape[1]
        first = count - 1 if config.context_frames == 1 else 0
        actions = self.features.new_zeros(count, robot.action_dim)
        if first < count - 1:
            actions[:-1] = self._actions(problem, robot)
        here = slice(problem, problem + 1)
        return [
            Step(
                self.features[here, t],
                actions[t : t + 1],
                self.states[here, t],
                None if self.extrinsics is None else self.extrinsics[here, t],
            )
            for t in range(first, count)
        ]

    def _actions(self, problem: int, robot: EmbodimentConfig) -> Tensor:
        if self.actions is not None:
            return self.actions[problem]
        return actions_between(self.states[problem], robot.action_dim, robot)


def check_parts(given: Mapping[str, Tensor | None], batch: int, frames: int) -> None:
    """Refuse parts of a context, by name, that are not of its problems and frames.

    Raises:
        ConfigError: If one is not.
    """
    for name, part in given.items():
        count = frames - 1 if name == "actions" else frames
        if part is not None and (part.ndim != 3 or part.shape[:2] != (batch, count)):
            raise ConfigError(
                f"{name} of shape {list(part.shape)} came with {frames} frames of {batch} problems; give "
                f"[{batch}, {count}, size]: one row for each "
                + ("step between frames." if count < frames else "frame.")
            )


@dataclass(frozen=True)
class Scene:
    """A problem, prepared once for all its samples.

    Attributes:
        frame: The newest one.
        memory: Of those before it.
        opening: What the first step has in common, where anything.
    """

    frame: Step
    memory: Memory
    opening: Opening | None


def make_scene(predictor: FastPredictor, context: Context, problem: int) -> Scene:
    """Prepare a problem: its past is remembered, and what its first step has in common worked out."""
    robot = predictor.robot.config
    *past, frame = context.frames(problem, predictor.config, robot)
    memory = predictor.remember(past)
    return Scene(frame, memory, predictor.open(frame, memory))


def imagine(
    predictor: FastPredictor, scene: Scene, actions: Tensor, *, states: bool = False
) -> Iterator[Imagined]:
    """Yield what is imagined after each of `actions [R, K, A]` of one problem.

    Args:
        predictor: What imagines.
        scene: The problem.
        actions: In the data's units.
        states: Whether the state after the last action is asked for too.
    """
    samples, horizon, _ = actions.shape
    memory = scene.memory
    features, state, camera = _for_samples(scene.frame, samples)
    for k in range(horizon):
        if k == 0 and scene.opening is not None:
            x, memory = predictor.begin(scene.opening, actions[:, k], memory)
        else:
            x, memory = predictor.step(Step(features, actions[:, k], state, camera), memory)
        features = predictor.features(features, x)
        following = None
        if states or k + 1 < horizon:
            following = _following(predictor, state, actions[:, k], x)
            state = following
        yield features, following


def imagine_each(predictor: FastPredictor, context: Context, actions: Tensor) -> Tensor:
    """Imagine a sequence for each problem from its last frame, all together: `actions [B, K, A]` to `[B, K, N, D]`."""
    newest = Step(
        context.features[:, -1],
        actions[:, 0],
        context.states[:, -1],
        None if context.extrinsics is None else context.extrinsics[:, -1],
    )
    scene = Scene(newest, Memory(), None)
    return torch.stack([features for features, _ in imagine(predictor, scene, actions)], dim=1)


def imagine_with_gradient(
    predictor: ActionPredictor,
    context: Context,
    problem: int,
    actions: Tensor,
    *,
    states: bool = False,
) -> Iterator[Imagined]:
    """Yield as :func:`imagine` does, keeping the graph of `actions [R, K, A]`; slower, in the weights' own format."""
    samples, horizon, _ = actions.shape
    name = context.embodiment
    robot = predictor.robot(name).config
    cache: StepCache | None = None
    *past, frame = context.frames(problem, predictor.config, robot)
    for step in past:
        _, cache = predictor.step(
            step.features, step.actions, step.states, step.extrinsics, cache, embodiment=name
        )
    cache = None if cache is None else cache.expand(samples)
    features, state, camera = _for_samples(frame, samples)
    state = state.to(actions.dtype)
    for k in range(horizon):
        given, following = (features, actions[:, k], state, camera, cache), None
        if predicts_state(predictor.config, robot, state, actions):
            features, following, cache = predictor.step_with_state(*given, embodiment=name)
        else:
            features, cache = predictor.step(*given, embodiment=name)
            if states or k + 1 < horizon:
                wrap = predictor.config.wrap_angles
                following = advance_state(state, actions[:, k], wrap=wrap, robot=robot)
        features = predictor.comparable(features)
        state = state if following is None else following
        yield features, following


def _for_samples(frame: Step, samples: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return a frame's features, state and extrinsics for each of R samples, without a copy."""
    camera = None if frame.extrinsics is None else frame.extrinsics.expand(samples, -1)
    return frame.features.expand(samples, -1, -1), frame.states.expand(samples, -1), camera


def _following(predictor: FastPredictor, state: Tensor, action: Tensor, x: Tensor) -> Tensor:
    """Return the state `[R, S]` after an action: by a rule where there is one, else as it is predicted."""
    robot = predictor.robot.config
    if predicts_state(predictor.config, robot, state, action):
        return predictor.states(state, x)
    return advance_state(state, action, wrap=predictor.config.wrap_angles, robot=robot)


def predicts_state(
    config: ActionPredictorConfig, robot: EmbodimentConfig, state: Tensor, action: Tensor
) -> bool:
    """Return whether the state after an action is predicted, for want of a rule."""
    return config.predict_state and rule_of(state.shape[-1], action.shape[-1], robot) == "none"


def rule_of(
    state_dim: int, action_dim: int, robot: EmbodimentConfig | None = None
) -> Literal["pose", "add", "replace", "none"]:
    """Return how an action changes a state: poses are composed, changes added, targets are where it then is.

    What the robot's numbers mean decides; where nobody says, their sizes: poses where both are 7, addition for other
    equal sizes. Joints and numbers of no known meaning are never composed as poses.
    """
    if state_dim != action_dim:
        return "none"
    if robot is None:
        return "pose" if state_dim == POSE_SIZE else "add"
    if robot.state_meaning == "pose" and state_dim == POSE_SIZE:
        return "pose"
    return "replace" if robot.action_meaning == "target" else "add"


def advance_state(
    state: Tensor, action: Tensor, *, wrap: bool = False, robot: EmbodimentConfig | None = None
) -> Tensor:
    """Return the state that an action leads to, by :func:`rule_of`.

    Args:
        state: `[..., S]`.
        action: `[..., A]`.
        wrap: Keep the angles of poses in [-pi, pi].
        robot: What the numbers mean; None goes by their sizes.

    Raises:
        ConfigError: If the sizes differ, since then only the data knows how an action changes the state.
    """
    rule = rule_of(state.shape[-1], action.shape[-1], robot)
    if rule == "pose":
        return apply_action(state, action, wrap=wrap)
    if rule == "add":
        return state + action
    if rule == "replace":
        return action
    raise ConfigError(
        f"states of size {state.shape[-1]} cannot be advanced by actions of size {action.shape[-1]}; "
        "imagining several steps needs equal sizes (or poses and pose deltas of size 7), or a predictor that predicts "
        "states: fine-tune one with predictor.predict_state=true."
    )


def actions_between(states: Tensor, action_dim: int, robot: EmbodimentConfig | None = None) -> Tensor:
    """Return the actions `[T-1, A]` that lead from each of `states [T, S]` to the next: the inverse of the rule.

    Raises:
        ConfigError: If no rule is known for these sizes.
    """
    rule = rule_of(states.shape[-1], action_dim, robot)
    if rule == "pose":
        return pose_delta(states[:-1], states[1:])
    if rule == "add":
        return states.diff(dim=0)
    if rule == "replace":
        return states[1:]
    raise ConfigError(
        f"states of size {states.shape[-1]} do not tell what actions of size {action_dim} were taken between them, and "
        "this predictor sees the past; give the context's actions [B, T-1, A], or its last frame alone."
    )

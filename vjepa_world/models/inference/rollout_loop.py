"""The rollout loop: each predicted frame is fed back, with the state that the action leads to.

Legend: B problems, S samples of each, R = B*S rows with the samples of a problem next to each other, N tokens per
frame, D feature width, K horizon, A action size, P state size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor, StepCache
from vjepa_world.models.context import Context, StepInput
from vjepa_world.models.embodiment import Embodiment
from vjepa_world.models.inference.cached_attention import SharedFirstStep
from vjepa_world.models.inference.cached_predictor import CachedPredictor, repeat_rows
from vjepa_world.models.inference.kv_cache import KVCache
from vjepa_world.models.state_transition import advance_state

Predicted = tuple[Tensor, Tensor | None]
"""Features `[R, N, D]` after a step, and the states `[R, P]` where they were computed."""


@dataclass(frozen=True)
class Prefix:
    """What the samples of B problems share, computed once.

    Attributes:
        robot: Whose actions and states are given.
        newest: The newest frames, with R = B.
        cache: Keys and values of the frames before.
        first_step: What the samples share in their first step; None where it is not used.
    """

    robot: Embodiment
    newest: StepInput
    cache: KVCache
    first_step: SharedFirstStep | None


def make_prefix(
    predictor: CachedPredictor, context: Context, problems: slice, *, share_first_step: bool = True
) -> Prefix:
    """Compute what the samples of some of a context's problems share.

    Args:
        predictor: The predictor.
        context: B problems.
        problems: Which of them.
        share_first_step: Whether samples share what is common in their first step; of no use with one sample.
    """
    robot = predictor.robot(context.embodiment)
    *past, newest = context.step_inputs(problems, predictor.config, robot.config)
    cache = predictor.prefill(past, robot)
    first_step = predictor.share_first_step(newest, cache, robot) if share_first_step else None
    return Prefix(robot, newest, cache, first_step)


def rollout_steps(
    predictor: CachedPredictor, prefix: Prefix, actions: Tensor, *, states: bool = False
) -> Iterator[Predicted]:
    """Yield the predictions after each action: features `[R, N, D]`, and states `[R, P]` where they were computed.

    Args:
        predictor: The predictor.
        prefix: Of B problems.
        actions: `[R, K, A]`, in the data's units.
        states: Whether the states after the last action are computed too.
    """
    horizon, robot, cache = actions.shape[1], prefix.robot, prefix.cache
    features, state, camera = _for_samples(prefix.newest, len(actions))
    for k in range(horizon):
        if k == 0 and prefix.first_step is not None:
            x, cache = predictor.first_step(prefix.first_step, actions[:, k], cache, robot)
        else:
            x, cache = predictor.step(StepInput(features, actions[:, k], state, camera), cache, robot)
        features = predictor.next_features(features, x)
        following = None
        if states or k + 1 < horizon:
            if predictor.config.predict_state:
                following = predictor.next_states(state, actions[:, k], x, robot)
            else:
                wrap = predictor.config.wrap_angles
                following = advance_state(state, actions[:, k], wrap=wrap, robot=robot.config)
            state = following
        yield features, following


def rollout_with_gradient(
    predictor: ActionPredictor, context: Context, problems: slice, actions: Tensor, *, states: bool = False
) -> Iterator[Predicted]:
    """Yield predictions as :func:`rollout_steps` does, with their graph; slower, in the format of the weights.

    Args:
        predictor: The predictor itself.
        context: B problems.
        problems: Which of them.
        actions: Of these, `[R, K, A]`, in the data's units.
        states: Whether the states after the last action are computed too.
    """
    horizon, name = actions.shape[1], context.embodiment
    robot = predictor.robot(name).config
    cache: StepCache | None = None
    *past, newest = context.step_inputs(problems, predictor.config, robot)
    for frame in past:
        _, cache = predictor.step(
            frame.features, frame.actions, frame.states, frame.extrinsics, cache, embodiment=name
        )
    cache = None if cache is None else cache.repeat(len(actions) // len(newest.features))
    features, state, camera = _for_samples(newest, len(actions))
    state = state.to(actions.dtype)
    for k in range(horizon):
        given, following = (features, actions[:, k], state, camera, cache), None
        if predictor.config.predict_state:
            features, following, cache = predictor.step_with_state(*given, embodiment=name)
        else:
            features, cache = predictor.step(*given, embodiment=name)
            if states or k + 1 < horizon:
                wrap = predictor.config.wrap_angles
                following = advance_state(state, actions[:, k], wrap=wrap, robot=robot)
        features = predictor.normalize_prediction(features)
        state = state if following is None else following
        yield features, following


def _for_samples(newest: StepInput, rows: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the newest frames' features, states and extrinsics for each sample, R rows."""
    samples = rows // len(newest.features)
    camera = None if newest.extrinsics is None else repeat_rows(newest.extrinsics, samples)
    return repeat_rows(newest.features, samples), repeat_rows(newest.states, samples), camera

"""How an action changes the robot's state: by a rule that follows from what the numbers mean.

Legend: S state size, A action size.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.ops.pose import POSE_SIZE, apply_action, pose_delta

TransitionRule = Literal["pose", "add", "replace", "empty", "none"]


def transition_rule(state_dim: int, action_dim: int, robot: EmbodimentConfig | None = None) -> TransitionRule:
    """Return how an action changes a state.

    Args:
        state_dim: S.
        action_dim: A.
        robot: What the numbers mean. None goes by the sizes: poses where both are 7, addition for other equal sizes.

    Returns:
        pose (the action is a pose delta), add (a change of the state), replace (the next state itself), empty (there is
        no state) or none (not known). Joints and numbers of unknown meaning are never composed as poses.
    """
    if not state_dim:
        return "empty"
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
    """Return the state that an action leads to, by :func:`transition_rule`.

    Args:
        state: `[..., S]`, in the data's units.
        action: `[..., A]`, in the data's units.
        wrap: Keep the angles of poses in [-pi, pi].
        robot: What the numbers mean; None goes by their sizes.

    Returns:
        `[..., S]`.

    Raises:
        ConfigError: If there is no rule for these sizes.
    """
    rule = transition_rule(state.shape[-1], action.shape[-1], robot)
    if rule == "pose":
        return apply_action(state, action, wrap=wrap)
    if rule == "add":
        return state + action
    if rule == "replace":
        return action
    if rule == "empty":
        return state.expand(*action.shape[:-1], 0)
    raise ConfigError(
        f"states of size {state.shape[-1]} cannot be advanced by actions of size {action.shape[-1]}; "
        "a rollout of several steps needs equal sizes (or poses and pose deltas of size 7), or a predictor that "
        "predicts states: fine-tune one with predictor.predict_state=true."
    )


def rule_is_known(state_dim: int, action_dim: int, robot: EmbodimentConfig) -> bool:
    """Return whether data or its format declare the rule, so that it is no guess from equal sizes, and not empty."""
    rule = transition_rule(state_dim, action_dim, robot)
    return rule in ("pose", "replace") or (rule == "add" and robot.action_meaning != "given")


def actions_between(states: Tensor, action_dim: int, robot: EmbodimentConfig | None = None) -> Tensor:
    """Return the actions that lead from each state to the next: the inverse of :func:`advance_state`.

    Args:
        states: `[..., T, S]`, in the data's units.
        action_dim: A.
        robot: What the numbers mean; None goes by their sizes.

    Returns:
        `[..., T-1, A]`.

    Raises:
        ConfigError: If there is no rule for these sizes.
    """
    rule = transition_rule(states.shape[-1], action_dim, robot)
    if rule == "pose":
        return pose_delta(states[..., :-1, :], states[..., 1:, :])
    if rule == "add":
        return states.diff(dim=-2)
    if rule == "replace":
        return states[..., 1:, :]
    raise ConfigError(
        f"states of size {states.shape[-1]} do not determine which actions of size {action_dim} were taken between "
        "them, and this predictor sees the past; give the context's actions [B, T-1, A], or its last frame alone."
    )

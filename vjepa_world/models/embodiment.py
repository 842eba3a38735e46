"""One robot in a predictor that several share: how its actions and states are embedded, their scale and bounds.

Legend: B batch, T frames, A action size, S state size, width of the predictor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.models.state_transition import advance_state, rule_is_known

ActionType = Literal["delta", "absolute", "choice"]
"""What an action is, as planners need to know it: a change, a target, or one of some choices as a one-hot vector."""

#: Standard deviation below which an entry (5 mm, 0.3 degrees) is measurement noise and not rescaled.
LEAST_SPREAD = 5e-3


class NumbersLinear(nn.Linear):
    """A linear map from or to a robot's numbers, of which there may be none: a robot without a state."""

    def reset_parameters(self) -> None:
        """Initialise as `nn.Linear` does, where there is something to initialise."""
        if self.weight.numel():
            super().reset_parameters()
        else:
            nn.init.zeros_(self.bias)


class Embodiment(nn.Module):
    r"""The maps, statistics and bounds of one robot's actions and states.

    Actions and states are standardised with the training data's statistics, which are part of the weights: metres and
    radians of the order 0.05 would otherwise have no effect next to unit-variance features. Statistics and bounds are
    in the data's units and stay float32 when the weights are converted to another format.

    With `predict_state` the next state is computed from an output token x, as a change of the standardised state that
    is zero before training: :math:`s' = f(s, a) + \sigma_s W x`, where f is the rule that the meaning of the numbers
    gives, or :math:`f(s, a) = s` where they have none.

    Attributes:
        action_mean: Mean of the actions, `[A]`; 0 before training.
        action_std: Their standard deviation, `[A]`; 1 before training.
        state_mean: Mean of the states, `[S]`; 0 before training.
        state_std: Their standard deviation, `[S]`; 1 before training.
        action_low: Lowest action of the training data, `[A]`, in the data's units; -1 before training.
        action_high: Highest action, `[A]`; 1 before training.

    Args:
        config: Name and sizes.
        width: Width of the predictor.
        predict_state: Whether there is a head for the next state.
    """

    action_mean: Tensor
    action_std: Tensor
    state_mean: Tensor
    state_std: Tensor
    action_low: Tensor
    action_high: Tensor

    def __init__(self, config: EmbodimentConfig, width: int, *, predict_state: bool = False) -> None:
        super().__init__()
        self.config = config
        self.action_encoder = nn.Linear(config.action_dim, width)
        self.state_encoder = NumbersLinear(config.state_dim, width)
        if predict_state:
            self.state_head = NumbersLinear(width, config.state_dim)
        for name, size in (("action", config.action_dim), ("state", config.state_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("action_low", torch.full((config.action_dim,), -1.0))
        self.register_buffer("action_high", torch.full((config.action_dim,), 1.0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move the weights to a device or convert their format; statistics and bounds are only moved."""
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, numbers in exact.items():
            moved = getattr(self, name)
            if moved.dtype != numbers.dtype:
                setattr(self, name, numbers.to(moved.device))
        return self

    @property
    def action_type(self) -> ActionType | None:
        """Whether actions are changes, targets or choices; None if the data does not declare it."""
        types: dict[str, ActionType] = {"delta": "delta", "target": "absolute", "choice": "choice"}
        return types.get(self.config.action_meaning)

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one target to the next, `[A]`; None if there is no such limit.

        Actions that are changes have none: their bounds limit them.
        """
        steps = self.config.action_step if self.action_type == "absolute" else ()
        return self.action_low.new_tensor(steps) if steps else None

    def hold_action(self, states: Tensor) -> Tensor | None:
        """Return the actions that keep robots in `states [B, S]` where they are, `[B, A]`: zeros, or their joints.

        None if the meaning of actions is not known, or targets cannot be read from a state.
        """
        low = self.action_low
        if self.action_type == "delta":
            return low.new_zeros(len(states), len(low))
        if self.action_type == "absolute" and self.config.state_dim == self.config.action_dim:
            return states.to(low)
        return None

    def init_weights(self) -> None:
        """Initialise after the predictor: the encoders keep their inputs' variance, states do not change."""
        for encoder in (self.action_encoder, self.state_encoder):
            nn.init.trunc_normal_(encoder.weight, std=max(encoder.in_features, 1) ** -0.5)
            nn.init.zeros_(encoder.bias)
        if hasattr(self, "state_head"):
            nn.init.zeros_(self.state_head.weight)
            nn.init.zeros_(self.state_head.bias)

    @torch.no_grad()
    def set_statistics(self, actions: Tensor, states: Tensor) -> None:
        """Set the statistics to the mean and standard deviation of `actions [M, A]` and `states [M, S]`.

        An entry that hardly varies (less than 5 mm or 0.3 degrees: measurement noise) is not rescaled.
        """
        self.check(actions, states)
        for name, values in (("action", actions), ("state", states)):
            if not values.shape[-1]:  # a robot without a state
                continue
            std = values.float().std(dim=0)
            getattr(self, f"{name}_mean").copy_(values.float().mean(dim=0))
            getattr(self, f"{name}_std").copy_(torch.where(std > LEAST_SPREAD, std, 1.0))

    def check(self, actions: Tensor | None, states: Tensor | None) -> None:
        """Check the sizes of actions `[..., A]` and states `[..., S]`; None is not checked.

        Raises:
            ConfigError: If a size is not this embodiment's.
        """
        config = self.config
        for kind, values, size in (
            ("actions", actions, config.action_dim),
            ("states", states, config.state_dim),
        ):
            if values is not None and values.shape[-1] != size:
                raise ConfigError(
                    f"embodiment '{config.name}' has actions of size {config.action_dim} and states of size "
                    f"{config.state_dim}, got {kind} of size {values.shape[-1]}; name the embodiment that the data "
                    "is from, or fine-tune with one of these sizes."
                )

    def standard_actions(self, actions: Tensor) -> Tensor:
        """Return standardised `actions [..., A]`: less their mean, over their standard deviation."""
        return (actions - self.action_mean) / self.action_std

    def standard_states(self, states: Tensor) -> Tensor:
        """Return standardised `states [..., S]`: less their mean, over their standard deviation."""
        return (states - self.state_mean) / self.state_std

    def embed(self, actions: Tensor, states: Tensor) -> list[Tensor]:
        """Return the embeddings of `actions [B, T, A]` and `states [B, T, S]`, `[B, T, width]` each.

        Raises:
            ConfigError: If a size is not this embodiment's.
        """
        self.check(actions, states)
        return [
            self.embed_actions(actions),
            self.state_encoder(self._as_weights(self.standard_states(states))),
        ]

    def embed_actions(self, actions: Tensor) -> Tensor:
        """Return the embeddings `[..., width]` of `actions [..., A]`."""
        embedded: Tensor = self.action_encoder(self._as_weights(self.standard_actions(actions)))
        return embedded

    def _as_weights(self, numbers: Tensor) -> Tensor:
        return numbers.to(self.action_encoder.weight.dtype)

    def next_states(self, states: Tensor, actions: Tensor, token: Tensor, *, wrap: bool = False) -> Tensor:
        """Return the states after `states [B, T, S]` and `actions [B, T, A]`, in the data's units.

        Args:
            states: `[B, T, S]`.
            actions: `[B, T, A]`.
            token: Output token that the change is computed from, `[B, T, width]`.
            wrap: Keep the angles of poses in [-pi, pi] where the rule gives them.
        """
        change: Tensor = self.state_head(self._as_weights(token))
        config = self.config
        if rule_is_known(config.state_dim, config.action_dim, config):
            states = advance_state(states, actions, wrap=wrap, robot=config)
        return states + change * self.state_std


def build_embodiments(
    configs: Sequence[EmbodimentConfig], width: int, *, predict_state: bool
) -> nn.ModuleDict:
    """Return the embodiments by name.

    Raises:
        ConfigError: If a name is an attribute of PyTorch's modules ("train", "type").
    """
    embodiments = nn.ModuleDict()
    for config in configs:
        if hasattr(nn.ModuleDict(), config.name):
            raise ConfigError(
                f"an embodiment cannot be called '{config.name}', which is an attribute of PyTorch's modules; "
                "choose another name."
            )
        embodiments[config.name] = Embodiment(config, width, predict_state=predict_state)
    return embodiments

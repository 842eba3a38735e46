"""One robot's numbers: how its actions and states come in, their scale and their bounds.

Legend: B batch, T frames, A action size, S state size, width of the predictor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EmbodimentConfig

#: An entry that varies less (5 mm, 0.3 degrees) is measurement noise and keeps its own scale.
LEAST_SPREAD = 5e-3


class Embodiment(nn.Module):
    r"""What is one robot's own in a predictor that several share.

    Actions and states are standardised with the training data's statistics, which are part of the weights: metres and
    radians of the order 0.05 would otherwise be lost beside unit-variance features. Statistics and bounds are numbers
    in the data's units and stay float32 whatever format the weights are brought to.

    With `predict_state` the next state is read off an output token x, as a change of the standardised state, zero at
    the start: :math:`s' = s + \sigma_s W x`.

    Attributes:
        action_low: Lowest action that was taken in training, `[A]`, in the data's units; -1 before any.
        action_high: The highest, `[A]`; 1 before any.

    Args:
        config: Name and sizes.
        width: Of the predictor.
        predict_state: With a head for the next state.
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
        self.state_encoder = nn.Linear(config.state_dim, width)
        if predict_state:
            self.state_head = nn.Linear(width, config.state_dim)
        for name, size in (("action", config.action_dim), ("state", config.state_dim)):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_std", torch.ones(size))
        self.register_buffer("action_low", torch.full((config.action_dim,), -1.0))
        self.register_buffer("action_high", torch.full((config.action_dim,), 1.0))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Bring the weights to a device or a number format; statistics and bounds to the device alone."""
        exact = dict(self.named_buffers(recurse=False))
        super()._apply(fn, recurse)
        for name, numbers in exact.items():
            moved = getattr(self, name)
            if moved.dtype != numbers.dtype:
                setattr(self, name, numbers.to(moved.device))
        return self

    @property
    def action_type(self) -> Literal["delta", "absolute"] | None:
        """Whether actions are changes or targets; None where the data does not say."""
        types: dict[str, Literal["delta", "absolute"]] = {"delta": "delta", "target": "absolute"}
        return types.get(self.config.action_meaning)

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one target to the next, `[A]`; None where the robot has no such limit.

        Changes have none: they are limited by their bounds.
        """
        steps = self.config.action_step if self.action_type == "absolute" else ()
        return self.action_low.new_tensor(steps) if steps else None

    def hold_action(self, states: Tensor) -> Tensor | None:
        """Return the actions that leave robots in `states [B, S]` where they are, `[B, A]`: zeros, or their joints.

        None where nobody says what an action is, or a state does not tell the targets.
        """
        low = self.action_low
        if self.action_type == "delta":
            return low.new_zeros(len(states), len(low))
        if self.action_type == "absolute" and self.config.state_dim == self.config.action_dim:
            return states.to(low)
        return None

    def init_weights(self) -> None:
        """Initialise, after the predictor has: maps from few numbers keep their variance, no change of state."""
        for encoder in (self.action_encoder, self.state_encoder):
            nn.init.trunc_normal_(encoder.weight, std=encoder.in_features**-0.5)
            nn.init.zeros_(encoder.bias)
        if hasattr(self, "state_head"):
            nn.init.zeros_(self.state_head.weight)
            nn.init.zeros_(self.state_head.bias)

    @torch.no_grad()
    def set_statistics(self, actions: Tensor, states: Tensor) -> None:
        """Standardise with the mean and spread of `actions [M, A]` and `states [M, S]`.

        An entry that hardly varies (less than 5 mm or 0.3 degrees: measurement noise) keeps its own scale.
        """
        self.check(actions, states)
        for name, values in (("action", actions), ("state", states)):
            std = values.float().std(dim=0)
            getattr(self, f"{name}_mean").copy_(values.float().mean(dim=0))
            getattr(self, f"{name}_std").copy_(torch.where(std > LEAST_SPREAD, std, 1.0))

    def check(self, actions: Tensor | None, states: Tensor | None) -> None:
        """Refuse actions `[..., A]` or states `[..., S]` of another robot.

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
        """Return `actions [..., A]` in units of their spread about their mean."""
        return (actions - self.action_mean) / self.action_std

    def standard_states(self, states: Tensor) -> Tensor:
        """Return `states [..., S]` in units of their spread about their mean."""
        return (states - self.state_mean) / self.state_std

    def embed(self, actions: Tensor, states: Tensor) -> list[Tensor]:
        """Return `actions [B, T, A]` and `states [B, T, S]` embedded, `[B, T, width]` each.

        Raises:
            ConfigError: If a size is not this embodiment's.
        """
        self.check(actions, states)
        return [
            self.embed_actions(actions),
            self.state_encoder(self._as_weights(self.standard_states(states))),
        ]

    def embed_actions(self, actions: Tensor) -> Tensor:
        """Return `actions [..., A]` embedded, `[..., width]`."""
        embedded: Tensor = self.action_encoder(self._as_weights(self.standard_actions(actions)))
        return embedded

    def _as_weights(self, numbers: Tensor) -> Tensor:
        return numbers.to(self.action_encoder.weight.dtype)

    def next_states(self, states: Tensor, token: Tensor) -> Tensor:
        """Return the states `[B, T, S]` after `states`, in the data's units, read off `token [B, T, width]`."""
        change: Tensor = self.state_head(self._as_weights(token))
        return states + change * self.state_std


def build_embodiments(
    configs: Sequence[EmbodimentConfig], width: int, *, predict_state: bool
) -> nn.ModuleDict:
    """Return the embodiments by name.

    Raises:
        ConfigError: If a name is one that PyTorch keeps for itself ("train", "type").
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

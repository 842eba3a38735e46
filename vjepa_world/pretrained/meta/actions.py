"""What of a V-JEPA 2-AC predictor is one robot's: the reference's names and ours, in both directions.

The reference has one robot, whose maps of actions and states stand beside the rest, and neither standardisation nor
bounds. Here they belong to an embodiment.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.pretrained.meta.kinds import State, needed

#: A predictor's standardisation: each linear map and the buffers that stand before it.
STANDARDISED = {"action_encoder": ("action_mean", "action_std"), "state_encoder": ("state_mean", "state_std")}

#: An embodiment's bounds of actions.
BOUNDS = ("action_low", "action_high")


def robot_of(state: State, name: str | None = None) -> EmbodimentConfig:
    """Return the sizes of the robot that a reference predictor was trained on, and its name where one was noted."""
    action, states = (needed(state, f"{layer}.weight", "predictor", 2).shape[1] for layer in STANDARDISED)
    return EmbodimentConfig(name=name or EmbodimentConfig.name, action_dim=action, state_dim=states)


def with_embodiment(state: State, robot: EmbodimentConfig, bounds: Mapping[str, Tensor]) -> State:
    """Return a reference predictor's tensors under our names.

    Args:
        state: Its tensors.
        robot: From :func:`robot_of`.
        bounds: Of actions, where they are known; else one metre, one radian, the whole closure.
    """
    prefix = f"embodiments.{robot.name}."
    named = {}
    for name, tensor in state.items():
        named[prefix + name if name.partition(".")[0] in STANDARDISED else name] = tensor
    for kind, size in (("action", robot.action_dim), ("state", robot.state_dim)):
        named[f"{prefix}{kind}_mean"], named[f"{prefix}{kind}_std"] = torch.zeros(size), torch.ones(size)
    free = free_bounds(robot.action_dim)
    return named | {prefix + name: tensor for name, tensor in (free | dict(bounds)).items()}


def without_embodiment(state: State, name: str) -> tuple[State, dict[str, Tensor]]:
    r"""Return a predictor's tensors under the reference's names, and the bounds of actions, which it does not have.

    The standardisation is folded into the linear maps: :math:`W (x - \mu) / \sigma + b = W' x + b'`.

    Args:
        state: A predictor's tensors.
        name: Of its one embodiment.
    """
    plain = {key.removeprefix(f"embodiments.{name}."): tensor for key, tensor in state.items()}
    bounds = {key: plain.pop(key) for key in BOUNDS}
    for layer, (mean_name, std_name) in STANDARDISED.items():
        mean, std = plain.pop(mean_name).double(), plain.pop(std_name).double()
        if not mean.any() and bool((std == 1).all()):
            continue
        weight, bias = plain[f"{layer}.weight"], plain[f"{layer}.bias"]
        scaled = weight.double() / std
        plain[f"{layer}.weight"] = scaled.to(weight.dtype)
        plain[f"{layer}.bias"] = (bias.double() - scaled @ mean).to(bias.dtype)
    return plain, bounds


def free_bounds(actions: int) -> dict[str, Tensor]:
    """Return the bounds where none are known: one metre, one radian, the whole closure."""
    return {"action_low": torch.full((actions,), -1.0), "action_high": torch.full((actions,), 1.0)}

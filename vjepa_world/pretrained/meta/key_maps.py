"""From the tensor names of Meta's files to ours and back.

Without the prefixes of their wrappers the names equal ours, except for the robot-specific tensors of V-JEPA 2-AC:
Meta's predictor has one robot, with the action and state encoders at the top level, and neither standardisation nor
action bounds. Here all of these belong to an embodiment.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vjepa_world.errors import CheckpointError
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.pretrained.meta.kinds import State, required

#: Prefixes that data-parallel training and the multi-mask wrappers add to a name.
WRAPPERS = ("module.", "backbone.")

#: Each linear map with the buffers of the standardisation that precedes it.
STANDARDISED = {"action_encoder": ("action_mean", "action_std"), "state_encoder": ("state_mean", "state_std")}

#: Names of an embodiment's action bounds.
BOUNDS = ("action_low", "action_high")


def strip_prefixes(state: Mapping[str, Tensor]) -> State:
    """Return the tensors (any shapes) with the wrapper prefixes removed from their names.

    Raises:
        CheckpointError: If two tensors get the same name.
    """
    bare: State = {}
    for name, tensor in state.items():
        own = name
        while own.startswith(WRAPPERS):
            own = own.partition(".")[2]
        if own in bare:
            raise CheckpointError(f"two tensors are called '{own}', one of them '{name}'; expected one.")
        bare[own] = tensor
    return bare


def infer_embodiment(state: State, name: str | None = None) -> EmbodimentConfig:
    """Return the robot that Meta's predictor was trained on: its name if known, and the sizes of action and state."""
    action, states = (required(state, f"{layer}.weight", "predictor", 2).shape[1] for layer in STANDARDISED)
    return EmbodimentConfig(name=name or EmbodimentConfig.name, action_dim=action, state_dim=states)


def add_embodiment(state: State, robot: EmbodimentConfig, bounds: Mapping[str, Tensor]) -> State:
    """Return the tensors of Meta's predictor under our names.

    Args:
        state: The tensors.
        robot: From :func:`infer_embodiment`.
        bounds: `action_low` and `action_high`, `[A]` each, if known; the default is 1 m, 1 rad and the full closure.
    """
    prefix = f"embodiments.{robot.name}."
    named = {}
    for name, tensor in state.items():
        named[prefix + name if name.partition(".")[0] in STANDARDISED else name] = tensor
    for kind, size in (("action", robot.action_dim), ("state", robot.state_dim)):
        named[f"{prefix}{kind}_mean"], named[f"{prefix}{kind}_std"] = torch.zeros(size), torch.ones(size)
    free = default_bounds(robot.action_dim)
    return named | {prefix + name: tensor for name, tensor in (free | dict(bounds)).items()}


def remove_embodiment(state: State, name: str) -> tuple[State, dict[str, Tensor]]:
    r"""Return a predictor's tensors under Meta's names, and the action bounds `[A]`, which Meta's format does not have.

    The standardisation is folded into the linear maps: :math:`W (x - \mu) / \sigma + b = W' x + b'`.

    Args:
        state: The predictor's tensors.
        name: Name of its only embodiment.
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


def default_bounds(actions: int) -> dict[str, Tensor]:
    """Return the action bounds `[A]` if none are known: 1 m, 1 rad, the full closure."""
    return {"action_low": torch.full((actions,), -1.0), "action_high": torch.full((actions,), 1.0)}

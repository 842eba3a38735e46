"""Kinds of Meta files: how to distinguish them, and the prefixes of their tensor names.

Without the wrapper prefixes the names equal those of our modules, except V-JEPA 2-AC's robot-specific tensors
(`key_maps.py`); the shapes are equal too, except I-JEPA's two-dimensional patch kernel (`reader.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained.overrides import Overrides

#: The tensors of a part of a file by name, each of the shape of the module's tensor.
State = dict[str, Tensor]

ENCODERS = ("encoder", "target_encoder", "ema_encoder")
PATCHES = "patch_embed.proj.weight"

#: Entry in which our writer stores what cannot be inferred: fields by part, labels, the robot's name and bounds.
OWN_ENTRY = "vjepa_world"

#: V-JEPA 1 has two mask tokens, one a mask family; V-JEPA 2 was released with ten.
V_JEPA_2_MASK_TOKENS = 10


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of training file.

    Attributes:
        name: Name for messages.
        weights: Its encoders, in the order of preference of Meta's evaluation code.
        prefix: Prefix that its training code adds to each name.
    """

    name: str
    weights: tuple[str, ...]
    prefix: str


V_JEPA_2 = Kind(name="V-JEPA 2", weights=("target_encoder", "encoder"), prefix="module.backbone.")
V_JEPA_2_AC = Kind(name="V-JEPA 2-AC", weights=("encoder", "target_encoder"), prefix="module.")
V_JEPA_2_1 = Kind(
    name="V-JEPA 2.1", weights=("ema_encoder", "target_encoder", "encoder"), prefix="module.backbone."
)
V_JEPA_1 = Kind(name="V-JEPA 1", weights=("target_encoder", "encoder"), prefix="module.backbone.")
I_JEPA = Kind(name="I-JEPA", weights=("target_encoder", "encoder"), prefix="module.")


def is_action_predictor(predictor: State) -> bool:
    """Return whether a file's predictor is an action-conditioned one."""
    return "action_encoder.weight" in predictor


def positions_of(encoder: State, predictor: State, overrides: Overrides) -> str:
    """Return the kind of position encoding: tiled, interleaved or sincos.

    V-JEPA 2.1 has level norms. A file without a position table is V-JEPA 2; one with a table is V-JEPA 1 or I-JEPA,
    unless its predictor is V-JEPA 2's (ten mask tokens, or action-conditioned): some of those files contain an unused
    table.

    Args:
        encoder: The encoder's tensors.
        predictor: The tensors of the file's predictor; empty without one.
        overrides: Overrides given by the caller; `positions` takes precedence.
    """
    if "positions" in overrides:
        return str(overrides["positions"])
    if "norms_block.0.weight" in encoder:
        return "interleaved"
    stray = is_action_predictor(predictor) or count(predictor, "mask_tokens") == V_JEPA_2_MASK_TOKENS
    return "sincos" if "pos_embed" in encoder and not stray else "tiled"


def kind_of(encoder: State, predictor: State, positions: str) -> Kind:
    """Return the kind of file that has these tensors."""
    if is_action_predictor(predictor):
        return V_JEPA_2_AC
    if "norms_block.0.weight" in encoder:
        return V_JEPA_2_1
    if positions != "sincos":
        return V_JEPA_2
    return I_JEPA if required(encoder, PATCHES, "encoder").ndim == 4 else V_JEPA_1


def required(state: State, name: str, part: str, ndim: int | None = None) -> Tensor:
    """Return a tensor that the architecture is inferred from, of any shape with `ndim` axes.

    Args:
        state: The tensors.
        name: Name of the tensor.
        part: Part of the model, for messages.
        ndim: Required number of axes; None for any.

    Raises:
        CheckpointError: If it is missing, empty or has another number of axes.
    """
    if name not in state:
        some = ", ".join(list(state)[:10]) or "none"
        raise CheckpointError(
            f"the {part} lacks {name}, which its architecture is inferred from; it has {some}. It is not a {part} of "
            "this family, or the file is broken: download it again."
        )
    shape = tuple(state[name].shape)
    if 0 in shape or (ndim is not None and len(shape) != ndim):
        axes = "" if ndim is None else f" {ndim} axes,"
        raise CheckpointError(
            f"the {part}'s {name} is {list(shape)}; expected{axes} none of them empty. The file is broken: download it "
            "again."
        )
    return state[name]


def count(names: Iterable[str], part: str) -> int:
    """Return the length of a list of modules or parameters: its highest index plus one.

    Raises:
        CheckpointError: If the highest index is not below the number of tensors (a name with a huge index).
    """
    names = list(names)
    numbers = [
        int(found[1])
        for name in names
        if (found := re.match(rf"{re.escape(part)}\.([0-9]{{1,9}})(\.|$)", name))
    ]
    most = max(numbers, default=-1)
    if most >= len(names):
        raise CheckpointError(
            f"a tensor is called {part}.{most}, but there are only {len(names)} tensors; expected numbers from 0 "
            "without gaps. The file is broken: download it again."
        )
    return most + 1

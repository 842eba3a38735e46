"""Kinds of Meta files: how their names are wrapped, and what tells one from another.

With the wrappers' prefixes taken off, the names are those of our modules; I-JEPA's flat patch kernel is the exception.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor

from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained.words import Words

State = dict[str, Tensor]

ENCODERS = ("encoder", "target_encoder", "ema_encoder")
PATCHES = "patch_embed.proj.weight"

#: Where our own writer puts what the tensors do not tell: words by part, labels, the robot's name and bounds.
OWN_ENTRY = "vjepa_world"

#: What data-parallel training and the multi-mask wrappers put before a name.
WRAPPERS = ("module.", "backbone.")

#: V-JEPA 1 has two mask tokens, one a mask family; V-JEPA 2 was released with ten.
V_JEPA_2_MASK_TOKENS = 10


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of training file.

    Attributes:
        name: In words.
        weights: Its encoders, in the order in which the reference's evaluation code takes them.
        prefix: What its training code puts before each name.
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


def stripped(state: Mapping[str, Tensor]) -> State:
    """Return tensors by their names without the wrappers' prefixes.

    Raises:
        CheckpointError: If two names become one.
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


def is_action_predictor(predictor: State) -> bool:
    """Return whether a file's predictor is an action-conditioned one."""
    return "action_encoder.weight" in predictor


def positions_of(encoder: State, predictor: State, words: Words) -> str:
    """Return the positions of an encoder.

    V-JEPA 2.1 is known by its level norms. A file without a position table is V-JEPA 2; one with a table is V-JEPA 1 or
    I-JEPA, unless the predictor beside it is V-JEPA 2's (ten mask tokens, or action-conditioned): some of those carry
    a table that rotary positions never use.

    Args:
        encoder: Its tensors.
        predictor: Those of the predictor beside it, or none.
        words: What counts instead, where it names `positions`.
    """
    if "positions" in words:
        return str(words["positions"])
    if "norms_block.0.weight" in encoder:
        return "interleaved"
    stray = is_action_predictor(predictor) or count(predictor, "mask_tokens") == V_JEPA_2_MASK_TOKENS
    return "sincos" if "pos_embed" in encoder and not stray else "tiled"


def kind_of(encoder: State, predictor: State, positions: str) -> Kind:
    """Return the kind of file that these tensors come from."""
    if is_action_predictor(predictor):
        return V_JEPA_2_AC
    if "norms_block.0.weight" in encoder:
        return V_JEPA_2_1
    if positions != "sincos":
        return V_JEPA_2
    return I_JEPA if needed(encoder, PATCHES, "encoder").ndim == 4 else V_JEPA_1


def needed(state: State, name: str, part: str, ndim: int | None = None) -> Tensor:
    """Return a tensor that the architecture is read from.

    Args:
        state: The tensors.
        name: Which.
        part: Whose they are, for messages.
        ndim: How many axes it must have; None takes any.

    Raises:
        CheckpointError: If it is missing, empty or has other axes.
    """
    if name not in state:
        some = ", ".join(list(state)[:10]) or "none"
        raise CheckpointError(
            f"the {part} lacks {name}, which tells its architecture; it has {some}. It is no {part} of this family, or "
            "the file is broken: download it again."
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
    """Return how many entries a list of modules or parameters has, by its highest number.

    Raises:
        CheckpointError: If there are more than tensors, as a name with a huge number makes believe.
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

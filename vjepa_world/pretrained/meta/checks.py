"""Checks that every entry and tensor of a Meta file is either used or on a list of ignorable ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from vjepa_world.errors import CheckpointError
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.pretrained.architectures import nearest_architecture
from vjepa_world.pretrained.meta.kinds import ENCODERS, OWN_ENTRY, State
from vjepa_world.pretrained.torch_file import has_tensors

PROBES = ("classifiers", "classifier")

#: Training state that no model needs. Of the numbers, only the epoch is reported in a checkpoint's details.
IGNORABLE_ENTRIES = ("opt", "scaler")
NUMBERS = ("epoch", "loss", "batch_size", "world_size", "lr")

#: A layer of some V-JEPA 1 probes that its code defines and never applies.
UNUSED_PROJECTION = "pooler.cross_attention_block.xattn.proj.weight"

#: Tensors that may stay unused: position tables of models with rotary positions, weights for unused extrinsics, and
#: the unused projection.
IGNORABLE_TENSORS = (
    UNUSED_PROJECTION,
    UNUSED_PROJECTION.replace("weight", "bias"),
    "pos_embed",
    "predictor_pos_embed",
    "extrinsics_encoder.weight",
    "extrinsics_encoder.bias",
)


def check_entries(content: Mapping[str, Any]) -> None:
    """Refuse a file with tensors in unknown entries, or without any known ones.

    Raises:
        CheckpointError: If the file has such entries or none of the known ones.
    """
    known = (*ENCODERS, "predictor", *PROBES, *IGNORABLE_ENTRIES, *NUMBERS)
    unknown = [key for key, value in content.items() if key not in (*known, OWN_ENTRY) and has_tensors(value)]
    if unknown:
        raise CheckpointError(
            f"there are tensors in the unknown entries {', '.join(unknown[:10])}; allowed: {', '.join(known)}."
        )
    if not isinstance(content.get(PROBES[0], []), list):
        raise CheckpointError(f"the entry '{PROBES[0]}' is not a list of state dicts; the file is broken.")
    if not any(key in content for key in (*ENCODERS, *PROBES)):
        raise CheckpointError(
            f"the entries are {', '.join(list(content)[:10]) or 'none'}; expected a training file with one of "
            f"{', '.join(ENCODERS)}, or a file of probes with {PROBES[0]}."
        )


def match_tensors(entry: str, state: State, model: nn.Module) -> tuple[State, list[str]]:
    """Return the tensors that a model uses, and the names of the ignorable tensors that it does not use.

    Args:
        entry: The file's entry, for messages.
        state: The tensors, without wrapper prefixes.
        model: A model of the right architecture; it may be on the meta device.

    Raises:
        CheckpointError: If other tensors stay unused, or tensors are missing or of another shape.
    """
    own = {name: tensor.shape for name, tensor in model.state_dict().items()}
    left = [name for name in state if name not in own and name in IGNORABLE_TENSORS]
    used = {name: tensor for name, tensor in state.items() if name not in left}
    problems = [
        f"{name}: file {_shape(used.get(name))}, model {list(own[name]) if name in own else 'none'}"
        for name in dict.fromkeys((*own, *used))
        if name not in own or name not in used or own[name] != used[name].shape
    ]
    if not problems:
        return {name: used[name] for name in own}, left
    hint = ""
    if isinstance(model, VideoEncoder):
        nearest = nearest_architecture(model.config.embed_dim, model.config.depth)
        hint = f" The nearest known architecture is {nearest}."
    raise CheckpointError(
        f"'{entry}' does not fit its architecture in {len(problems)} tensors: {'; '.join(problems[:10])}."
        f"{hint} The file is broken, of an unsupported variant, or needs its architecture given with config=."
    )


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else str(list(tensor.shape))

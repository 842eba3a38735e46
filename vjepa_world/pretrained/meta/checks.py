"""The account of a Meta file: every entry and every tensor is used, or is on a list of what may be left over."""

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

#: Entries of training that no model needs. Of the numbers, the epoch is told in a checkpoint's details.
IGNORABLE_ENTRIES = ("opt", "scaler")
NUMBERS = ("epoch", "loss", "batch_size", "world_size", "lr")

#: Of some probes of V-JEPA 1: its code has the map, and never applies it.
UNUSED_PROJECTION = "pooler.cross_attention_block.xattn.proj.weight"

#: Tensors that may be left over: position tables beside rotary positions, weights for extrinsics that are not used, and
#: the projection.
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
        CheckpointError: If it is such a file.
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


def fitting(entry: str, state: State, model: nn.Module) -> tuple[State, list[str]]:
    """Return the tensors that a model takes, and the names of the ignorable ones that it does not.

    Args:
        entry: Where in the file they are.
        state: The tensors, prefixes taken off.
        model: Of the right architecture; its tensors need no memory.

    Raises:
        CheckpointError: If others are left over, or any are missing or of another shape.
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
        f"{hint} The file is broken, of a variant that is not read, or needs its architecture given with config=."
    )


def _shape(tensor: Tensor | None) -> str:
    return "none" if tensor is None else str(list(tensor.shape))

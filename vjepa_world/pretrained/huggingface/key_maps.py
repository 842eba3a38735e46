"""The names of our tensors in transformers, and how they are split and stacked there.

transformers has separate query, key and value matrices where we have one, a single tensor with all mask tokens where
we have one tensor each, and I-JEPA's patch embedding without a time axis.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vjepa_world.pretrained.shapes import Shape

Table = Mapping[str, tuple[str, ...]]

#: From our names to transformers', without `.weight` and `.bias`; # is the index of a block or token. If there are
#: several names, they are equal slices of the rows of our tensor.
VJEPA2_ENCODER: Table = {
    "patch_embed.proj": ("encoder.embeddings.patch_embeddings.proj",),
    "blocks.#.norm1": ("encoder.layer.#.norm1",),
    "blocks.#.attn.qkv": tuple(f"encoder.layer.#.attention.{part}" for part in ("query", "key", "value")),
    "blocks.#.attn.proj": ("encoder.layer.#.attention.proj",),
    "blocks.#.norm2": ("encoder.layer.#.norm2",),
    "blocks.#.mlp.fc1": ("encoder.layer.#.mlp.fc1",),
    "blocks.#.mlp.fc2": ("encoder.layer.#.mlp.fc2",),
    "norm": ("encoder.layernorm",),
}
VJEPA2_PREDICTOR: Table = {
    "predictor_embed": ("predictor.embeddings.predictor_embeddings",),
    "mask_tokens.#": ("predictor.embeddings.mask_tokens",),
    **{
        f"predictor_{own}": tuple(name.replace("encoder.", "predictor.", 1) for name in hf_names)
        for own, hf_names in VJEPA2_ENCODER.items()
        if own.startswith("blocks.")
    },
    "predictor_norm": ("predictor.layernorm",),
    "predictor_proj": ("predictor.proj",),
}
VJEPA2_PROBE: Table = {
    "pooler.query_tokens": ("pooler.query_tokens",),
    "pooler.blocks.#.norm1": ("pooler.self_attention_layers.#.layer_norm1",),
    "pooler.blocks.#.attn.qkv": tuple(f"pooler.self_attention_layers.#.self_attn.{x}_proj" for x in "qkv"),
    "pooler.blocks.#.attn.proj": ("pooler.self_attention_layers.#.self_attn.out_proj",),
    "pooler.blocks.#.norm2": ("pooler.self_attention_layers.#.layer_norm2",),
    "pooler.blocks.#.mlp.fc1": ("pooler.self_attention_layers.#.mlp.fc1",),
    "pooler.blocks.#.mlp.fc2": ("pooler.self_attention_layers.#.mlp.fc2",),
    "pooler.cross_attention_block.norm1": ("pooler.cross_attention_layer.layer_norm1",),
    "pooler.cross_attention_block.xattn.q": ("pooler.cross_attention_layer.cross_attn.q_proj",),
    "pooler.cross_attention_block.xattn.kv": tuple(
        f"pooler.cross_attention_layer.cross_attn.{x}_proj" for x in "kv"
    ),
    "pooler.cross_attention_block.norm2": ("pooler.cross_attention_layer.layer_norm2",),
    "pooler.cross_attention_block.mlp.fc1": ("pooler.cross_attention_layer.mlp.fc1",),
    "pooler.cross_attention_block.mlp.fc2": ("pooler.cross_attention_layer.mlp.fc2",),
    "linear": ("classifier",),
}
#: Names in the released files, and as transformers 4 and 5 save them.
IJEPA_ENCODER: Table = {
    "patch_embed.proj": ("embeddings.patch_embeddings.projection",),
    "pos_embed": ("embeddings.position_embeddings",),
    "blocks.#.norm1": ("encoder.layer.#.layernorm_before",),
    "blocks.#.attn.qkv": tuple(f"encoder.layer.#.attention.attention.{x}" for x in ("query", "key", "value")),
    "blocks.#.attn.proj": ("encoder.layer.#.attention.output.dense",),
    "blocks.#.norm2": ("encoder.layer.#.layernorm_after",),
    "blocks.#.mlp.fc1": ("encoder.layer.#.intermediate.dense",),
    "blocks.#.mlp.fc2": ("encoder.layer.#.output.dense",),
    "norm": ("layernorm",),
}
#: Names of the modules of transformers 5, and so of a plain state dict.
IJEPA_ENCODER_IN_MEMORY: Table = {
    **IJEPA_ENCODER,
    "blocks.#.norm1": ("layers.#.layernorm_before",),
    "blocks.#.attn.qkv": tuple(f"layers.#.attention.{x}_proj" for x in "qkv"),
    "blocks.#.attn.proj": ("layers.#.attention.o_proj",),
    "blocks.#.norm2": ("layers.#.layernorm_after",),
    "blocks.#.mlp.fc1": ("layers.#.mlp.fc1",),
    "blocks.#.mlp.fc2": ("layers.#.mlp.fc2",),
}

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


@dataclass(frozen=True)
class PartNames:
    """The tensors of one part of a checkpoint under our names and transformers'.

    Attributes:
        shapes: Shapes by our names, in the module's order.
        table: From our names to transformers'.
        prefix: Prefix of transformers' names.
    """

    shapes: Mapping[str, Shape]
    table: Table
    prefix: str = ""

    def hf_names(self, own: str) -> tuple[str, ...]:
        """Return the names of transformers' tensors that make up our tensor `own`, in the order of its rows."""
        stem, dot, kind = own.rpartition(".")
        if kind not in ("weight", "bias"):
            stem, dot, kind = own, "", ""
        number = _NUMBER.search(stem)
        names = self.table[_NUMBER.sub("#", stem)]
        found = number.group() if number else ""
        return tuple(f"{self.prefix}{name.replace('#', found)}{dot}{kind}" for name in names)

    def hf_shapes(self) -> dict[str, Shape]:
        """Return the shapes of all of transformers' tensors."""
        shapes: dict[str, Shape] = {}
        mask_tokens = sum(_is_mask_token(own) for own in self.shapes)
        for own, shape in self.shapes.items():
            names = self.hf_names(own)
            if _is_mask_token(own):
                shape = (mask_tokens, *shape)
            elif names[0].endswith("patch_embeddings.projection.weight"):
                shape = (*shape[:2], *shape[3:])
            elif len(names) > 1:
                shape = (shape[0] // len(names), *shape[1:])
            shapes |= dict.fromkeys(names, shape)
        return shapes

    def from_hf(self, own: str, parts: Sequence[Tensor]) -> Tensor:
        """Return our tensor `own`, of shape `shapes[own]`, from the tensors that :meth:`hf_names` names.

        Their shapes are those of :meth:`hf_shapes`. It is copied only if there are several.
        """
        if _is_mask_token(own):
            return parts[0][int(own.rpartition(".")[2])]
        whole = parts[0] if len(parts) == 1 else torch.cat(list(parts))
        return whole.reshape(self.shapes[own])

    def to_hf(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return transformers' tensors, built from all of ours; slices of rows are views.

        Shapes as in `shapes` and :meth:`hf_shapes`.
        """
        shapes = self.hf_shapes()
        result: dict[str, Tensor] = {}
        tokens = [own for own in self.shapes if _is_mask_token(own)]
        for own in self.shapes:
            names = self.hf_names(own)
            if own in tokens[1:]:
                continue
            whole = torch.stack([tensors[token] for token in tokens]) if own in tokens else tensors[own]
            slices = whole.chunk(len(names)) if len(names) > 1 else [whole]
            for name, rows in zip(names, slices, strict=True):
                result[name] = rows.reshape(shapes[name]).contiguous()
        return result


def _is_mask_token(own: str) -> bool:
    return own.startswith("mask_tokens.")

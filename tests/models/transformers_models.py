"""Small transformers models with random weights, and ours with the same weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig, ProbeConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.probe import AttentiveProbe
from vjepa_world.pretrained.checkpoint import Checkpoint

ENCODER = EncoderConfig(
    image_size=24, patch_size=8, num_frames=4, embed_dim=64, depth=2, num_heads=2, mlp_ratio=3.0
)
PREDICTOR = MaskedPredictorConfig(embed_dim=48, depth=2, num_heads=3, mlp_ratio=2.0)
PROBE = ProbeConfig(embed_dim=64, num_heads=2, depth=3, num_outputs=5, norm_eps=1e-6)
IJEPA = EncoderConfig(
    image_size=32,
    patch_size=8,
    num_frames=1,
    tubelet_size=1,
    embed_dim=64,
    depth=2,
    num_heads=2,
    mlp_ratio=3.0,
    positions="sincos",
    norm_eps=1e-12,
)

#: The words of transformers for ENCODER, PREDICTOR and PROBE.
VJEPA2_WORDS = {
    "crop_size": 24,
    "patch_size": 8,
    "frames_per_clip": 4,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "mlp_ratio": 3.0,
    "pred_hidden_size": 48,
    "pred_num_hidden_layers": 2,
    "pred_num_attention_heads": 3,
    "pred_mlp_ratio": 2.0,
    "pred_num_mask_tokens": 3,
    "num_pooler_layers": 2,
}
#: The words of transformers for IJEPA.
IJEPA_WORDS = {
    "image_size": 32,
    "patch_size": 8,
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 192,
    "layer_norm_eps": 1e-12,
}


def randn(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


#: What writes to the stream of tokens that the LayerNorms read, in the names of both.
WRITERS = re.compile(
    r"patch_embed|predictor_embed|position_embeddings|pos_embed|mask_tokens|fc2"
    r"|(attn|attention)\.(proj|o_proj|out_proj|output\.dense)|layer\.\d+\.output\.dense"
)
QUIET = 0.02


def randomise(module: nn.Module, seed: int = 0) -> None:
    """Give every tensor random values, so that all of them and the eps of every LayerNorm matter.

    For the eps, the stream of tokens is quiet (as at the start of a training): its variance is of the order 0.001.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.named_parameters():
            noise = torch.randn(tensor.shape, generator=generator)
            if WRITERS.search(name):
                noise *= QUIET
            if "norm" in name and name.endswith("weight"):
                tensor.copy_(1 + 0.2 * noise)
            elif name.endswith("weight"):
                tensor.copy_(noise * tensor[0].numel() ** -0.5)
            else:
                tensor.copy_(noise)


def transformers_model(kind: str, seed: int = 0, **changes: Any) -> Any:
    """Return a model of transformers by the name of its class, with changed fields of its config."""
    import transformers

    family = "IJepa" if kind.startswith("IJepa") else "VJEPA2"
    words = {"IJepa": IJEPA_WORDS, "VJEPA2": VJEPA2_WORDS}[family] | changes
    model = getattr(transformers, kind)(getattr(transformers, f"{family}Config")(**words)).eval()
    randomise(model, seed)
    return model.requires_grad_(False)


def save(model: Any, folder: Path, **arguments: Any) -> Path:
    model.save_pretrained(folder, **arguments)
    return folder


def our_module(checkpoint: Checkpoint, part: str = "encoder") -> Any:
    """Return our module of a part, with the checkpoint's weights, strictly."""
    assert checkpoint.encoder is not None
    module: nn.Module
    if part == "encoder":
        module = VideoEncoder(checkpoint.encoder)
    elif part == "masked_predictor":
        assert checkpoint.masked_predictor is not None
        module = MaskedPredictor(checkpoint.masked_predictor, checkpoint.encoder.embed_dim)
    else:
        assert checkpoint.probe is not None
        module = AttentiveProbe(checkpoint.probe)
    module.load_state_dict(checkpoint.tensors[part])
    return module.eval().requires_grad_(False)


def our_checkpoint(
    encoder: EncoderConfig = ENCODER,
    predictor: MaskedPredictorConfig | None = None,
    probe: ProbeConfig | None = None,
    **details: Any,
) -> Checkpoint:
    """Return a checkpoint of ours with random weights."""
    modules: dict[str, nn.Module] = {"encoder": VideoEncoder(encoder)}
    if predictor is not None:
        modules["masked_predictor"] = MaskedPredictor(predictor, encoder.embed_dim)
    if probe is not None and probe.kind == "attentive":
        modules["probe"] = AttentiveProbe(probe)
    for seed, module in enumerate(modules.values()):
        randomise(module, seed)
    return Checkpoint(
        format="native",
        name="test",
        source=Path("SOURCE"),
        encoder=encoder,
        masked_predictor=predictor,
        probe=probe,
        tensors={part: dict(module.state_dict()) for part, module in modules.items()},
        details=details,
    )

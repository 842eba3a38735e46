"""Image and video backbones of the transformers library as frozen encoders.

Legend: B clips, T frames, S pixels, N tokens, D width, p prefix tokens (class, registers).
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError, InstallationError, VJEPAWorldError
from vjepa_world.files.validation import short
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.models.encoders.transformers_processor import read_preprocessing
from vjepa_world.system.memory import refuse_beyond_memory

#: Parameters that are tokens before those of the patches.
PREFIX = r"(.*\.)?(cls_token|class_token|class_embedding|cls_embedding|distillation_token|register_tokens)"

#: Prefix tokens that are no parameters: the mean of all tokens.
COMPUTED_PREFIX = {"dinov3_convnext": 1}

#: Video models whose tokens are in the order (time, row, column), without a prefix.
VIDEO = ("videomae",)

#: The parts of models of several modalities that see images.
TOWERS = ("vision_model", "image_model", "vision_tower", "visual")

#: Keys of a configuration that say nothing about features.
UNUSED = {
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "id2label",
    "label2id",
    "transformers_version",
}

#: The largest number of blocks that a configuration may ask for.
MOST_BLOCKS = 1024


class TransformersBackbone(nn.Module):
    """A backbone of transformers; its weights have any values until those of a checkpoint replace them.

    The features are `last_hidden_state` without the class and register tokens, or a feature map row by row. A video
    model gets an image as a clip of it, and the tokens are averaged over time.

    Args:
        config: The content of the model's `config.json`.
        preprocessing: Fields of :class:`Preprocessing`.

    Raises:
        ConfigError: If they describe no backbone of images or videos, or one that is too large for the memory.
        InstallationError: If transformers is not installed.
    """

    def __init__(self, config: Mapping[str, Any], preprocessing: Mapping[str, Any]) -> None:
        super().__init__()
        with _understood(f"the stored configuration {short(config)} of a transformers model"):
            self.preprocessing = Preprocessing(**preprocessing)
            self.model = _build(config)
        self.kind = str(self.model.config.model_type)
        self.image_size = self.preprocessing.size
        self.num_frames = int(self.model.config.num_frames) if self.kind in VIDEO else 1
        _check_reads_images(self.model, self.kind)
        self.prefix = sum(
            parameter.numel() // parameter.shape[-1]
            for name, parameter in self.model.named_parameters()
            if re.fullmatch(PREFIX, name)
        ) + COMPUTED_PREFIX.get(self.kind, 0)

    def forward(self, video: Tensor) -> Tensor:
        """Return features `[B, N, D]` of `video [B, T, 3, S, S]`, normalised; T is 1 or num_frames.

        Raises:
            ConfigError: If it is not known which of the model's tokens are patches.
        """
        video = video.to(self.model.dtype)
        if self.kind not in VIDEO:
            return self._patches(self.model(**self._inputs(video.flatten(0, 1))).last_hidden_state)
        clip = video.expand(-1, self.num_frames, -1, -1, -1)
        tokens: Tensor = self.model(pixel_values=clip).last_hidden_state
        if video.shape[1] == 1 < self.num_frames:
            tokens = tokens.unflatten(1, (self.num_frames // self.model.config.tubelet_size, -1)).mean(dim=1)
        return tokens

    def _inputs(self, images: Tensor) -> dict[str, Any]:
        """Return the model's arguments for images `[B, 3, S, S]`."""
        config, takes = self.model.config, inspect.signature(self.model.forward).parameters
        if "spatial_shapes" in takes:  # SigLIP 2 reads patches of images of any shape
            return _as_patches(images, config.patch_size)
        inputs: dict[str, Any] = {"pixel_values": images}
        if "interpolate_pos_encoding" in takes and _side(config.image_size) != self.image_size:
            inputs["interpolate_pos_encoding"] = True
        if self.kind == "vit_mae":  # tokens stay in the order of this noise, and none is masked
            count = (self.image_size // _side(config.patch_size)) ** 2
            inputs["noise"] = torch.arange(count, device=images.device).expand(len(images), -1).float()
        return inputs

    def _patches(self, hidden: Tensor) -> Tensor:
        """Return the tokens of the patches, `[B, N, D]`, of `last_hidden_state [B, p+N, D]` or `[B, D, h, w]`."""
        if hidden.ndim == 4:
            return hidden.flatten(2).transpose(1, 2)
        tokens = hidden[:, self.prefix :]
        side = math.isqrt(tokens.shape[1])
        expected = self._expected_tokens()
        if side**2 != tokens.shape[1] or (expected and tokens.shape[1] != expected):
            raise ConfigError(
                f"the transformers model '{self.kind}' returns {hidden.shape[1]} tokens for an image of "
                f"{self.image_size} pixels, {self.prefix} of which come before the patches; the others are not the "
                f"{expected or 'square number of'} patches. Write a function MODULE:FUNCTION that calls the model and "
                "returns the tokens of the patches [B, N, D]."
            )
        return tokens

    def _expected_tokens(self) -> int:
        """Return the number of patches of a plain vision transformer; 0 if it is not known."""
        patch = getattr(self.model.config, "patch_size", None)
        plain = self.prefix and self.kind not in COMPUTED_PREFIX and patch is not None
        return (self.image_size // _side(patch)) ** 2 if plain else 0


class Backbone(NamedTuple):
    """What a folder of transformers holds: the arguments of :class:`TransformersBackbone`, and the weights."""

    options: dict[str, Any]
    weights: dict[str, Tensor]


def read_backbone(folder: Path) -> Backbone:
    """Read a folder of the transformers library; of a model of images and text, the part that sees images.

    Raises:
        CheckpointError: If it is broken, or of a kind that transformers does not know.
        ConfigError: If it has no image input, or its preprocessing is not supported.
        InstallationError: If transformers is not installed.
    """
    transformers = _transformers()
    with _understood(f"{folder} as a model of transformers", CheckpointError):
        whole = transformers.AutoModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, use_safetensors=True
        )
    towers = (getattr(whole, name, None) for name in TOWERS)
    model: Any = next((tower for tower in towers if isinstance(tower, nn.Module)), whole)
    kind = str(model.config.model_type)
    _check_reads_images(model, kind)
    config = json.loads(model.config.to_json_string(use_diff=False))
    config = {key: value for key, value in config.items() if key not in UNUSED}
    if kind == "vit_mae":
        config["mask_ratio"] = 0.0
    preprocessing = read_preprocessing(folder, model.config)
    return Backbone({"config": config, "preprocessing": preprocessing}, model.state_dict())


def _check_reads_images(model: Any, kind: str) -> None:
    """Refuse models without an image input, and videos in an order that is not known."""
    if getattr(model, "main_input_name", "") != "pixel_values":
        raise ConfigError(
            f"the transformers model '{kind}' reads {getattr(model, 'main_input_name', 'nothing')}, not images; give a "
            "backbone with the input pixel_values, such as DINOv2, DINOv3, SigLIP, CLIP, ViT, ViT-MAE or ConvNeXt."
        )
    if hasattr(model.config, "num_frames") and kind not in VIDEO:
        raise ConfigError(
            f"the transformers video model '{kind}' is not supported; supported: V-JEPA 2 and {', '.join(VIDEO)}. "
            "Write a function MODULE:FUNCTION that calls the model and returns [B, N, D] for images."
        )


def _build(config: Mapping[str, Any]) -> Any:
    """Return a model whose weights may have any values: those of a checkpoint replace them."""
    transformers = _transformers()
    values = {key: value for key, value in config.items() if key not in UNUSED}
    _check_depth(values)
    described = transformers.AutoConfig.for_model(**values)
    with torch.device("meta"):
        shapes = transformers.AutoModel.from_config(described)
    refuse_beyond_memory(
        4 * sum(parameter.numel() for parameter in shapes.parameters()),
        f"the weights of the transformers model '{values.get('model_type')}'",
        "take a smaller one",
    )
    with _no_initialisation():
        return transformers.AutoModel.from_config(described).float()


def _no_initialisation() -> contextlib.AbstractContextManager[object]:
    """Return a context in which models get no values, which would take long for large ones, where it is available."""
    try:
        from transformers.initialization import no_init_weights
    except ImportError:
        return contextlib.nullcontext()
    context: contextlib.AbstractContextManager[object] = no_init_weights()
    return context


def _check_depth(values: Mapping[str, Any]) -> None:
    for key, value in values.items():
        numbers = value if isinstance(value, list) else [value]
        deep = re.fullmatch(r"num_.*(layers|blocks)|depths?|.*tokens", key)
        if deep and any(isinstance(number, int) and number > MOST_BLOCKS for number in numbers):
            raise ConfigError(f"{key} is {short(value)}; at most {MOST_BLOCKS} are allowed.")


def _as_patches(images: Tensor, patch_size: int) -> dict[str, Any]:
    """Return images `[B, 3, S, S]` as SigLIP 2 reads them: `[B, N, P*P*3]`, the channel last."""
    side = images.shape[-1] // patch_size
    cut = images.unflatten(3, (side, patch_size)).unflatten(2, (side, patch_size))  # B 3 side P side P
    return {
        "pixel_values": cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2),
        "pixel_attention_mask": torch.ones(len(images), side**2, dtype=torch.long, device=images.device),
        "spatial_shapes": torch.tensor([[side, side]] * len(images), device=images.device),
    }


def _side(value: Any) -> int:
    """Return a size that is one number or a square pair."""
    first, *others = value if isinstance(value, list | tuple) else (value,)
    if any(other != first for other in others):
        raise ConfigError(
            f"the transformers model has images or patches of {value} pixels; only squares are allowed."
        )
    return int(first)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InstallationError(
            "this encoder is a model of transformers, which is not installed: pip install 'vjepa-world[huggingface]'."
        ) from error
    return transformers


@contextlib.contextmanager
def _understood(what: str, kind: type[VJEPAWorldError] = ConfigError) -> Iterator[None]:
    """Turn any error of transformers into one that names its input."""
    try:
        yield
    except VJEPAWorldError:
        raise
    except Exception as error:  # of a foreign library: any
        reason = (str(error).strip().splitlines() or [""])[0]
        raise kind(f"cannot read {what} ({type(error).__name__}: {reason}).") from error

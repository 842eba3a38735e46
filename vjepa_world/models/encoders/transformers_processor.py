"""The preprocessing that a transformers folder declares for its images, as a :class:`Preprocessing`."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from vjepa_world.errors import ConfigError
from vjepa_world.files.validation import read_json_object, short
from vjepa_world.models.encoders.preprocessing import Preprocessing

FILE = "preprocessor_config.json"

#: Pillow's numbers of interpolations.
INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}

#: What a processor does where its file does not say so.
DEFAULTS = {
    "do_resize": True,
    "do_center_crop": False,
    "do_rescale": True,
    "do_normalize": True,
    "rescale_factor": 1 / 255,
    "resample": 2,
}

#: ConvNeXt's processor resizes images below this size further, and crops them.
CROPPED_BELOW = 384

#: How far our input may be from the processor's, on average [steps of 255]; a shift by one pixel is several.
TOLERANCE = 1.0


def read_preprocessing(folder: Path, config: Any) -> dict[str, Any]:
    """Return the fields of :class:`Preprocessing` that do what a folder's processor does.

    Where transformers can run that processor (some need torchvision), the results are compared on a test image.

    Args:
        folder: A transformers folder.
        config: The configuration of the model, for sizes that the processor does not state.

    Raises:
        ConfigError: If there is no processor, or it does something that is not supported.
    """
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(
            f"{folder} has no {FILE}, which says how images are resized and normalised; copy it there from where the "
            "model comes from."
        )
    values = read_json_object(path, again="Copy it again.", error=ConfigError)
    processor = _processor(folder)
    if processor is not None:
        declared = processor.to_dict()
        values = {**values, **{key: value for key, value in declared.items() if value is not None}}
    values = {**DEFAULTS, **{key: value for key, value in values.items() if value is not None}}
    found = _preprocessing(values, config, path)
    if processor is not None:
        _check_same(found, processor, path)
    return dataclasses.asdict(found)


def _processor(folder: Path) -> Any:
    """Return transformers' own processor on Pillow; None where it has none."""
    from transformers import AutoImageProcessor

    with contextlib.suppress(ImportError, ValueError, OSError, KeyError):
        return AutoImageProcessor.from_pretrained(folder, local_files_only=True, backend="pil")
    return None


def _preprocessing(values: Mapping[str, Any], config: Any, path: Path) -> Preprocessing:
    if values.get("do_flip_channel_order"):
        raise ConfigError(f"{path} asks for images in the order blue, green, red, which is not supported.")
    resample = values["resample"]
    if values["do_resize"] and resample not in INTERPOLATIONS:
        raise ConfigError(
            f"{path} has resample {short(resample)}; supported: {', '.join(map(str, INTERPOLATIONS))} (nearest, "
            "bilinear, bicubic, in Pillow's numbers)."
        )
    size, resize, keep_aspect = _sizes(values, config, path)
    scale = 255 * values["rescale_factor"] if values["do_rescale"] else 255.0
    mean: tuple[float, ...] = (0.0,) * 3
    std: tuple[float, ...] = (1.0,) * 3
    if values["do_normalize"]:
        mean, std = (_colours(values.get(key), key, path) for key in ("image_mean", "image_std"))
    return Preprocessing(
        size=size,
        resize=resize,
        keep_aspect=keep_aspect,
        interpolation=INTERPOLATIONS.get(resample, "bilinear"),  # type: ignore[arg-type]
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
    )


def _sizes(values: Mapping[str, Any], config: Any, path: Path) -> tuple[int, int, bool]:
    """Return the size of the input, the size that images are resized to, and whether the aspect ratio is kept."""
    if "max_num_patches" in values:  # SigLIP 2: as many patches as allowed, here always a square
        side = int(config.patch_size) * math.isqrt(values["max_num_patches"])
        return side, 0, False
    size = values.get("size")
    if isinstance(size, int):
        size = {"shortest_edge": size} if values["do_center_crop"] else {"height": size, "width": size}
    if not values["do_resize"] or not isinstance(size, dict):
        raise ConfigError(
            f"{path} has do_resize {values['do_resize']} and size {short(size)}; give a size to resize to."
        )
    size = {key: value for key, value in size.items() if value is not None}
    keep_aspect = set(size) == {"shortest_edge"}
    if not keep_aspect and (set(size) != {"height", "width"} or size["height"] != size["width"]):
        raise ConfigError(
            f"{path} resizes to {short(size)}; supported are a shortest_edge, or height and width that are the same."
        )
    side = int(next(iter(size.values())))
    if keep_aspect and "crop_pct" in values:
        if side >= CROPPED_BELOW:
            return side, 0, False
        return side, int(side / values["crop_pct"]), True
    if not values["do_center_crop"]:
        if keep_aspect:
            raise ConfigError(
                f"{path} resizes the shorter side to {side} and does not crop, so that inputs are not square, which is "
                "not supported; set do_center_crop and crop_size."
            )
        return side, 0, False
    crop = values.get("crop_size")
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop or {}
    if not crop.get("height") or crop.get("height") != crop.get("width"):
        raise ConfigError(f"{path} crops to {short(crop)}; supported are height and width that are the same.")
    return int(crop["height"]), side, keep_aspect


def _colours(values: Any, key: str, path: Path) -> tuple[float, ...]:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise ConfigError(
            f"{path} has {key} {short(values)}; give three numbers, one for red, green and blue."
        )
    return tuple(map(float, values))


@torch.no_grad()
def _check_same(found: Preprocessing, processor: Any, path: Path) -> None:
    """Compare with transformers' own processor, on an image that is not square.

    Raises:
        ConfigError: If the results differ by more than rounding.
    """
    if "max_num_patches" in processor.to_dict():  # its inputs are not images
        return
    height, width = found.size + 37, 2 * found.size + 11
    coarse = torch.rand(1, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    image = (255 * F.interpolate(coarse, size=(height, width), mode="bilinear")).round().to(torch.uint8)
    ours, theirs = found(image), processor(list(image), return_tensors="pt")["pixel_values"].flatten(0, -4)
    difference = math.inf
    if ours.shape == theirs.shape:
        steps = 255 * torch.tensor(found.std).view(3, 1, 1)
        difference = ((ours - theirs) * steps).abs().mean().item()
    if not difference <= TOLERANCE:
        raise ConfigError(
            f"{path} describes preprocessing that is not supported: of a test image, our input {list(ours.shape)} "
            f"differs from the processor's {list(theirs.shape)} by {difference:.3g} steps of 255. Write a function "
            "MODULE:FUNCTION that calls processor and model, and returns [B, N, D]."
        )

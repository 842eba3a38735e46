"""Checks of the tensors that models are given, with one form of error: what was got, what is allowed, how to fix it.

Nothing here waits for an accelerator: values are read on the CPU alone, or once an error is certain.

Legend: B batch, T frames, C channels, H W pixels, V views side by side, N tokens, D width.
"""

from __future__ import annotations

import logging
import math

import torch
from torch import Tensor

from vjepa_world.errors import ConfigError

logger = logging.getLogger(__name__)

COLOURS = 3

#: Width over height of a view at or below which one camera's image (3:2, 4:3 or square) would be cut in two.
NARROWEST_VIEW = 0.75

#: Width over height of one camera's wide image; two cameras of 8:9 side by side have the same, and do not exist.
WIDE_PICTURE = 16 / 9

#: Bound of normalised pixels: ImageNet-normalised ones are between -2.2 and 2.7, augmented ones not far from there.
LARGEST_NORMALISED = 20.0


def check_dense(name: str, got: object, axes: str) -> Tensor:
    """Return `got` if it is a dense tensor with values.

    Args:
        name: Its name in an error.
        got: The argument.
        axes: Expected axes, as `[B, T, S]`.

    Raises:
        ConfigError: If it is not a tensor (a NumPy array, a list), sparse, quantised, or on the meta device.
    """
    if not isinstance(got, Tensor):
        way = "torch.from_numpy" if type(got).__module__ == "numpy" else "torch.as_tensor"
        raise ConfigError(
            f"got {name} as {type(got).__module__}.{type(got).__qualname__}; give a tensor {axes}: {way}({name})."
        )
    if got.layout != torch.strided or got.is_quantized or got.is_nested:
        kind = "a nested tensor" if got.is_nested else str(got.layout)
        way = "torch.stack(parts)" if got.is_nested else ".to_dense()"
        raise ConfigError(f"got {name} as {kind} of {got.dtype}; give a dense tensor {axes}: {way}.")
    if got.is_meta:
        raise ConfigError(
            f"{name} is on the meta device, where tensors hold no numbers; give it on cpu or cuda."
        )
    return got


def check_frames(
    frames: object, axes: str, *, name: str = "frames", views: int = 1, empty: bool = False
) -> Tensor:
    """Return frames if they are uint8 with the expected axes, channels third from the end.

    Args:
        frames: The argument.
        axes: Expected axes, as `[B, T, C, H, W]`.
        name: Their name in an error.
        views: V, images side by side in each frame; frames that would be cut into images much higher than wide are
            refused.
        empty: Whether there may be none.

    Raises:
        ConfigError: If their type, number format, order of axes or size is another. The error says how to convert them.
    """
    tensor = check_dense(name, frames, f"uint8 {axes}")
    wanted = f"give uint8 {axes}, 0 to 255 in red, green, blue"
    if tensor.dtype != torch.uint8:
        raise ConfigError(f"got {name} as {_kind(tensor)}; {wanted}{_to_bytes(tensor, name)}.")
    _check_axes(tensor, axes, name, wanted)
    if not empty and not all(tensor.shape):
        raise ConfigError(f"{name} of shape {list(tensor.shape)} hold no picture; {wanted}.")
    height, width = tensor.shape[-2:]
    if width % views:
        raise ConfigError(
            f"frames {width} pixels wide do not divide into {views} views; set the cameras' pictures, all of one size, "
            "side by side."
        )
    one_wide = bool(height) and abs(width / height - WIDE_PICTURE) < 0.02  # sizes are rounded: 854 x 480
    if views > 1 and (width <= NARROWEST_VIEW * views * height or one_wide):
        raise ConfigError(
            f"{name} of {width} x {height} pixels (width x height) are too narrow for this model's {views} views: one "
            f"camera's picture would be cut into {views}. Set the pictures of all cameras side by side; of cameras "
            "that see much higher than wide, resize each to a square first, as the model does."
        )
    return tensor


def check_video(video: object, axes: str = "[B, T, C, H, W]") -> Tensor:
    """Return a video `[B, T, C, H, W]` if it is normalised floats. Values are read on the CPU alone.

    Raises:
        ConfigError: If its type, number format, order of axes or size is another, or it is not finite or not
            normalised.
    """
    tensor = check_dense("video", video, f"float {axes}")
    wanted = f"give float {axes}, ImageNet-normalised by vjepa_world.ops.pixels.normalize_video(uint8 frames)"
    if not tensor.is_floating_point() or _is_float8(tensor):
        raise ConfigError(f"got video as {_kind(tensor)}; {wanted}.")
    _check_axes(tensor, axes, "video", wanted)
    if not all(tensor.shape[1:]):
        raise ConfigError(f"video of shape {list(tensor.shape)} holds no frame; {wanted}.")
    if tensor.device.type == "cpu" and tensor.numel() and not torch.compiler.is_compiling():
        _check_normalised(tensor, wanted)
    return tensor


def check_numbers(name: str, got: object, axes: str) -> Tensor:
    """Return a tensor of real numbers of any format with as many axes as `axes`, such as `[B, T, A]`.

    On a CPU the numbers must be finite.

    Raises:
        ConfigError: If it is not a tensor, is boolean or complex, has another number of axes, or is not finite.
    """
    tensor = check_dense(name, got, axes)
    if tensor.dtype == torch.bool or tensor.is_complex() or _is_float8(tensor):
        raise ConfigError(
            f"got {name} as {_kind(tensor)}; give real numbers, {axes}, in float32 or the like."
        )
    if tensor.ndim != _count(axes):
        raise ConfigError(f"got {name} of shape {list(tensor.shape)}; give {axes}{_missing(tensor, axes)}.")
    check_finite(name, tensor)
    return tensor


def check_finite(name: str, tensor: Tensor) -> None:
    """Check that a tensor on the CPU, of any shape, is finite, in float32 too, to which it is converted.

    Raises:
        ConfigError: If an entry is not.
    """
    if tensor.device.type != "cpu" or not tensor.is_floating_point() or torch.compiler.is_compiling():
        return
    numbers = tensor.detach()
    if not bool(torch.isfinite(numbers).all()):
        raise ConfigError(f"{name} has NaN or infinite entries; give finite numbers.")
    if numbers.dtype == torch.float64 and not bool(torch.isfinite(numbers.float()).all()):
        raise ConfigError(
            f"{name} has entries up to {float(numbers.abs().max()):.3g}, and float32, in which they are read, ends at "
            f"{torch.finfo(torch.float32).max:.3g}; give smaller numbers."
        )


def check_tokens(name: str, got: object, width: int, axes: str = "[B, N, D]") -> Tensor:
    """Return features `[..., D]` if they are floating point with the expected axes and width D.

    Raises:
        ConfigError: If they are not.
    """
    tensor = check_dense(name, got, f"float {axes}")
    usable = tensor.is_floating_point() and not _is_float8(tensor)
    if not usable or tensor.ndim != _count(axes) or tensor.shape[-1] != width:
        raise ConfigError(
            f"got {name} as {_kind(tensor)}; give float {axes} with D={width}, as the encoder that this was made for "
            "returns them."
        )
    return tensor


def check_indices(name: str, got: object, count: int, batch: int, axes: str = "[B, n]") -> Tensor:
    """Return indices of tokens if they are int64 `[B, n]` from 0 to `count` - 1; values are read on the CPU alone.

    Raises:
        ConfigError: If they are not.
    """
    tensor = check_dense(name, got, f"int64 {axes}")
    if tensor.dtype != torch.int64 or tensor.ndim != 2 or len(tensor) != batch:
        raise ConfigError(f"got {name} as {_kind(tensor)} for a batch of {batch}; give int64 {axes}.")
    if tensor.device.type == "cpu" and tensor.numel() and not torch.compiler.is_compiling():
        lowest, highest = (int(edge) for edge in tensor.aminmax())
        if lowest < 0 or highest >= count:
            raise ConfigError(
                f"{name} go from {lowest} to {highest}, and there are {count} tokens; give indices from 0 to "
                f"{count - 1}."
            )
    return tensor


def check_format(name: str, dtype: object) -> torch.dtype:
    """Return a number format if models can compute in it.

    Raises:
        ConfigError: If it is not.
    """
    allowed = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    if dtype not in allowed:
        raise ConfigError(
            f"{name} is {dtype!r}; allowed: {', '.join(map(str, allowed))} (torch.dtype objects)."
        )
    assert isinstance(dtype, torch.dtype)
    return dtype


def check_device(name: str, device: object) -> torch.device:
    """Return a device by its name; whether it is available is not checked.

    Raises:
        ConfigError: If the name is not that of a device.
    """
    try:
        return torch.device(device)  # type: ignore[call-overload]
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"{name} is {device!r}; allowed: cpu, cuda, cuda:N, or a torch.device.") from error


def _count(axes: str) -> int:
    return len(axes.split(","))


def _is_float8(tensor: Tensor) -> bool:
    """Return whether numbers are in an 8-bit format, which is for storage and has no arithmetic."""
    return tensor.is_floating_point() and tensor.element_size() < 2


def _kind(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"


def _missing(tensor: Tensor, axes: str) -> str:
    """Return what to do about a missing batch or time axis."""
    names = [axis.strip(" []") for axis in axes.split(",")]
    missing = names[: len(names) - tensor.ndim]
    if 0 < len(missing) < len(names):
        words = {"B": "batch", "M": "batch", "T": "time"}
        named = " and ".join(f"{words.get(axis, axis)} axis" for axis in missing)
        return f" ({len(names)} dimensions): add the {named} in front, [None]" if missing else ""
    return f" ({len(names)} dimensions)"


def _check_axes(tensor: Tensor, axes: str, name: str, wanted: str) -> None:
    if tensor.ndim != _count(axes):
        raise ConfigError(f"got {name} of shape {list(tensor.shape)}; {wanted}{_missing(tensor, axes)}.")
    channels = tensor.shape[-3]
    if channels == COLOURS:
        return
    last, axis = tensor.shape[-1], tensor.ndim - 3
    if last in (1, COLOURS, 4):
        order = [*range(axis), tensor.ndim - 1, axis, axis + 1]
        hint = f" Its channels seem to be last: {name}.permute({', '.join(map(str, order))})"
    elif channels == 1:
        hint = (
            f" It seems to be grey: {name}.expand({', '.join(['-1'] * axis)}{', ' if axis else ''}3, -1, -1)"
        )
    elif channels == 4:
        hint = f" It seems to have transparency: {name}[{'..., ' if axis else ''}:3, :, :]"
    else:
        hint = ""
    raise ConfigError(
        f"{name} of shape {list(tensor.shape)} has {channels} channels; {wanted}.{hint}".rstrip(".") + "."
    )


def _to_bytes(tensor: Tensor, name: str) -> str:
    """Return how pixels of another format are converted to uint8."""
    if tensor.dtype == torch.bool:
        return f": {name}.to(torch.uint8) * 255, if true is white"
    if tensor.is_complex() or _is_float8(tensor) or not tensor.numel():
        return ""
    if not tensor.is_floating_point():
        return f", which holds no more than that: scale {name} to 0..255 and convert it with .to(torch.uint8)"
    low, high = (float(edge) for edge in tensor.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        return ". They have NaN or infinite entries"
    if low >= 0 and high <= 1:
        return f". They go from {low:.3g} to {high:.3g}: ({name} * 255).round().to(torch.uint8)"
    if low >= 0 and high <= 255:
        return f". They go from {low:.3g} to {high:.3g}: {name}.round().to(torch.uint8)"
    return f". They go from {low:.3g} to {high:.3g}, which are not pixels: undo what normalised them first"


def _check_normalised(video: Tensor, wanted: str) -> None:
    low, high = (float(edge) for edge in video.detach().aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"video has NaN or infinite entries; {wanted}.")
    if max(-low, high) > LARGEST_NORMALISED:
        raise ConfigError(f"video goes from {low:.4g} to {high:.4g}, which is not normalised; {wanted}.")
    if low >= 0 and high <= 1 and high - low > 0.9:
        logger.warning(
            "the video goes from %.3g to %.3g, as pixels do that were scaled but not normalised; an encoder reads "
            "ImageNet-normalised ones (vjepa_world.ops.pixels.normalize_video of uint8 frames)",
            low,
            high,
        )

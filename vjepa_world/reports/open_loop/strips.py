"""What the report of an open loop draws from the model itself, and its film strips.

Legend: W windows, K horizon, M frames, N tokens a frame, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy
from vjepa_world.evaluation.open_loop.prediction_error import predict_features
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.ops.token_error import token_change, token_error
from vjepa_world.reports import page as html
from vjepa_world.reports.open_loop.pictures import (
    error_row,
    film_strip,
    nearest_frames,
    picture_row,
    shown_frames,
)


@dataclass(frozen=True, eq=False)
class Shown:
    """What the report draws beside the metrics.

    Attributes:
        energy: The energy with its model.
        windows: All windows.
        places: Those that are drawn.
        grid: Rows and columns of a frame's tokens.
        are_places: Whether a token is a place in the picture; learned queries are none.
        decode: Features `[M, N, D]` to pictures `[M, 3, s, s]` uint8; None without a decoder.
        seconds: Between two frames.
    """

    energy: WindowEnergy
    windows: Windows
    places: Sequence[int]
    grid: tuple[int, int]
    are_places: bool
    decode: Callable[[Tensor], Tensor] | None
    seconds: float


def strips_section(material: Shown) -> str:
    """Return the film strips of the windows that are drawn."""
    if not material.places:
        return ""
    lines = [
        "Real frames; what the model imagines from the first one and the true actions alone; the L1 error of each "
        "token, and that of copying the first frame, on the same scale."
    ]
    if material.decode is None:
        lines.append(
            "The model has no pixel decoder, so instead of what it imagines the real frame of any window is shown "
            "whose features are nearest to those imagined."
        )
    if not material.are_places:
        lines.append("The tokens are learned queries: the error maps show them in order, not where they are.")
    places = torch.tensor(list(material.places))
    imagined = predict_features(material.energy.model, material.windows, places)
    blocks = [
        _strip(material, place, features) for place, features in zip(material.places, imagined, strict=True)
    ]
    return html.paragraph(" ".join(lines), "dim") + "".join(blocks)


def _strip(material: Shown, place: int, imagined: Tensor) -> str:
    """Return one window's strip; `imagined [K, N, D]`."""
    windows = material.windows
    frames = shown_frames(windows.horizon + 1)
    later = torch.tensor(frames[1:])
    true, first = windows.features[place, later], windows.features[place, 0]
    imagined = imagined[later - 1]
    errors, copied = token_error(imagined, true), token_change(first, true)
    scale = (0.0, max(float(torch.quantile(torch.cat([errors, copied]).flatten(), 0.99)), 1e-6))
    rows = [picture_row("real", windows.frames[place, frames])]
    if material.decode is not None:
        device = material.energy.model.action_low.device
        pictures = material.decode(torch.cat([true, imagined]).to(device)).cpu()
        rows.append(picture_row("real,\ndecoded", pictures[: len(later)], first=1))
        rows.append(picture_row("imagined,\ndecoded", pictures[len(later) :], first=1))
    else:
        rows.append(picture_row("imagined:\nnearest real\nframe", nearest_frames(imagined, windows), first=1))
    rows.append(error_row("error,\nmodel", errors, material.grid, scale))
    rows.append(error_row("error,\ncopy of first", copied, material.grid, scale))
    head = [f"{frame * material.seconds:.2f} s" for frame in frames]
    caption = (
        f"window {place}: error at step {windows.horizon} {float(errors[-1].mean()):.3f}, "
        f"copy {float(copied[-1].mean()):.3f}"
    )
    return html.picture(film_strip(head, rows, scale), caption)

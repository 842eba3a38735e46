"""Film strips of an open-loop evaluation: real frames, imagined ones, and the error of each token.

Legend: W windows, K horizon, M frames, N = rows * columns tokens, D width, H W pixels, s pixels of a decoded picture.
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
from vjepa_world.reports.pages.page import Cell, ImageGrid
from vjepa_world.reports.plots.images import evenly_spaced, resized
from vjepa_world.reports.theme import colour_map

#: Height of a frame [pixels], and frames of a strip, at most.
TILE, MAX_FRAMES = 104, 9


@dataclass(frozen=True, eq=False)
class OpenLoopSource:
    """What the report of an open loop is drawn from besides its metrics.

    Attributes:
        energy: The energy with its model.
        windows: All windows.
        drawn: Indices of the windows that are drawn.
        grid: Rows and columns of a frame's tokens.
        is_spatial: Whether a token is a position in the image; learned queries are not.
        decode: Features `[M, N, D]` to pictures `[M, 3, s, s]` uint8; None without a decoder.
        seconds: Between two frames.
    """

    energy: WindowEnergy
    windows: Windows
    drawn: Sequence[int]
    grid: tuple[int, int]
    is_spatial: bool
    decode: Callable[[Tensor], Tensor] | None
    seconds: float


def film_strips(source: OpenLoopSource) -> list[ImageGrid]:
    """Return the film strips of the windows that are drawn."""
    if not source.drawn:
        return []
    imagined = predict_features(source.energy.model, source.windows, torch.tensor(list(source.drawn)))
    return [_strip(source, index, features) for index, features in zip(source.drawn, imagined, strict=True)]


def _strip(source: OpenLoopSource, index: int, imagined: Tensor) -> ImageGrid:
    """Return one window's strip; `imagined [K, N, D]`."""
    windows = source.windows
    frames = evenly_spaced(windows.horizon + 1, MAX_FRAMES)
    later = torch.tensor(frames[1:])
    true, first = windows.features[index, later], windows.features[index, 0]
    imagined = imagined[later - 1]
    errors, copied = token_error(imagined, true), token_change(first, true)
    scale = (0.0, max(float(torch.quantile(torch.cat([errors, copied]).flatten(), 0.99)), 1e-6))
    times = [f"{frame * source.seconds:.2f} s" for frame in frames]
    rows = [("real", _pictures("real", windows.frames[index, frames], times))]
    if source.decode is not None:
        device = source.energy.model.action_low.device
        pictures = source.decode(torch.cat([true, imagined]).to(device)).cpu()
        for name, part in zip(("real, decoded", "imagined, decoded"), pictures.chunk(2), strict=True):
            rows.append((name, [Cell(), *_pictures(name, part, times[1:])]))
    else:
        name = "imagined: nearest real frame"
        rows.append((name, [Cell(), *_pictures(name, nearest_frames(imagined, windows), times[1:])]))
    for name, part in (("error, model", errors), ("error, copy of first", copied)):
        planes = part.unflatten(1, source.grid).numpy()
        maps = [
            Cell(f"{name}, {time}", colour_map(plane, *scale), is_map=True)
            for plane, time in zip(planes, times[1:], strict=True)
        ]
        rows.append((name, [Cell(), *maps]))
    caption = (
        f"window {index}: error at step {windows.horizon} {float(errors[-1].mean()):.3f}, "
        f"copy {float(copied[-1].mean()):.3f}"
    )
    return ImageGrid(times, rows, TILE, caption, scale, "L1 error of a token")


def _pictures(name: str, frames: Tensor, times: Sequence[str]) -> list[Cell]:
    """Return cells of frames `[M, 3, H, W]` uint8."""
    return [Cell(f"{name}, {time}", resized(frame, TILE)) for frame, time in zip(frames, times, strict=True)]


def nearest_frames(imagined: Tensor, windows: Windows) -> Tensor:
    """Return, for imagined features `[M, N, D]`, the real frame of any window whose features are nearest in L1.

    The frames that were to be imagined are among them. Returns `[M, 3, H, W]` uint8.
    """
    frames_per_window = windows.features.shape[1]
    found = []
    for features in imagined:
        distance = torch.stack([(window - features).abs().mean(dim=(1, 2)) for window in windows.features])
        nearest = int(distance.flatten().argmin())
        found.append(windows.frames[nearest // frames_per_window, nearest % frames_per_window])
    return torch.stack(found)

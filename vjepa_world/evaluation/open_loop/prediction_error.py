"""How far imagined features drift from the true ones when a model feeds itself, beside what knows no actions.

Legend: W windows, B windows of a batch, T = K + 1 frames, K horizon, N tokens a frame, D width, S state size,
A action size, X extrinsics size, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Generator, Tensor

from vjepa_world.evaluation.action_axes import ActionSpace, action_space
from vjepa_world.evaluation.bootstrap import mean, ratio
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.models.world_model import Context
from vjepa_world.ops.token_error import motion_weights, token_change, token_error

Tick = Callable[[int], object]
"""Told after each batch how many windows it had."""


class ImaginingModel(Protocol):
    """What is used of a world model here."""

    @property
    def action_low(self) -> Tensor:
        """Lowest action, `[A]`."""

    @property
    def action_high(self) -> Tensor:
        """Highest action, `[A]`."""

    def rollout(self, context: Any, actions: Tensor) -> Tensor:
        """Imagine actions `[B, S, K, A]` from a context: features `[B, S, K, N, D]`."""

    def imagine_each(self, context: Any, actions: Tensor) -> Tensor:
        """Imagine one sequence for each problem, all in one batch: `[B, K, A]` to `[B, K, N, D]`."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Pieces of episodes with what the encoder sees in them.

    Attributes:
        features: Of every frame, float32 `[W, T, N, D]`.
        states: `[W, T, S]`.
        actions: From each frame to the next, `[W, T-1, A]`.
        episodes: Which episode each is from, int64 `[W]`; intervals are over these.
        frames: Small pictures to be shown, uint8 `[W, T, 3, H, W]`.
        extrinsics: Of the camera at each frame, `[W, T, X]`, for predictors that use them.
        space: What the actions are; None goes by their number.
    """

    features: Tensor
    states: Tensor
    actions: Tensor
    episodes: Tensor
    frames: Tensor
    extrinsics: Tensor | None = None
    space: ActionSpace | None = None

    def __post_init__(self) -> None:
        shape = self.features.shape[:2]
        fits = (
            self.features.ndim == 4
            and self.states.shape[:2] == self.frames.shape[:2] == shape
            and self.actions.shape[:2] == (shape[0], shape[1] - 1)
            and self.episodes.shape == shape[:1]
        )
        if not fits or shape[0] < 2 or shape[1] < 2:
            raise EvaluationError(
                f"windows have features {tuple(self.features.shape)}, states {tuple(self.states.shape)}, actions "
                f"{tuple(self.actions.shape)}, frames {tuple(self.frames.shape)} and {len(self.episodes)} episodes; "
                "allowed are [W, T, N, D], [W, T, S], [W, T-1, A], [W, T, 3, H, W] and W, with at least 2 windows of "
                "at least 2 frames. Give more or longer episodes, or a shorter horizon."
            )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def action_space(self) -> ActionSpace:
        """What the actions are."""
        return self.space or action_space(self.actions.shape[2])

    @property
    def horizon(self) -> int:
        """K, actions of a window."""
        return self.actions.shape[1]

    def context(self, places: Tensor, device: torch.device) -> Context:
        """Return the first frames of some windows `[B]` as the model is to see them."""
        cameras = None if self.extrinsics is None else self.extrinsics[places, :1].to(device)
        return Context(self.features[places, :1].to(device), self.states[places, :1].to(device), cameras)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the places of all windows, `size` at a time."""
        yield from torch.arange(len(self)).split(max(size, 1))


@dataclass(frozen=True, eq=False)
class Curves:
    """L1 errors of each window by horizon, float64 `[W, K]`: the model's, and those of what knows no actions.

    Attributes:
        model: Rolled out with the true actions.
        copy: The window's first frame, as if nothing moved.
        shuffled: The same model with the actions of another window.
    """

    model: np.ndarray
    copy: np.ndarray
    shuffled: np.ndarray


@dataclass(frozen=True, eq=False)
class HorizonErrors:
    """Errors by horizon: over all tokens alike (`plain`), and weighted towards those that move (`moving`)."""

    plain: Curves
    moving: Curves


def derangement(size: int, generator: Generator) -> Tensor:
    """Return a permutation `[size]` without a fixed point: one random cycle through all.

    Raises:
        EvaluationError: If `size` is below 2.
    """
    if size < 2:
        raise EvaluationError(f"{size} windows cannot be permuted without a fixed point; give at least 2.")
    order = torch.randperm(size, generator=generator)
    permuted = torch.empty_like(order)
    permuted[order] = order.roll(1)
    return permuted


@torch.no_grad()
def open_loop(
    model: ImaginingModel,
    windows: Windows,
    *,
    generator: Generator,
    motion_share: float = 0.8,
    batch: int = 32,
    tick: Tick = lambda count: None,
) -> HorizonErrors:
    """Roll the model out from each window's first frame, feeding itself, and measure it by horizon.

    The true states after the first frame are not shown either: the model imagines them.

    Args:
        model: What imagines.
        windows: Frames and true actions.
        generator: Draws which window's actions each is given in the shuffled control.
        motion_share: How much of the weighted error is about tokens that differ from the first frame's, in [0, 1].
        batch: Windows rolled out together.
        tick: Told of progress, twice a window.
    """
    change = _change(windows)
    # Each horizon alone: tokens change more the later it is, and no horizon is to count for another.
    weights = torch.stack([motion_weights(by_token, motion_share) for by_token in change.unbind(1)], dim=1)
    swapped = windows.actions[derangement(len(windows), generator)]
    tokens = {
        "model": _token_errors(model, windows, windows.actions, batch, tick),
        "copy": change,
        "shuffled": _token_errors(model, windows, swapped, batch, tick),
    }
    plain = {name: errors.double().mean(dim=2).numpy() for name, errors in tokens.items()}
    moving = {name: (errors * weights).double().mean(dim=2).numpy() for name, errors in tokens.items()}
    return HorizonErrors(Curves(**plain), Curves(**moving))


def imagine(model: ImaginingModel, windows: Windows, places: Tensor) -> Tensor:
    """Return what the model imagines of some windows `[B]` with their true actions, `[B, K, N, D]`."""
    return _rolled_out(model, windows, windows.actions, places)


def horizon_figures(
    errors: HorizonErrors, episodes: np.ndarray, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return each horizon's errors and their ratios with 95 % intervals over episodes, ready for JSON."""
    return [
        {
            "horizon": k + 1,
            "plain": _figures(errors.plain, k, episodes, rng),
            "moving": _figures(errors.moving, k, episodes, rng),
        }
        for k in range(errors.plain.model.shape[1])
    ]


def _figures(curves: Curves, k: int, episodes: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    model, copy, shuffled = curves.model[:, k], curves.copy[:, k], curves.shuffled[:, k]
    return {
        "model": mean(model, episodes, rng).as_json(),
        "copy_last_frame": mean(copy, episodes, rng).as_json(),
        "shuffled_actions": mean(shuffled, episodes, rng).as_json(),
        "ratio_to_copy": ratio(model, copy, episodes, rng).as_json(),
        "ratio_to_shuffled": ratio(model, shuffled, episodes, rng).as_json(),
    }


def _change(windows: Windows) -> Tensor:
    """Return how far each token is from the first frame's, `[W, K, N]`; a frame at a time, for the memory."""
    first = windows.features[:, 0]
    steps = range(1, windows.horizon + 1)
    return torch.stack([token_change(first, windows.features[:, k]) for k in steps], dim=1)


def _token_errors(model: ImaginingModel, windows: Windows, actions: Tensor, batch: int, tick: Tick) -> Tensor:
    found = []
    for places in windows.batches(batch):
        predicted = _rolled_out(model, windows, actions, places)
        found.append(token_error(predicted, windows.features[places, 1:]))
        tick(len(places))
    return torch.cat(found)


def _rolled_out(model: ImaginingModel, windows: Windows, actions: Tensor, places: Tensor) -> Tensor:
    device = model.action_low.device
    return model.imagine_each(windows.context(places, device), actions[places].to(device)).float().cpu()

"""Random actions to compare recorded ones with: uniform within a model's bounds, or one of its choices.

Legend: A action size.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from vjepa_world.planning.action_axes import ActionSpace


def draw_actions(
    low: Tensor, high: Tensor, shape: tuple[int, ...], space: ActionSpace, *, generator: Generator
) -> Tensor:
    """Return random actions `[*shape, A]`.

    Args:
        low: Lowest action, `[A]`.
        high: Highest action, `[A]`; a choice with 0 here is not available.
        shape: The axes before the last.
        space: Of choices one is drawn, as a one-hot vector; other actions are uniform from `low` to `high`.
        generator: Draws them.
    """
    drawn = torch.rand(*shape, len(low), generator=generator)
    if space.meaning != "choice":
        return low + (high - low) * drawn
    chosen = torch.where(high > low, drawn, -1.0).argmax(dim=-1)
    return torch.nn.functional.one_hot(chosen, len(low)).to(drawn)

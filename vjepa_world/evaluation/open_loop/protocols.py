"""What an open-loop evaluation needs of a world model, and how it reports progress.

Legend: B problems, S samples, K horizon, A action size, N tokens per frame, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

#: Called after each batch with the number of its windows.
Progress = Callable[[int], object]

#: Opens a progress bar: the name of the task and its number of windows.
ProgressBar = Callable[[str, int], Progress]


def no_progress(count: int) -> None:
    """Report no progress."""


class RolloutModel(Protocol):
    """A world model that predicts features for given actions."""

    @property
    def action_low(self) -> Tensor:
        """Lowest action, `[A]`."""

    @property
    def action_high(self) -> Tensor:
        """Highest action, `[A]`."""

    def rollout(self, context: Any, actions: Tensor) -> Tensor:
        """Predict features `[B, S, K, N, D]` for actions `[B, S, K, A]`."""

    def rollout_sequences(self, context: Any, actions: Tensor) -> Tensor:
        """Predict features `[B, K, N, D]` for one sequence per problem `[B, K, A]`, in one batch."""

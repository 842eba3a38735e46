"""Features in memory: a dataset's frozen features that another encoder computed.

Legend: E episodes, T frames of an episode, B windows, t frames of a window, N tokens per frame, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories.windows import EpisodeNumbers
from vjepa_world.errors import DataError

#: Name of the only camera of a dataset whose features are given.
CAMERA = "features"


class FeatureArrays:
    """The features of a dataset's episodes, as a :class:`.trajectory_sources.FeatureSource`.

    Args:
        features: For each of the dataset's episodes, `[T, N, D]`, one row for each of its observations.
        episodes: The usable episodes of the dataset.

    Raises:
        DataError: If an episode has no features, or features of another shape.
    """

    def __init__(self, features: Sequence[Tensor], episodes: Sequence[EpisodeNumbers]) -> None:
        self.features = list(features)
        for episode in episodes:
            given = self.features[episode.index] if episode.index < len(self.features) else None
            wanted = (len(episode.states), *self.shape)
            if given is None or tuple(given.shape) != wanted or not given.isfinite().all():
                shape = "missing" if given is None else f"of shape {list(given.shape)}"
                raise DataError(
                    f"the features of {episode.name} are {shape}; expected finite numbers {list(wanted)}, a row for "
                    "each observation, and as many tokens of the same width in all episodes."
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Tokens per frame and width, (N, D).

        Raises:
            DataError: If there are no features, or they have other axes.
        """
        if not self.features or self.features[0].ndim != 3:
            raise DataError("features are not a list of tensors [T, N, D], one for each episode.")
        tokens, width = self.features[0].shape[1:]
        return tokens, width

    def transform(self, function: Callable[[Tensor], Tensor]) -> None:
        """Replace all features `[T, N, D]` by those that `function` returns, on the CPU."""
        self.features = [function(given).cpu() for given in self.features]

    def gather(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return features `[B, t, N, D]` of episodes, int64 `[B]`, and rows, int64 `[B, t]`."""
        pairs = zip(episodes.tolist(), torch.from_numpy(rows), strict=True)
        return torch.stack([self.features[episode][row] for episode, row in pairs])

    def thumbnails(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Raise DataError: there are no images."""
        raise DataError("features in memory come without images; leave decoder.image_size at 0.")

"""A trajectory dataset seen through a frozen encoder, once: features, states and actions of every frame.

Legend: F frames in all, N tokens a frame, D width, A action size, S state size.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from vjepa_world.data.trajectories.base import TrajectoryDataset
from vjepa_world.errors import DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrozenFeatures:
    """Every frame of a dataset in features.

    `features [F, N, D]` float16, `states [F, S]`, `actions [F, A]` (zeros at an episode's last frame),
    `starts`: first frame of each episode and, last, F.
    """

    features: Tensor
    states: Tensor
    actions: Tensor
    starts: Tensor

    def windows(self, frames: int, episodes: slice) -> Tensor:
        """Return the first frames of all windows of `frames` frames inside the given episodes."""
        starts = zip(self.starts[:-1][episodes].tolist(), self.starts[1:][episodes].tolist(), strict=True)
        ranges = [torch.arange(begin, end - frames + 1) for begin, end in starts if end - begin >= frames]
        return torch.cat(ranges) if ranges else torch.empty(0, dtype=torch.long)

    def gather(self, firsts: Tensor, frames: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return windows: features `[B, T, N, D]` float32, actions `[B, T, A]`, states `[B, T, S]`."""
        index = firsts.unsqueeze(1) + torch.arange(frames)
        return self.features[index].float(), self.actions[index], self.states[index]


class _Episodes(Dataset[tuple[Tensor, Tensor, Tensor] | str]):
    """Reads whole episodes; one that cannot be read becomes the reason."""

    def __init__(self, source: TrajectoryDataset, indices: Sequence[int]) -> None:
        self.source, self.indices = source, indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor] | str:
        try:
            episode = self.source.episode(self.indices[index])
            return episode.frames(), torch.from_numpy(episode.states), torch.from_numpy(episode.actions)
        except DataError as error:
            return str(error)


def encode_dataset(
    source: TrajectoryDataset, encode: Callable[[Tensor], Tensor], *, workers: int, max_bad_fraction: float
) -> FrozenFeatures:
    """Encode every frame of every readable episode.

    Args:
        source: The dataset.
        encode: Frames `[T, C, H, W]` uint8 to features `[T, N, D]`.
        workers: Processes that decode.
        max_bad_fraction: Share of unreadable episodes above which to stop.

    Raises:
        DataError: If too many episodes are unreadable, or none is left.
    """
    dataset = _Episodes(source, range(source.num_episodes))
    loader = DataLoader(dataset, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    bad: list[str] = []
    for item in tqdm(loader, desc="features", unit="episode", mininterval=1.0):
        if isinstance(item, str):
            bad.append(item)
            logger.warning("episode skipped: %s", item)
            if len(bad) > max_bad_fraction * source.num_episodes:
                break
            continue
        frames, states, actions = item
        padded = torch.cat([actions.float(), actions.new_zeros(1, actions.shape[-1]).float()])
        parts.append((encode(frames).half().cpu(), states.float(), padded))
    if len(bad) > max_bad_fraction * source.num_episodes or not parts:
        listed = "; ".join(bad[:10])
        raise DataError(
            f"{len(bad)} of {source.num_episodes} episodes are unreadable, more than data.max_bad_fraction="
            f"{max_bad_fraction}: {listed}. Repair them, or raise data.max_bad_fraction."
        )
    features, states, actions = (torch.cat(column) for column in zip(*parts, strict=True))
    starts = torch.tensor([0, *(len(part[1]) for part in parts)]).cumsum(0)
    return FrozenFeatures(features, states, actions, starts)

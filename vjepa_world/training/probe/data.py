"""The data of probes: frozen features with targets, and the videos that train, choose and test.

Legend: M clips, N tokens per clip, D width, K numbers that are regressed, G videos or episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vjepa_world.errors import DataError

PARTS = ("train", "val", "test")
_LISTED = 10  # classes that an error names


@dataclass(frozen=True)
class ProbeData:
    """Features of clips, with their targets; :func:`probe_data` makes it from arrays.

    Attributes:
        features: `[M, N, D]`.
        targets: Classes, int64 `[M]`, or numbers `[M, K]`.
        groups: Video or episode of each clip, int64 `[M]`.
        labels: Names of the classes, or of the numbers.
        clips: Indices of the clips of each of :data:`PARTS`, int64; no video is in two of them.
    """

    features: Tensor
    targets: Tensor
    groups: Tensor
    labels: tuple[str, ...]
    clips: dict[str, Tensor]

    @property
    def is_classification(self) -> bool:
        """Whether targets are classes."""
        return self.targets.ndim == 1

    @property
    def outputs(self) -> int:
        """Number of a probe's outputs, K."""
        return len(self.labels)


def probe_data(
    features: Tensor,
    targets: Tensor | Sequence[str],
    *,
    groups: Tensor | None = None,
    labels: Sequence[str] = (),
    val_fraction: float = 0.2,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> ProbeData:
    """Divide features in memory into clips that train, choose and test; no video is in two of them.

    Args:
        features: `[M, N, D]` of a frozen encoder, or `[M, D]` for one token per clip.
        targets: M class names to classify, or numbers `[M, K]` to regress.
        groups: Which video or episode each clip is from, int64 `[M]`, counted from 0; None takes each clip alone.
        labels: Names of the K numbers; () counts them.
        val_fraction: Share of the videos (of each class) that chooses between the settings.
        test_fraction: Share of the videos that tests.
        seed: Decides which.

    Raises:
        DataError: If the lengths differ, or there are too few videos.
    """
    if features.ndim == 2:
        features = features.unsqueeze(1)
    count = len(features)
    groups = torch.arange(count) if groups is None else groups
    if features.ndim != 3 or len(targets) != count or len(groups) != count:
        raise DataError(
            f"got features of shape {list(features.shape)} with {len(targets)} targets and {len(groups)} groups; give "
            "features [M, N, D] or [M, D], M targets and M groups."
        )
    if isinstance(targets, Tensor):
        split = split_episodes(int(groups.max()) + 1, val_fraction, test_fraction, seed)
        names = tuple(labels) or tuple(str(number) for number in range(targets.shape[1]))
    else:
        targets, names = class_numbers(targets)
        _, first = np.unique(groups.numpy(), return_index=True)
        split = split_classes(targets[first], names, val_fraction, test_fraction, seed)
    return ProbeData(features, targets, groups, names, clips_of(groups, split, []))


def class_numbers(labels: Sequence[str]) -> tuple[Tensor, tuple[str, ...]]:
    """Return each video's class as an index, int64 `[G]`, and the classes' names in alphabetical order.

    Raises:
        DataError: If all are of one class.
    """
    names = tuple(sorted(set(labels)))
    if len(names) < 2:
        raise DataError(
            f"all {len(labels)} videos are of the class '{names[0]}'; a classifier needs at least two classes."
        )
    return torch.tensor([names.index(label) for label in labels]), names


def split_classes(
    classes: Tensor, names: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> dict[str, Tensor]:
    """Divide videos, class by class, into those that train, choose and test.

    Args:
        classes: Class of each video, int64 `[G]`.
        names: Names of the classes.
        val_fraction: Share of each class that chooses; at least one video.
        test_fraction: Share of each class that tests; at least one video.
        seed: Decides which.

    Returns:
        Indices of the g videos of each part, int64 `[g]`, ascending.

    Raises:
        DataError: If a class has fewer than three videos: one for each part.
    """
    counts = torch.bincount(classes, minlength=len(names)).tolist()
    few = [f"'{name}' has {count}" for name, count in zip(names, counts, strict=True) if count < len(PARTS)]
    if few:
        more = f" and {len(few) - _LISTED} more" if len(few) > _LISTED else ""
        raise DataError(
            f"too few videos in {len(few)} classes: {', '.join(few[:_LISTED])}{more}. Each class needs at least 3, one "
            "to train, one to choose and one to test on; add videos or leave the class out."
        )
    generator = torch.Generator().manual_seed(seed)
    members = [torch.nonzero(classes == number).flatten() for number in range(len(names))]
    divided = [_divide(videos, val_fraction, test_fraction, generator) for videos in members]
    return {part: torch.cat([one[part] for one in divided]).sort().values for part in PARTS}


def split_episodes(count: int, val_fraction: float, test_fraction: float, seed: int) -> dict[str, Tensor]:
    """Divide episodes into those that train, choose and test: the indices of the g of each part, int64 `[g]`.

    Arguments as in :func:`split_classes`.

    Raises:
        DataError: If there are fewer than three.
    """
    if count < len(PARTS):
        raise DataError(
            f"{count} episodes are too few; a probe needs at least 3, one to train, one to choose and one to test on."
        )
    generator = torch.Generator().manual_seed(seed)
    divided = _divide(torch.arange(count), val_fraction, test_fraction, generator)
    return {part: divided[part].sort().values for part in PARTS}


def _divide(
    members: Tensor, val_fraction: float, test_fraction: float, generator: torch.Generator
) -> dict[str, Tensor]:
    count = len(members)
    shuffled = members[torch.randperm(count, generator=generator)]
    test = min(max(round(test_fraction * count), 1), count - 2)
    val = min(max(round(val_fraction * count), 1), count - test - 1)
    return {"test": shuffled[:test], "val": shuffled[test : test + val], "train": shuffled[test + val :]}


def clips_of(groups: Tensor, split: dict[str, Tensor], bad: Sequence[int]) -> dict[str, Tensor]:
    """Return the indices of the clips of each part's videos, int64 `[m]`, without those of bad videos.

    Raises:
        DataError: If no readable video is left in a part.
    """
    readable = ~torch.isin(groups, torch.tensor(list(bad), dtype=groups.dtype))
    clips = {
        part: torch.nonzero(torch.isin(groups, members) & readable).flatten()
        for part, members in split.items()
    }
    for part, numbers in clips.items():
        if not len(numbers):
            raise DataError(
                f"no readable video is left for the part '{part}' of the data; repair the files that were named, or "
                "give another seed."
            )
    return clips

"""A quick probe while an encoder is trained: a linear probe of its features, on clips that are read once.

Legend: M clips, T frames, t h w the token grid, N = t*h*w tokens, D width, K numbers, F features.
"""

from __future__ import annotations

import logging
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from vjepa_world.data.corpus.corpus import BadFiles
from vjepa_world.errors import DataError
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.ops.ridge import linear_classifier, linear_probe
from vjepa_world.system.device import in_precision
from vjepa_world.training.pretrain.online_probe_config import OnlineProbeConfig
from vjepa_world.training.probe.sources import (
    LabelledClips,
    Sampling,
    check_target,
    open_episodes,
    open_videos,
)

logger = logging.getLogger(__name__)

#: Clips of each video or episode that may be drawn; shares of the videos that choose the penalty, and that test.
CLIPS_OF_EACH, VAL_FRACTION, TEST_FRACTION = 8, 0.15, 0.25

#: Cells along a side that a frame's tokens are averaged to: a linear probe needs to know where a token was.
CELLS = 4


class OnlineProbe:
    """Fits a ridge regression to an encoder's features, and measures it on other videos or episodes.

    Draws nothing from the global generators and does not change the encoder, so a training is the same with and
    without it. The clips stay in memory as uint8.

    Args:
        source: Labelled clips and their division.
        clips: How many of them are read.
        untrained: An untrained encoder of the same architecture, measured once for comparison.
        seed: Decides which clips.
        batch_size: Clips that are encoded at once.
        workers: Worker processes that decode.
        dtype: Precision of the encoder.
        max_bad_fraction: Share of these clips that may be unreadable.

    Raises:
        DataError: If too many clips are unreadable, or none is left to fit or to measure on.
    """

    def __init__(
        self,
        source: LabelledClips,
        *,
        clips: int = 256,
        untrained: VideoEncoder | None = None,
        seed: int = 0,
        batch_size: int = 16,
        workers: int = 0,
        dtype: torch.dtype = torch.float32,
        max_bad_fraction: float = 0.2,
    ) -> None:
        self.batch_size, self.dtype = batch_size, dtype
        drawn = _draw(source, clips, torch.Generator().manual_seed(seed))
        read = _read(drawn, source, workers, max_bad_fraction)
        train, val, test = ([number for number in part if number in read] for part in drawn)
        if not train or not val or not test:
            raise DataError(
                "no readable clip is left for the online probe to fit, to choose or to test on; repair the files "
                "that were named, or give other data as probe.path."
            )
        numbers = [*train, *val, *test]
        self._clips = torch.stack([read[number] for number in numbers])
        self._targets = source.targets[numbers]
        self._fitted, self._chosen = len(train) + len(val), len(val)
        self._fixed = {"probe_chance": self._chance()}
        if untrained is not None:
            self._fixed["probe_untrained"] = self._error(untrained)
        logger.info("online probe: %d clips to fit, %d of other videos to test", self._fitted, len(test))

    @property
    def is_classification(self) -> bool:
        """Whether targets are classes."""
        return self._targets.ndim == 1

    def metrics(self, encoder: VideoEncoder) -> dict[str, float]:
        """Return the metrics of the encoder.

        Returns:
            `probe_error`: for numbers the mean Euclidean error in the data's units, for classes the share of wrong
            clips; `probe_chance`: the error of always predicting the mean or the most frequent class;
            `probe_untrained`: that of the untrained encoder.
        """
        return {"probe_error": self._error(encoder), **self._fixed}

    def _error(self, encoder: VideoEncoder) -> float:
        features, cut = self._features(encoder), self._fitted
        fit = linear_classifier if self.is_classification else linear_probe
        train = (features[:cut], self._targets[:cut])
        test = (features[cut:], self._targets[cut:])
        return fit(train, test, validation_fraction=self._chosen / cut).mean

    @torch.no_grad()
    def _features(self, encoder: VideoEncoder) -> Tensor:
        device = next(encoder.parameters()).device
        parts = []
        for clips in self._clips.split(self.batch_size):
            video = normalize_video(clips.to(device))
            with in_precision(device, self.dtype):
                tokens = encoder(video)
            parts.append(_pooled(tokens.float(), encoder.token_grid(video), self.is_classification).cpu())
        return torch.cat(parts)

    def _chance(self) -> float:
        fitted, tested = self._targets[: self._fitted], self._targets[self._fitted :]
        if self.is_classification:
            return (tested != fitted.bincount().argmax()).double().mean().item()
        return (tested.double() - fitted.double().mean(dim=0)).norm(dim=1).mean().item()


def open_online_probe(
    config: OnlineProbeConfig,
    *,
    frames: int,
    image_size: int,
    fps: float,
    seed: int,
    untrained: VideoEncoder | None = None,
    workers: int = 0,
    dtype: torch.dtype = torch.float32,
    max_bad_fraction: float = 0.2,
) -> OnlineProbe:
    """Open the labelled data and read the probe's clips.

    Args:
        config: The data; `every` is left to the caller.
        frames: Frames of a training clip.
        image_size: Of the encoder [pixels].
        fps: Frames per second that a clip shows.
        seed: Decides the division and the clips.
        untrained: See :class:`OnlineProbe`.
        workers: Worker processes that decode.
        dtype: Precision of the encoder.
        max_bad_fraction: Share of unreadable videos, and of unreadable clips, above which to stop.

    Raises:
        ConfigError: If a dataset is given without a column, or videos with one.
        DataError: If the data cannot be used.
    """
    is_dataset = check_target(config.path, config.target)
    shown = ClipInput(
        frames=config.frames or (1 if is_dataset else frames),
        fps=fps,
        crop=0.0 if is_dataset else 1.0,
        image_size=image_size,
    )
    sampling = Sampling(shown, CLIPS_OF_EACH, VAL_FRACTION, TEST_FRACTION, seed)
    if is_dataset:
        source = open_episodes(config.path, config.target, sampling)
    else:
        source = open_videos(config.path, sampling, max_bad_fraction)
    return OnlineProbe(
        source,
        clips=config.clips,
        untrained=untrained,
        seed=seed,
        workers=workers,
        dtype=dtype,
        max_bad_fraction=max_bad_fraction,
    )


def _draw(source: LabelledClips, clips: int, generator: torch.Generator) -> list[list[int]]:
    """Return clips to fit to, clips that choose the penalty, and clips to measure on; no video is in two of them."""
    groups, count = torch.from_numpy(source.clips.groups), len(source.clips)
    shares = {"train": 1 - VAL_FRACTION - TEST_FRACTION, "val": VAL_FRACTION, "test": TEST_FRACTION}
    drawn = []
    for part, share in shares.items():
        members = torch.arange(count)[torch.isin(groups, source.split[part])]
        chosen = members[torch.randperm(len(members), generator=generator)[: max(round(share * clips), 1)]]
        drawn.append(chosen.sort().values.tolist())  # neighbours in a file are read one after the other
    return drawn


def _read(
    drawn: list[list[int]], source: LabelledClips, workers: int, max_bad_fraction: float
) -> dict[int, Tensor]:
    """Return the readable clips by number, uint8 `[T, C, S, S]`; the others are logged by name."""
    numbers = [number for part in drawn for number in part]
    loader = DataLoader(
        Subset(cast("Dataset[Tensor | str]", source.clips), numbers),
        batch_size=None,
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # else the global one would be drawn from
    )
    account, read = BadFiles(max_bad_fraction), {}
    for number, clip in zip(numbers, loader, strict=True):
        if isinstance(clip, str):
            account.add(f"{source.clips.names[source.clips.groups[number]]}, clip {number}", clip)
        else:
            read[number] = clip
    account.check(len(numbers))
    return read


def _pooled(tokens: Tensor, grid: tuple[int, int, int], over_time: bool) -> Tensor:
    """Average tokens `[B, N, D]` over cells of a frame, `[B, F]`.

    A class describes the whole clip, so tubelets are averaged; numbers describe its end, so the last one is taken.
    """
    tubelets = tokens.unflatten(1, grid)
    plane = (tubelets.mean(dim=1) if over_time else tubelets[:, -1]).permute(0, 3, 1, 2)
    return F.adaptive_avg_pool2d(plane, (min(grid[1], CELLS), min(grid[2], CELLS))).flatten(1)

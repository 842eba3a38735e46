"""Statistics of columns and images as a LeRobotDataset has them: min, max, mean, std, count and five quantiles."""

from __future__ import annotations

import numpy as np

QUANTILES = (0.01, 0.10, 0.50, 0.90, 0.99)
# Number of frames of an episode, and stride of the pixels of a frame, that enter the image statistics.
_FRAMES_PER_EPISODE = 16
_PIXEL_STRIDE = 4

Stats = dict[str, np.ndarray]


def vector_stats(values: np.ndarray) -> Stats:
    """Return the statistics of `values` `[T, ...]` over T; every entry is float64 `[...]`, `count` int64 `[1]`.

    Rows with a number that is not finite do not count; statistics of no row are zeros.
    """
    values = values.astype(np.float64)
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all() or not len(values):
        values = values[finite]
        if not len(values):
            values = np.zeros((1, *values.shape[1:]))
    stats: Stats = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([finite.sum()]),
    }
    for quantile, row in zip(QUANTILES, np.quantile(values, QUANTILES, axis=0), strict=True):
        stats[_quantile_name(quantile)] = row
    return stats


def sampled_rows(length: int) -> np.ndarray:
    """Return the rows of an episode whose images enter the statistics, int64 `[N]`, first and last included."""
    return np.unique(np.linspace(0, length - 1, min(length, _FRAMES_PER_EPISODE)).astype(np.int64))


def image_histogram(frames: np.ndarray) -> np.ndarray:
    """Return the histogram of some pixels of frames uint8 `[T, H, W, C]`, int64 `[C, 256]`."""
    pixels = frames[:, ::_PIXEL_STRIDE, ::_PIXEL_STRIDE]
    return np.stack([np.bincount(pixels[..., c].ravel(), minlength=256) for c in range(pixels.shape[-1])])


def image_stats(histogram: np.ndarray, num_frames: int) -> Stats:
    """Return statistics for each channel, float64 `[C, 1, 1]` in [0, 1], of a histogram int64 `[C, 256]`."""
    levels = np.arange(256) / 255.0
    share = histogram / np.maximum(histogram.sum(axis=1, keepdims=True), 1)
    mean = share @ levels
    present = histogram > 0
    stats: Stats = {
        "min": levels[present.argmax(axis=1)],
        "max": levels[255 - present[:, ::-1].argmax(axis=1)],
        "mean": mean,
        "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0.0)),
    }
    cumulative = share.cumsum(axis=1)
    for quantile in QUANTILES:
        # Rounding may leave the sum slightly below the quantile; then the last bin is taken.
        reached = (cumulative >= quantile - 1e-12).argmax(axis=1)
        stats[_quantile_name(quantile)] = levels[reached]
    stats = {name: value[:, None, None] for name, value in stats.items()}
    stats["count"] = np.array([num_frames])
    return stats


def _quantile_name(quantile: float) -> str:
    return f"q{round(quantile * 100):02d}"

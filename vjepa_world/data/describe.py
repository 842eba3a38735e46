"""Says what a corpus of videos or images, or a LeRobotDataset, holds, for people."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vjepa_world.data.corpus import find_videos, probe_all
from vjepa_world.data.trajectories.lerobot import LeRobotDataset
from vjepa_world.data.video import VideoError, VideoInfo, probe_video

_BAR = 30  # characters of the longest bar of a histogram


@dataclass(frozen=True, kw_only=True)
class VideosDescription:
    """The headers of a corpus's files; `bad` has a sentence for each file that cannot be read."""

    source: str
    videos: tuple[VideoInfo, ...]
    images: tuple[VideoInfo, ...]
    bad: tuple[str, ...]
    num_segments: int

    @property
    def duration_s(self) -> float:
        """Seconds of all readable files together."""
        return sum(video.duration_s for video in self.videos)

    def render(self, most: int = 20) -> str:
        """Return the description as text; `most` files are listed one by one."""
        videos = f"{len(self.videos)} videos, {self.duration_s:.1f} s in all"
        images = f"{len(self.images)} images"
        found = [images] if self.images and not self.videos else [videos, images][: 1 + bool(self.images)]
        lines = [
            f"{self.source}: {', '.join(found)}, {len(self.bad)} bad",
            f"segments to cut clips from: {self.num_segments}",
        ]
        files = self.videos + self.images
        if files:
            lines += [
                f"codecs: {_counts(Counter(file.codec for file in files))}",
                f"sizes: {_counts(Counter(f'{file.width}x{file.height}' for file in files))}",
            ]
        if self.videos:
            durations = [video.duration_s for video in self.videos]
            rates = [video.fps for video in self.videos]
            lines += [
                f"durations: {min(durations):.1f} to {max(durations):.1f} s, median {np.median(durations):.1f} s",
                f"rates: {min(rates):.2f} to {max(rates):.2f} frames/s",
                *_bars(Counter(f"{video.codec} at {video.fps:.2f}/s" for video in self.videos)),
            ]
            rows = [
                (v.path.name, f"{v.duration_s:.2f} s", f"{v.fps:.2f}/s", f"{v.width}x{v.height}", v.codec)
                for v in self.videos[:most]
            ]
            lines += ["", *_table(("file", "duration", "rate", "size", "codec"), rows)]
            if len(self.videos) > most:
                lines.append(f"... and {len(self.videos) - most} more")
        if self.bad:
            lines += ["", "bad:", *(f"  {reason}" for reason in self.bad[:most])]
            if len(self.bad) > most:
                lines.append(f"  ... and {len(self.bad) - most} more")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class FeatureDescription:
    """One entry of the state or the action over a whole dataset."""

    name: str
    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """What a LeRobotDataset holds; every row of it was read and checked."""

    path: Path
    robot_type: str
    num_episodes: int
    num_frames: int
    fps: float
    episode_lengths: tuple[int, ...]
    tasks: tuple[str, ...]
    features: tuple[tuple[str, str, tuple[int, ...]], ...]
    state: tuple[FeatureDescription, ...]
    action: tuple[FeatureDescription, ...]
    camera: str
    video: VideoInfo

    def render(self) -> str:
        """Return the description as text."""
        lengths = self.episode_lengths
        lines = [
            f"{self.path}: LeRobotDataset of {self.num_episodes} episodes, {self.num_frames} frames at "
            f"{self.fps:g}/s ({self.num_frames / self.fps:.1f} s), robot {self.robot_type}",
            f"episode lengths: {min(lengths)} to {max(lengths)}, median {np.median(lengths):g}",
            f"tasks: {', '.join(self.tasks[:5])}"
            + (f" and {len(self.tasks) - 5} more" if len(self.tasks) > 5 else ""),
            f"camera: {self.camera}, {self.video.width}x{self.video.height}, {self.video.codec}",
            "",
            *_table(
                ("feature", "type", "shape"),
                [(n, k, "x".join(map(str, shape))) for n, k, shape in self.features],
            ),
            "",
        ]
        rows = [
            (kind, f.name, f"{f.low:.4f}", f"{f.high:.4f}", f"{f.mean:.4f}", f"{f.std:.4f}")
            for kind, group in (("state", self.state), ("action", self.action))
            for f in group
        ]
        return "\n".join(lines + _table(("", "name", "min", "max", "mean", "std"), rows))


def describe_videos(path: str | os.PathLike[str]) -> VideosDescription:
    """Read the headers of all videos, or else images, at `path` (see `find_videos`).

    Raises:
        DataError: no video is there. Files that cannot be read are listed, not raised.
    """
    corpus = find_videos(path, images=True)
    headers = probe_all(segment.place for segment in corpus.segments)
    good = [header for header in headers.values() if isinstance(header, VideoInfo)]
    broken = {place: str(header) for place, header in headers.items() if isinstance(header, VideoError)}
    return VideosDescription(
        source=corpus.source,
        videos=tuple(header for header in good if header.fps > 0),
        images=tuple(header for header in good if not header.fps),
        bad=(*(reason for _, reason in corpus.bad), *broken.values()),
        num_segments=sum(segment.place not in broken for segment in corpus.segments),
    )


def describe_dataset(path: str | os.PathLike[str]) -> DatasetDescription:
    """Read a LeRobotDataset: its features, and the range of every entry of state and action.

    Raises:
        DataError: the dataset is broken; file, episode and row are named.
    """
    dataset = LeRobotDataset(path)
    episodes = [dataset.episode(i) for i in range(dataset.num_episodes)]
    features = tuple((n, f["dtype"], tuple(f["shape"])) for n, f in dataset.meta.features.items())
    with_video = dataset.episodes[0].video_path
    return DatasetDescription(
        path=dataset.path,
        robot_type=str(dataset.meta.info.get("robot_type") or "not named"),
        num_episodes=dataset.num_episodes,
        num_frames=dataset.num_frames,
        fps=dataset.fps,
        episode_lengths=tuple(len(episode) for episode in episodes),
        tasks=tuple(dict.fromkeys(episode.task for episode in episodes)),
        features=features,
        state=_describe(dataset.state_names, np.concatenate([episode.states for episode in episodes])),
        action=_describe(dataset.action_names, np.concatenate([episode.actions for episode in episodes])),
        camera=dataset.camera,
        video=probe_video(with_video),
    )


def _describe(names: Sequence[str], values: np.ndarray) -> tuple[FeatureDescription, ...]:
    return tuple(
        FeatureDescription(
            name=name, low=float(v.min()), high=float(v.max()), mean=float(v.mean()), std=float(v.std())
        )
        for name, v in zip(names, values.T.astype(np.float64), strict=True)
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counter.most_common())


def _bars(counter: Counter[str], most: int = 10) -> list[str]:
    """Return a histogram, a line for each of the most common values."""
    shown = counter.most_common(most)
    width, largest = max(len(name) for name, _ in shown), shown[0][1]
    lines = [
        f"  {name:<{width}}  {'#' * max(1, round(_BAR * count / largest))} {count}" for name, count in shown
    ]
    return lines + ([f"  ... and {len(counter) - most} more kinds"] if len(counter) > most else [])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in (header, *rows)
    ]
    return [line.rstrip() for line in lines]

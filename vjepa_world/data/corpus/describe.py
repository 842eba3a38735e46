"""Describes a corpus of videos or images."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass

import numpy as np

from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.video.reader import VideoInfo
from vjepa_world.errors import counted
from vjepa_world.system.text_table import text_table

_BAR = 30  # characters of the longest bar of a histogram


@dataclass(frozen=True, kw_only=True)
class VideosDescription:
    """The headers of a corpus's files; `bad`: reasons for unreadable files; `left_out`: messages on other files."""

    source: str
    videos: tuple[VideoInfo, ...]
    images: tuple[VideoInfo, ...]
    bad: tuple[str, ...]
    num_segments: int
    left_out: tuple[str, ...] = ()

    @property
    def duration_s(self) -> float:
        """Duration of all readable videos together [s]."""
        return sum(video.duration_s for video in self.videos)

    def render(self, most: int = 20) -> str:
        """Return the description as text; at most `most` files are listed."""
        videos = f"{counted(len(self.videos), 'video')}, {self.duration_s:.1f} s in all"
        images = counted(len(self.images), "image")
        found = [images] if self.images and not self.videos else [videos, images][: 1 + bool(self.images)]
        lines = [
            f"{self.source}: {', '.join(found)}, {len(self.bad)} bad",
            f"video segments: {self.num_segments}",
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
            lines += ["", *text_table([("file", "duration", "rate", "size", "codec"), *rows])]
            if len(self.videos) > most:
                lines.append(f"... and {len(self.videos) - most} more")
        if self.left_out:
            lines += ["", "left out:", *(f"  {message}" for message in self.left_out)]
        if self.bad:
            lines += ["", "bad:", *(f"  {reason}" for reason in self.bad[:most])]
            if len(self.bad) > most:
                lines.append(f"  ... and {len(self.bad) - most} more")
        return "\n".join(lines)


def describe_videos(path: str | os.PathLike[str]) -> VideosDescription:
    """Read the headers of all videos, or of the images, at `path` (see `find_videos`).

    Raises:
        DataError: There is no video or image. Unreadable files are listed, not raised.
    """
    corpus = find_videos(path, images=True)
    headers = corpus.headers()
    read = list(headers)
    good = [header for header in read if isinstance(header, VideoInfo)]
    broken = [str(header) for header in read if not isinstance(header, VideoInfo)]
    return VideosDescription(
        source=corpus.source,
        videos=tuple(header for header in good if header.fps > 0),
        images=tuple(header for header in good if not header.fps),
        bad=(*(reason for _, reason in corpus.bad), *broken),
        num_segments=int(headers.good[corpus.segments.file].sum()),
        left_out=tuple(corpus.left_out.messages()),
    )


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counter.most_common())


def _bars(counter: Counter[str], most: int = 10) -> list[str]:
    """Return a text histogram with a line for each of the most common values."""
    shown = counter.most_common(most)
    width, largest = max(len(name) for name, _ in shown), shown[0][1]
    lines = [
        f"  {name:<{width}}  {'#' * max(1, round(_BAR * count / largest))} {count}" for name, count in shown
    ]
    return lines + ([f"  ... and {len(counter) - most} more kinds"] if len(counter) > most else [])

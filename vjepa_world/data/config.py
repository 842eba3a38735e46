"""Configuration of video data: sources of clips and how they are cut. Free of torch, so that help is quick."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vjepa_world.config.ranges import FPS, PATIENCE_S
from vjepa_world.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """One corpus of a mixture.

    Attributes:
        path: As `data.path`.
        weight: How often its clips are drawn, relative to the other sources.
        fps: Frames per second of its clips; 0 takes `data.fps`.
        frames_per_clip: Frames of its clips, 1 for images; 0 takes the model's number.
    """

    path: str = field(metadata={"example": "FOLDER"})
    weight: float = 1.0
    fps: float = field(default=0.0, metadata=FPS)
    frames_per_clip: int = 0

    def __post_init__(self) -> None:
        rules = {
            "path": (bool(self.path), "a folder, a glob, a list, tar shards or a dataset"),
            "weight": (self.weight > 0, "more than 0"),
            "fps": (self.fps >= 0, "more than 0, or 0 for data.fps"),
            "frames_per_clip": (self.frames_per_clip >= 0, "at least 1, or 0 for the model's"),
        }
        for name, (good, allowed) in rules.items():
            if not good:
                value = getattr(self, name)
                raise ConfigError(
                    f"{name} of a source of data.sources is '{value}', allowed is {allowed}. Change it."
                )


@dataclass(frozen=True, kw_only=True)
class VideoDataConfig:
    """Sources of clips, and how clips are cut.

    Attributes:
        path: A folder (searched recursively), a glob, a CSV or Parquet list, WebDataset shards ({000..009}.tar), a
            video or image file, or a LeRobot dataset.
        sources: Several sources, drawn by weight: data.sources.NAME.path=, .weight=, .fps=, .frames_per_clip=.
        fps: Frames per second of a clip, independent of the file's rate.
        crop_scale: Range of the crop's share of the frame's area.
        crop_ratio: Range of the crop's aspect ratio.
        flip: Probability of a horizontal flip.
        max_bad_fraction: Share of unreadable files above which the run stops.
        memory_gb: Memory of each loader process for whole decoded videos [GB].
        clips_per_video: Consecutive clips of a batch that are cut from the same video.
        open_videos: Videos that a loader process keeps open; opening one costs as much as decoding several clips.
        timeout_s: Longest time for reading one file, after which the run stops with an error that names it [s].
        decode_device: cpu, or cuda (cuda:N) to decode on the graphics card, in the training process.
    """

    path: str = field(default="", metadata={"example": "FOLDER"})
    sources: dict[str, SourceConfig] = field(default_factory=dict)
    fps: float = field(default=4.0, metadata=FPS)
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.35)
    flip: float = 0.5
    max_bad_fraction: float = 0.2
    memory_gb: float = 0.0
    clips_per_video: int = 1
    open_videos: int = 256
    timeout_s: float = field(default=120.0, metadata=PATIENCE_S)
    decode_device: str = "cpu"

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        narrow, wide = self.crop_ratio
        rules = {
            "fps": (self.fps > 0, "more than 0"),
            "crop_scale": (0 < low <= high <= 1, "two shares, 0 < least <= most <= 1"),
            "crop_ratio": (0 < narrow <= wide, "two ratios, 0 < least <= most"),
            "flip": (0 <= self.flip <= 1, "from 0 to 1"),
            "max_bad_fraction": (0 <= self.max_bad_fraction <= 1, "a share, from 0 to 1"),
            "memory_gb": (self.memory_gb >= 0, "at least 0"),
            "clips_per_video": (self.clips_per_video >= 1, "at least 1"),
            "open_videos": (self.open_videos >= 1, "at least 1"),
            "timeout_s": (self.timeout_s > 0, "more than 0"),
            "decode_device": (
                bool(re.fullmatch(r"cpu|cuda(:\d+)?", self.decode_device)),
                "cpu, cuda or cuda:N",
            ),
        }
        for name, (good, allowed) in rules.items():
            if not good:
                raise ConfigError(f"data.{name} is {getattr(self, name)}, allowed is {allowed}. Change it.")
        if self.path and self.sources:
            raise ConfigError(
                f"data.path is {self.path} and data.sources has {', '.join(self.sources)}; give one of the two: "
                "with sources, data.path='' and data.sources.NAME.path=FOLDER."
            )

    def all_sources(self, num_frames: int) -> dict[str, SourceConfig]:
        """Return the sources by name; unset fps and frames per clip are those of the run.

        Raises:
            ConfigError: If there is none.
        """
        if not self.path and not self.sources:
            raise ConfigError(
                "'data.path' is not given and has no default: give data.path=FOLDER (or a glob, a list, tar shards, a "
                "dataset), or several as data.sources.NAME.path=FOLDER"
            )
        given = self.sources or {"": SourceConfig(path=self.path)}
        return {
            name: SourceConfig(
                path=source.path,
                weight=source.weight,
                fps=source.fps or self.fps,
                frames_per_clip=source.frames_per_clip or num_frames,
            )
            for name, source in given.items()
        }

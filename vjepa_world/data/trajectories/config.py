"""Configuration of trajectory data: datasets, windows, feature caches. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vjepa_world.config.ranges import FPS, STEPS
from vjepa_world.errors import ConfigError
from vjepa_world.ops.convention import Convention

#: Name of the only dataset of a run.
DEFAULT_SOURCE = "default"


@dataclass(frozen=True, kw_only=True)
class TrajectorySourceConfig:
    """One dataset of a mixture.

    Attributes:
        path: A dataset of any known format.
        weight: How often its windows are drawn, relative to the other sources.
        embodiment: Name of its robot; sources of one robot share its weights and statistics. Empty takes the source's
            name.
        cameras: Names of the cameras to use; [] takes the first.
        fps: Frames per second of its windows; 0 takes `data.fps`.
        convention: How its numbers are written, all keys; unset takes what the dataset declares or its format defines.
        reader: Options of its format's reader: reader.state=, reader.action=, reader.fps=, ...
    """

    path: str = field(metadata={"example": "DATASET"})
    weight: float = 1.0
    embodiment: str = ""
    cameras: tuple[str, ...] = ()
    fps: float = field(default=0.0, metadata=FPS)
    convention: Convention | None = None
    reader: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(
            "a source of data.sources",
            self,
            {
                "path": (bool(self.path), "a dataset's folder or file"),
                "weight": (self.weight > 0, "more than 0"),
                "fps": (self.fps >= 0, "more than 0, or 0 for data.fps"),
            },
        )


@dataclass(frozen=True, kw_only=True)
class TrajectoryDataConfig:
    """Datasets of trajectories, and how windows are cut.

    Attributes:
        path: A dataset: LeRobot v3.0 or v2.1, DROID, robomimic, OGBench, RLDS, or a registered format.
        sources: Several datasets, drawn by weight: data.sources.NAME.path=, .weight=, .embodiment=, .cameras=, ...
        cameras: Names of the cameras to use; [] takes the first.
        views: one: a window shows one of the cameras, drawn at random each time; all: it shows all, side by side.
        convention: How the numbers are written, all keys; unset takes what the dataset declares or its format defines.
        reader: Options of the format's reader: data.reader.state=, data.reader.action=, data.reader.fps=, ...
        fps: Frames per second of a window; 0 takes every row. V-JEPA 2-AC's is 4.
        frames: Frames of a training window.
        val_fraction: Share of the episodes, drawn by the seed, that is held out.
        max_bad_fraction: Share of unusable episodes above which the run stops.
        crop_scale: Range of the share of the frame's area that a window shows; values other than [1, 1] need pixels at
            each step, and switch the cache off.
        color_jitter: Largest random change of a window's colours, as a share; more than 0 switches the cache off.
    """

    path: str = field(default="", metadata={"example": "runs/collect/first"})
    sources: dict[str, TrajectorySourceConfig] = field(default_factory=dict)
    cameras: tuple[str, ...] = ()
    views: Literal["one", "all"] = "one"
    convention: Convention | None = None
    reader: dict[str, Any] = field(default_factory=dict)
    fps: float = field(default=0.0, metadata=FPS)
    frames: int = field(default=3, metadata=STEPS)
    val_fraction: float = 0.05
    max_bad_fraction: float = 0.2
    crop_scale: tuple[float, float] = (1.0, 1.0)
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        _check(
            "data",
            self,
            {
                "frames": (self.frames >= 2, "at least 2"),
                "fps": (self.fps >= 0, "more than 0, or 0 for every row"),
                "val_fraction": (0 <= self.val_fraction < 1, "a share, from 0 to below 1"),
                "max_bad_fraction": (0 <= self.max_bad_fraction < 1, "a share, from 0 to below 1"),
                "crop_scale": (0 < low <= high <= 1, "two shares, 0 < least <= most <= 1"),
                "color_jitter": (0 <= self.color_jitter < 1, "from 0 to below 1"),
            },
        )
        if self.path and self.sources:
            raise ConfigError(
                f"data.path is {self.path} and data.sources has {', '.join(self.sources)}; give one of the two."
            )

    def unused(self) -> dict[str, str]:
        """Return the keys that a mixture does not use, since each source has its own."""
        return (
            dict.fromkeys(("convention", "reader"), "data.sources, each with its own,")
            if self.sources
            else {}
        )

    @property
    def needs_pixels(self) -> bool:
        """Whether an augmentation changes the encoder's input from step to step."""
        return self.crop_scale != (1.0, 1.0) or self.color_jitter > 0

    def all_sources(self) -> dict[str, TrajectorySourceConfig]:
        """Return the sources by name; unset keys are those of the run.

        Raises:
            ConfigError: If there is none.
        """
        if not self.path and not self.sources:
            raise ConfigError(
                "'data.path' is not given and has no default: give data.path=DATASET, or several as "
                "data.sources.NAME.path=DATASET"
            )
        if self.path:
            return {
                DEFAULT_SOURCE: TrajectorySourceConfig(
                    path=self.path,
                    embodiment=DEFAULT_SOURCE,
                    cameras=self.cameras,
                    fps=self.fps,
                    convention=self.convention,
                    reader=self.reader,
                )
            }
        return {
            name: replace(
                source,
                embodiment=source.embodiment or name,
                cameras=source.cameras or self.cameras,
                fps=source.fps or self.fps,
            )
            for name, source in self.sources.items()
        }


@dataclass(frozen=True, kw_only=True)
class FeaturesConfig:
    """The cache of the frozen encoder's features.

    Attributes:
        cache: Compute each frame's features once and cache them on disk; otherwise decode and encode at every step.
        root: Folder of all caches.
        folder: The cache to use, independent of `root`; refused if it is of other data or another encoder.
        limit_gb: Largest size of all caches under `root`; the least recently used are removed [GB].
        batch_frames: Frames encoded at once.
    """

    cache: bool = True
    root: str = "runs/features"
    folder: str = ""
    limit_gb: float = 100.0
    batch_frames: int = 64

    def __post_init__(self) -> None:
        _check(
            "features",
            self,
            {
                "limit_gb": (self.limit_gb > 0, "more than 0"),
                "batch_frames": (self.batch_frames >= 1, "at least 1"),
            },
        )


def _check(prefix: str, config: object, rules: dict[str, tuple[bool, str]]) -> None:
    for name, (good, allowed) in rules.items():
        if not good:
            raise ConfigError(f"{prefix}.{name} is {getattr(config, name)}, allowed is {allowed}. Change it.")

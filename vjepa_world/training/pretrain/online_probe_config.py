"""The options of the probe during pretraining. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class OnlineProbeConfig:
    """A probe of the features during the training.

    Attributes:
        every: Steps between two measurements; 0 for no probe.
        path: Labelled data as `probe` takes them: folders of classes, a CSV list or a LeRobot dataset.
        target: Column of a LeRobot dataset that is regressed, such as observation.state[0:3].
        clips: Clips that are used, a quarter of them of videos or episodes that the probe is not fitted to.
        frames: Frames of a clip; 0 takes one of a dataset, and the model's number of videos.
    """

    every: int = 0
    path: str = ""
    target: str = ""
    clips: int = 256
    frames: int = 0

    def __post_init__(self) -> None:
        if self.every < 0 or self.frames < 0:
            raise ConfigError(
                f"probe.every is {self.every} and probe.frames is {self.frames}; they must be at least 0."
            )
        if self.clips < 8:
            raise ConfigError(f"probe.clips is {self.clips}; it must be at least 8, to fit and to measure.")
        if self.every and not self.path:
            raise ConfigError(
                f"probe.every is {self.every} and probe.path is not given; give labelled videos or a LeRobot dataset."
            )

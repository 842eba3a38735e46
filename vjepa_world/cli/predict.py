"""`predict`: what a probe says of one video."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.config.ranges import AT_LEAST_ONE, LARGEST
from vjepa_world.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

    from vjepa_world.data.loading.clip_tables import VideoClips


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which video, and what reads it.

    Attributes:
        video: A video file.
        probe: A probe run or checkpoint, a released probe file, or a classifier.
        encoder: The encoder that the probe was trained on; empty for the recorded one.
        top: How many classes are printed, the most probable first.
        clips: Clips of the video, evenly spaced; 0 for as many as in training, 1 for numbers.
        device: auto, cpu, cuda or cuda:N.
        json: Whether to print one JSON object.
    """

    video: Path = field(metadata={"example": "VIDEO"})
    probe: str = field(metadata={"example": "FOLDER"})
    encoder: str = ""
    top: int = field(default=5, metadata=AT_LEAST_ONE)
    clips: int = field(default=0, metadata={"range": (0, LARGEST)})
    device: str = "auto"
    json: bool = False


def run(config: Config) -> None:
    """Print the classes with their probabilities, or for each clip the regressed numbers.

    Raises:
        DataError: If the video cannot be read.
        CheckpointError: If probe or encoder are missing, broken, or do not fit each other.
        ConfigError: If the device is not there.
    """
    from vjepa_world.data.corpus.segments import Segment
    from vjepa_world.data.loading.clip_tables import VideoClips
    from vjepa_world.data.video.reader import probe_video
    from vjepa_world.pretrained.classifier import load_classifier
    from vjepa_world.pretrained.probes import CLASSIFICATION
    from vjepa_world.system.device import resolve_device

    probe_video(config.video)
    classifier = load_classifier(config.probe, config.encoder, device=resolve_device(config.device))
    saved = classifier.saved
    clips = VideoClips([Segment(config.video)], classifier.input, config.clips or saved.clips)
    outputs = classifier.outputs(_decoded(clips))
    if saved.task == CLASSIFICATION:
        found = classifier.best(outputs, config.top)
        rows: list[dict[str, Any]] = [{"label": label, "probability": value} for label, value in found]
        lines = [f"{row['probability']:7.4f}  {row['label']}" for row in rows]
    else:
        rows = _numbers(outputs, saved.labels, clips)
        lines = [f"at {row['time_s']:.2f} s: {_words(row['values'])}" for row in rows]
    result = {"video": str(config.video), "task": saved.task, "prediction": rows}
    print(json.dumps(result) if config.json else "\n".join(lines))


def _decoded(clips: VideoClips) -> Tensor:
    """Return all clips, uint8 `[M, T, C, S, S]`.

    Raises:
        DataError: If a clip cannot be decoded.
    """
    import torch

    found = []
    for number in range(len(clips)):
        clip = clips[number]
        if isinstance(clip, str):
            raise DataError(clip)
        found.append(clip)
    return torch.stack(found)


def _numbers(outputs: Tensor, labels: tuple[str, ...], clips: VideoClips) -> list[dict[str, Any]]:
    """A clip is labelled by its last frame."""
    return [
        {
            "time_s": float(clips.times_s(number)[-1]),
            "values": dict(zip(labels, values, strict=True)),
        }
        for number, values in enumerate(outputs.tolist())
    ]


def _words(values: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in values.items())

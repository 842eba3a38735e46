"""`predict`: what a probe says of one video."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.arguments import whole_number
from vjepa_world.errors import ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from vjepa_world.data.loading.clip_tables import VideoClips


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Print the most probable classes of a video, or the numbers that are read off it."
    )
    parser.add_argument("video", type=Path, help="a video file")
    parser.add_argument(
        "--probe", required=True, help="a probe run or checkpoint, a released probe file, or a classifier"
    )
    parser.add_argument(
        "--encoder", default="", help="the encoder that the probe was trained on (default: the recorded one)"
    )
    parser.add_argument(
        "--top", type=whole_number(1), default=5, help="how many classes to print (default: 5)"
    )
    parser.add_argument(
        "--clips",
        type=whole_number(0),
        default=0,
        help="clips of the video, evenly spaced (default: as in training, 1 for numbers)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the classes with their probabilities, or for each clip the regressed numbers.

    Raises:
        DataError: If the video cannot be read.
        CheckpointError: If probe or encoder are missing, broken, or do not fit each other.
        ConfigError: If an option is out of range.
    """
    from vjepa_world.data.corpus.segments import Segment
    from vjepa_world.data.loading.clip_tables import VideoClips
    from vjepa_world.data.video.reader import probe_video
    from vjepa_world.pretrained.classifier import load_classifier
    from vjepa_world.pretrained.probes import CLASSIFICATION
    from vjepa_world.system.device import resolve_device

    for name, least in (("top", 1), ("clips", 0)):
        if getattr(arguments, name) < least:
            raise ConfigError(f"--{name} is {getattr(arguments, name)}; it must be at least {least}.")
    probe_video(arguments.video)
    classifier = load_classifier(arguments.probe, arguments.encoder, device=resolve_device(arguments.device))
    saved = classifier.saved
    clips = VideoClips([Segment(arguments.video)], classifier.input, arguments.clips or saved.clips)
    outputs = classifier.outputs(_decoded(clips))
    if saved.task == CLASSIFICATION:
        found = classifier.best(outputs, arguments.top)
        rows: list[dict[str, Any]] = [{"label": label, "probability": value} for label, value in found]
        lines = [f"{row['probability']:7.4f}  {row['label']}" for row in rows]
    else:
        rows = _numbers(outputs, saved.labels, clips)
        lines = [f"at {row['time_s']:.2f} s: {_words(row['values'])}" for row in rows]
    result = {"video": str(arguments.video), "task": saved.task, "prediction": rows}
    print(json.dumps(result) if arguments.json else "\n".join(lines))


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

"""`predict`: what a probe says of one video."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.arguments import whole_number
from vjepa_world.errors import CheckpointError, ConfigError, DataError

if TYPE_CHECKING:
    from torch import Tensor

    from vjepa_world.data.loading.clip_tables import VideoClips
    from vjepa_world.models.encoder import VideoEncoder
    from vjepa_world.pretrained.probes import SavedProbe

logger = logging.getLogger(__name__)

#: What released classifiers are shown, whose files do not tell: 4 frames a second of the central 224/256.
RELEASED_FPS, RELEASED_CROP = 4.0, 0.875


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
    from vjepa_world.ops.clip_input import ClipInput
    from vjepa_world.pretrained.probes import CLASSIFICATION, load_probe
    from vjepa_world.system.device import resolve_device

    for name, least in (("top", 1), ("clips", 0)):
        if getattr(arguments, name) < least:
            raise ConfigError(f"--{name} is {getattr(arguments, name)}; it must be at least {least}.")
    probe_video(arguments.video)
    saved = load_probe(arguments.probe)
    encoder = fitting_encoder(saved, arguments.encoder).to(resolve_device(arguments.device))
    shown = saved.shown or ClipInput(
        frames=encoder.config.num_frames,
        fps=RELEASED_FPS,
        crop=RELEASED_CROP,
        image_size=encoder.config.image_size,
    )
    clips = VideoClips([Segment(arguments.video)], shown, arguments.clips or saved.clips)
    outputs = predict(saved, encoder, clips)
    if saved.task == CLASSIFICATION:
        rows = _classes(outputs, saved.labels, arguments.top)
        lines = [f"{row['probability']:7.4f}  {row['label']}" for row in rows]
    else:
        rows = _numbers(outputs, saved.labels, clips)
        lines = [f"at {row['time_s']:.2f} s: {_words(row['values'])}" for row in rows]
    result = {"video": str(arguments.video), "task": saved.task, "prediction": rows}
    print(json.dumps(result) if arguments.json else "\n".join(lines))


def fitting_encoder(saved: SavedProbe, source: str) -> VideoEncoder:
    """Return the encoder that was asked for, or else the one that the probe was trained on.

    Raises:
        CheckpointError: If there is none, or its features are of another width.
    """
    from vjepa_world.pretrained import load_encoder
    from vjepa_world.pretrained.probes import weights_digest

    if not source and not saved.encoder:
        raise CheckpointError("the probe does not tell its encoder; name it with --encoder.")
    try:
        encoder = load_encoder(source or saved.encoder)
    except CheckpointError as error:
        hint = "" if source else " The probe was trained on it; where it lies elsewhere now, give --encoder."
        raise CheckpointError(f"{error}{hint}") from error
    saved.check_fit(encoder.config.embed_dim, source or saved.encoder)
    if saved.encoder_digest and weights_digest(encoder) != saved.encoder_digest:
        logger.warning(
            "the weights of %s are not bit by bit those that the probe was trained on; its answers may mean nothing",
            source or saved.encoder,
        )
    return encoder


def predict(saved: SavedProbe, encoder: VideoEncoder, clips: VideoClips) -> Tensor:
    """Return what the probe says of each clip, `[clips, outputs]`: logits, or numbers.

    Raises:
        DataError: If a clip cannot be decoded.
    """
    import torch

    from vjepa_world.ops.pixels import normalize_video

    device = next(encoder.parameters()).device
    probe = saved.probe.to(device)
    outputs = []
    with torch.no_grad():
        for number in range(len(clips)):
            clip = clips[number]
            if isinstance(clip, str):
                raise DataError(clip)
            outputs.append(probe(encoder(normalize_video(clip.to(device)).unsqueeze(0))).cpu())
    return torch.cat(outputs)


def _classes(logits: Tensor, labels: tuple[str, ...], top: int) -> list[dict[str, Any]]:
    best = logits.softmax(dim=1).mean(dim=0).topk(min(top, len(labels)))
    found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return [{"label": labels[number], "probability": probability} for number, probability in found]


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

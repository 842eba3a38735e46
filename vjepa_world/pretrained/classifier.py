"""Features and classes of images and videos, from stored frames in one call.

Legend: T frames, C = 3 channels (RGB), H W pixels, M clips, N tokens, D width, K outputs of a probe.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.pretrained.loading import load_encoder
from vjepa_world.pretrained.probes import SavedProbe, load_probe, weights_digest

logger = logging.getLogger(__name__)

#: The input of released classifiers, whose files do not contain it: 4 frames per second, the central 224/256.
RELEASED_FPS, RELEASED_CROP = 4.0, 0.875


@torch.no_grad()
def embed(encoder: VideoEncoder, frames: Tensor, *, crop: float = 1.0) -> Tensor:
    """Return the features of an image or a video.

    Args:
        encoder: A frozen encoder.
        frames: uint8 `[C, H, W]` or `[T, C, H, W]` of any size; T is 1 or a multiple of the encoder's tubelet.
        crop: Share of the shorter side that the central square takes; 0 squeezes the whole frame into a square.

    Returns:
        Features `[N, D]` in token order (time, row, column); `.mean(0)` gives one vector to compare.

    Raises:
        ConfigError: If the frames are not bytes, or their number does not divide into tubelets.
    """
    if not isinstance(frames, Tensor) or frames.ndim not in (3, 4) or frames.shape[-3] != 3:
        shape = f" of shape {tuple(frames.shape)}" if hasattr(frames, "shape") else ""
        raise ConfigError(
            f"frames got a {type(frames).__name__}{shape}, expected a uint8 tensor [3, H, W] or [T, 3, H, W]; from an "
            "array with the channels last: torch.from_numpy(array).permute(0, 3, 1, 2)."
        )
    video = frames[None] if frames.ndim == 3 else frames
    clip = ClipInput(frames=len(video), fps=1.0, crop=crop, image_size=encoder.preprocessing.size)
    pixels = clip.pixels(video).to(next(encoder.parameters()).device)
    return encoder(encoder.preprocessing.normalize(pixels).unsqueeze(0))[0]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A frozen encoder with a trained probe.

    Attributes:
        encoder: The encoder.
        saved: The probe with the names of its outputs.
        input: The clip that the encoder was trained to see.
    """

    encoder: VideoEncoder
    saved: SavedProbe
    input: ClipInput

    def classify(self, frames: Tensor, top: int = 5) -> list[tuple[str, float]]:
        """Return the most probable classes of an image or a video with their probabilities.

        Args:
            frames: uint8 `[C, H, W]` or `[T, C, H, W]` of any size, at `input.fps` frames per second.
            top: How many classes.
        """
        video = frames[None] if frames.ndim == 3 else frames
        return self.best(self.outputs(self.input.pixels(video)[None]), top)

    @torch.no_grad()
    def outputs(self, clips: Tensor) -> Tensor:
        """Return the probe's outputs: logits of classes, or numbers.

        Args:
            clips: uint8 `[M, T, C, S, S]`, of the encoder's image size.

        Returns:
            `[M, K]`, on the CPU.
        """
        device = next(self.encoder.parameters()).device
        probe = self.saved.probe.to(device)
        read = self.encoder.preprocessing.normalize
        found = [probe(self.encoder(read(clip.to(device)).unsqueeze(0))) for clip in clips]
        return torch.cat(found).cpu()

    def best(self, logits: Tensor, top: int = 5) -> list[tuple[str, float]]:
        """Return the classes with the highest mean probability over clips, for logits `[M, K]`."""
        labels = self.saved.labels
        best = logits.softmax(dim=1).mean(dim=0).topk(min(top, len(labels)))
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [(labels[index], probability) for index, probability in found]


def load_classifier(
    probe: str | Path, encoder: str | Path = "", *, device: torch.device | str = "cpu"
) -> Classifier:
    """Load a probe with its encoder.

    Args:
        probe: A probe run or checkpoint, a released probe file, or a transformers classifier.
        encoder: The encoder; empty for the one that the probe was trained on, if its file names it.
        device: Where to.

    Raises:
        CheckpointError: If one is missing or broken, or they do not fit each other.
    """
    saved = load_probe(probe)
    source = str(encoder) or saved.encoder
    if not source:
        raise CheckpointError("the probe does not record its encoder; name it with --encoder.")
    try:
        model = load_encoder(source, device=device)
    except CheckpointError as error:
        hint = "" if encoder else " The probe was trained on it; if it was moved, give --encoder."
        raise CheckpointError(f"{error}{hint}") from error
    saved.check_fit(model.config.embed_dim, source)
    if saved.encoder_digest and weights_digest(model) != saved.encoder_digest:
        logger.warning(
            "the weights of %s differ from those that the probe was trained on; its predictions may be meaningless",
            source,
        )
    shown = saved.shown or ClipInput(
        frames=model.config.num_frames,
        fps=RELEASED_FPS,
        crop=RELEASED_CROP,
        image_size=model.preprocessing.size,
    )
    return Classifier(model, saved, shown)

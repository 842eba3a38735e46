"""What the report of a pretraining run shows of its clips: masks, features, and whether the features collapsed.

Legend: B clips, T frames, C channels, S pixels per side, H W pixels of an image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa_world.errors import CheckpointError, VJEPAWorldError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    from vjepa_world.training.pretrain.config import PretrainConfig
    from vjepa_world.training.pretrain.objectives.step_masks import MaskFamily

#: Clips whose features are drawn.
CLIPS = 3


@dataclass(frozen=True)
class Clips:
    """The first clips of a run: `video [B, T, C, S, S]` uint8, and the file and time of each."""

    video: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class MaskImage:
    """The first clip with one kind of mask over it, `image [H, W, 3]`, and the shares of the tokens."""

    name: str
    context_share: float
    target_share: float
    image: np.ndarray


@dataclass(frozen=True, eq=False)
class FeatureImages:
    """Features in colours: name and image `[H, W, 3]` of each clip, and the variance that three components explain.

    In an image the clip is above, below it the checkpoint's features, and at the bottom those of an untrained encoder.
    """

    checkpoint: str
    share: float
    untrained_share: float
    images: Sequence[tuple[str, np.ndarray]]


def first_clips(config: PretrainConfig, notes: list[str]) -> Clips | None:
    """Return the first clips that the run trained on; None, and a note, where its data cannot be read."""
    import torch

    from vjepa_world.training.pretrain.pretrain import open_clips

    try:
        source = open_clips(config)
        clips = [source.clip(0, entry) for entry in range(CLIPS)]
    except (VJEPAWorldError, OSError) as error:
        notes.append(
            f"masks and features are not drawn, for the run's data cannot be read from {Path.cwd()}: {error}"
        )
        return None
    return Clips(torch.stack([clip.frames[0] for clip in clips]), tuple(clip.name for clip in clips))


def draw_masks(config: PretrainConfig, clips: Clips) -> list[MaskFamily]:
    """Return the masks that a step with these clips draws, one of each kind; none where nothing is masked."""
    import torch

    from vjepa_world.training.engine.step_draw import StepDraw
    from vjepa_world.training.pretrain.objectives.config import JEPAConfig, MaskedObjectiveConfig
    from vjepa_world.training.pretrain.objectives.step_masks import draw_groups, draw_pair_groups

    objective, model = config.objective, config.model
    if not isinstance(objective, MaskedObjectiveConfig):
        return []
    pair_fraction = objective.pair_fraction if isinstance(objective, JEPAConfig) else 0.0
    frames = clips.video.shape[1]
    grid = (max(frames // model.tubelet_size, 1), model.grid_size, model.grid_size)
    draw = StepDraw(torch.Generator().manual_seed(config.seed))
    count = len(clips.names)
    masks = []
    if objective.image_fraction + pair_fraction < 1 or frames == 1:
        masks += draw_groups(objective, grid, count, frames == 1, draw)[0].families
    if isinstance(objective, JEPAConfig) and pair_fraction and frames > 1:
        masks += draw_pair_groups(objective, (1, *grid[1:]), count, draw)[0].families
    return masks


def mask_images(clips: Clips, masks: Sequence[MaskFamily]) -> list[MaskImage]:
    """Return the first clip, and below it a row for each set of target tokens, for each kind of mask."""
    from vjepa_world.reports.plots.images import frame_row, mask_row, tile_rows

    clip, images = clips.video[0], []
    for mask in masks:
        frames = clip[[0, -1]] if mask.offset else clip  # pairs of frames
        rows = [frame_row(frames, mask.grid[0])]
        rows += [mask_row(frames, mask.grid, mask.context[0], target) for target in mask.hidden[0]]
        tokens = mask.grid[0] * mask.grid[1] * mask.grid[2]
        shares = mask.context.shape[1] / tokens, mask.hidden.shape[-1] / tokens
        images.append(MaskImage(mask.name, *shares, tile_rows(rows)))
    return images


def feature_images(
    folder: Path, config: PretrainConfig, clips: Clips, device: torch.device, notes: list[str]
) -> FeatureImages | None:
    """Return the features of the newest checkpoint in colours; None, and a note, where there is none."""
    import torch

    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.ops.pixels import normalize_video
    from vjepa_world.pretrained import load_encoder
    from vjepa_world.pretrained.native import find_checkpoint
    from vjepa_world.reports.plots.images import colour_row, frame_row, principal_colours, tile_rows

    try:
        encoder = load_encoder(folder, device=device)
    except CheckpointError as error:
        notes.append(f"features are not drawn, for there is no encoder to compute them: {error}")
        return None
    video = normalize_video(clips.video.to(device))
    untrained = untrained_encoder(encoder.config, config.seed + 1).to(device)
    with torch.no_grad():
        grid = encoder.token_grid(video)
        coloured = [principal_colours(model(video).float().cpu()) for model in (encoder, untrained)]
    images = []
    for number, name in enumerate(clips.names):
        rows = [frame_row(clips.video[number], grid[0])]
        rows += [colour_row(colours[number], grid) for colours, _ in coloured]
        images.append((name, tile_rows(rows)))
    return FeatureImages(find_checkpoint(folder).name, coloured[0][1], coloured[1][1], images)


def collapse_alarm(
    lines: Sequence[Mapping[str, float]], config: PretrainConfig | None, masks: Sequence[MaskFamily]
) -> str | None:
    """Return why the features count as collapsed; empty where they do not, None where no spread was logged."""
    from vjepa_world.training.pretrain.collapse import Recipe, find_collapse

    if not any("target_std" in line for line in lines):
        return None
    hidden = None
    if masks:
        hidden = min(1 - m.context.shape[1] / (m.grid[0] * m.grid[1] * m.grid[2]) for m in masks)
    found = find_collapse(lines, None if config is None else Recipe.of(config.objective, hidden))
    return "" if found is None else str(found)

"""What the report shows of a pretraining: its masks over a clip, its features, and whether they collapsed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa_world.errors import CheckpointError, ConfigError, VJEPAWorldError
from vjepa_world.runs import CONFIG_FILE

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from vjepa_world.training.pretrain.config import PretrainConfig
    from vjepa_world.training.pretrain.objectives.masks import MaskFamily

#: Clips whose features are drawn.
CLIPS = 3


@dataclass(frozen=True)
class Clips:
    """The first clips of a run: `video [B, T, C, S, S]` uint8, and where each is from."""

    video: Tensor
    names: tuple[str, ...]


def read_settings(folder: Path, notes: list[str]) -> PretrainConfig | None:
    """Return the configuration of a pretraining run; None for other runs, or where it cannot be read (a note)."""
    from vjepa_world.config import from_yaml
    from vjepa_world.training.pretrain.config import PretrainConfig

    path = folder / CONFIG_FILE
    if not path.is_file():
        notes.append(f"{CONFIG_FILE} is missing, so masks and features are not drawn.")
        return None
    text = path.read_text(encoding="utf-8")
    if not _is_pretrain(folder, text):
        return None
    try:
        return from_yaml(text, PretrainConfig, str(path), other_kinds=True)
    except ConfigError as error:
        notes.append(
            f"masks and features are not drawn, for this release does not read the run's settings: {error}"
        )
        return None


def _is_pretrain(folder: Path, text: str) -> bool:
    """Return whether a run is of pretrain: its checkpoint says so, or, before the first, its folder or its settings."""
    from vjepa_world.pretrained.native import checkpoint_steps, read_config

    if checkpoint_steps(folder):
        try:
            return bool(read_config(folder)["provenance"].get("verb") == "pretrain")
        except CheckpointError:
            pass  # what is wrong with it is said where its weights are needed
    return folder.resolve().parent.name == "pretrain" or ("\nmodel:" in text and "\nobjective:" in text)


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
    """Return the masks of a step with these clips, each family's; none where nothing is masked."""
    import torch

    from vjepa_world.training.engine.step_draw import StepDraw
    from vjepa_world.training.pretrain.objectives.config import JEPAConfig, MaskedObjectiveConfig
    from vjepa_world.training.pretrain.objectives.masks import draw_groups, draw_pair_groups

    objective, model = config.objective, config.model
    if not isinstance(objective, MaskedObjectiveConfig):
        return []
    pair_fraction = objective.pair_fraction if isinstance(objective, JEPAConfig) else 0.0
    frames = clips.video.shape[1]
    grid = (max(frames // model.tubelet_size, 1), model.grid_size, model.grid_size)
    draw = StepDraw(torch.Generator().manual_seed(config.seed))
    count = len(clips.names)
    families = []
    if objective.image_fraction + pair_fraction < 1 or frames == 1:
        families += draw_groups(objective, grid, count, frames == 1, draw)[0].families
    if isinstance(objective, JEPAConfig) and pair_fraction and frames > 1:
        families += draw_pair_groups(objective, (1, *grid[1:]), count, draw)[0].families
    return families


def masks_section(clips: Clips, families: Sequence[MaskFamily]) -> str:
    """Return the first clip beside the same with the tokens painted over that are not seen, a row a family."""
    from vjepa_world.reports import page as html
    from vjepa_world.reports.pictures import frame_row, mask_row, tile_rows

    if not families:
        return html.paragraph("This objective masks nothing.", "dim")
    clip, blocks = clips.video[0], []
    for family in families:
        shown = clip[[0, -1]] if family.offset else clip  # pairs of frames
        rows = [frame_row(shown, family.grid[0])]
        rows += [mask_row(shown, family.grid, family.context[0], hidden) for hidden in family.hidden[0]]
        tokens = family.grid[0] * family.grid[1] * family.grid[2]
        seen, hidden = family.context.shape[1] / tokens, family.hidden.shape[-1] / tokens
        caption = (
            f"{family.name}: {seen:.0%} of the tokens are seen, {hidden:.0%} (dark) are predicted from them; what is "
            "violet is neither."
        )
        blocks.append(html.picture(tile_rows(rows), caption))
    return html.paragraph(clips.names[0], "dim") + "".join(blocks)


def features_section(
    folder: Path, config: PretrainConfig, clips: Clips, device: torch.device, notes: list[str]
) -> str:
    """Return the clips with the current and an untrained encoder's features below; nothing, and a note, without one."""
    import torch

    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.ops.pixels import normalize_video
    from vjepa_world.pretrained import load_encoder
    from vjepa_world.pretrained.native import find_checkpoint
    from vjepa_world.reports import page as html
    from vjepa_world.reports.pictures import colour_row, frame_row, principal_colours, tile_rows

    try:
        encoder = load_encoder(folder, device=device)
    except CheckpointError as error:
        notes.append(f"features are not drawn, for there is no encoder to draw them with: {error}")
        return ""
    video = normalize_video(clips.video.to(device))
    untrained = untrained_encoder(encoder.config, config.seed + 1).to(device)
    with torch.no_grad():
        grid = encoder.token_grid(video)
        coloured = [principal_colours(model(video).float().cpu()) for model in (encoder, untrained)]
    blocks = []
    for number, name in enumerate(clips.names):
        rows = [frame_row(clips.video[number], grid[0])]
        rows += [colour_row(colours[number], grid) for colours, _ in coloured]
        blocks.append(html.picture(tile_rows(rows), name))
    words = (
        f"Below each clip the features of {find_checkpoint(folder).name}, whose three main directions hold "
        f"{coloured[0][1]:.0%} of their variance, and an untrained encoder's ({coloured[1][1]:.0%}). Colours mean "
        "the same in all clips, but not to the two encoders."
    )
    return html.paragraph(words, "dim") + "".join(blocks)


def alarms(
    lines: Sequence[Mapping[str, float]], config: PretrainConfig | None, families: Sequence[MaskFamily]
) -> str:
    """Return the collapse alarm, or that there is none; nothing where no figures of the features were logged."""
    from vjepa_world.reports import page as html
    from vjepa_world.training.pretrain.collapse import Recipe, find_collapse

    if not any("target_std" in line for line in lines):
        return ""
    hidden = None
    if families:
        hidden = min(1 - f.context.shape[1] / (f.grid[0] * f.grid[1] * f.grid[2]) for f in families)
    found = find_collapse(lines, None if config is None else Recipe.of(config.objective, hidden))
    if found is None:
        return html.paragraph("No collapse: spread and effective rank of the features hold.", "note good")
    return html.paragraph(str(found), "alarm")

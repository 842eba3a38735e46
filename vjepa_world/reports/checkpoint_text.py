"""What a checkpoint holds, in words: a summary of one screen, or every setting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from vjepa_world.config import flatten
from vjepa_world.errors import counted
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.pretrained.checkpoint import Checkpoint

#: The settings of a part in the summary.
ARCHITECTURE = (
    "kind",
    "image_size",
    "patch_size",
    "num_frames",
    "tubelet_size",
    "side",
    "embed_dim",
    "depth",
    "num_heads",
    "context_frames",
    "num_classes",
)

#: The settings of the run that made a checkpoint, in the summary.
PROVENANCE = (
    "name",
    "encoder",
    "data.path",
    "objective.kind",
    "trainer.steps",
    "trainer.batch_size",
    "trainer.lr",
)

#: Entries of a list that are printed, at most: a checkpoint records the fingerprints of all its episodes.
MOST_ENTRIES = 64

#: Letters of a text that are printed, at most: the fingerprints are packed into one.
MOST_LETTERS = 1000

#: Rows of other content of the file in the summary, at most.
_MOST_ROWS = 8


def checkpoint_summary(checkpoint: Checkpoint) -> str:
    """Return the kind, the size, the main settings of each part, the robots and the origin."""
    configs = _part_configs(checkpoint)
    lines = [_head(checkpoint)]
    width = max(map(len, [*checkpoint.tensors, *configs]), default=0)
    for part in dict.fromkeys([*checkpoint.tensors, *configs]):
        size = _millions(checkpoint.tensors.get(part, {}).values())
        shown = _settings(configs.get(part, {}), ARCHITECTURE)
        lines.append(f"  {part:<{width}}  {size:>7.3f} M  {shown}".rstrip())
    if checkpoint.world_model is not None:
        lines += [_robot(embodiment) for embodiment in checkpoint.world_model.embodiments]
    for name, values in checkpoint.details.items():
        if name == "provenance" and isinstance(values, dict):
            lines += _origin(values)
        elif values:
            lines += _some_rows(name, values)
    lines.append(_unused(checkpoint))
    lines.append("All settings: inspect PATH --details")
    return "\n".join(lines)


def checkpoint_details(checkpoint: Checkpoint) -> str:
    """Return the kind, the size and every setting of the architecture and of the run that made it."""
    lines = [_head(checkpoint)]
    for part, tensors in checkpoint.tensors.items():
        lines.append(f"  {part}: {_millions(tensors.values()):.3f} M")
    parts = (
        ("world_model",) if checkpoint.world_model is not None else ("encoder", "masked_predictor", "probe")
    )
    for part in parts:
        config = getattr(checkpoint, part)
        if config is not None:
            lines += [f"architecture of the {part.replace('_', ' ')}:", *_rows(flatten(asdict(config)))]
    for name, values in checkpoint.details.items():
        if values:
            rows = provenance_rows(values) if name == "provenance" else _flat(values)
            lines += ["made by:" if name == "provenance" else f"{name}:", *_rows(rows)]
    lines.append(_unused(checkpoint))
    return "\n".join(lines)


def provenance_rows(values: Any) -> dict[str, Any]:
    """Return the settings of the run that made a checkpoint as they are shown; the file's key `verb` is the command."""
    return {re.sub(r"(^|\.)verb$", r"\1command", key): value for key, value in _flat(values).items()}


def _head(checkpoint: Checkpoint) -> str:
    tensors = [tensor for part in checkpoint.tensors.values() for tensor in part.values()]
    types = ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors}))
    name = checkpoint.name.replace("_", " ")
    return f"{checkpoint.source}: {name}, {_millions(tensors):.2f} M parameters ({types})"


def _millions(tensors: Iterable[Any]) -> float:
    return sum(tensor.numel() for tensor in tensors) / 1e6


def _part_configs(checkpoint: Checkpoint) -> dict[str, dict[str, Any]]:
    """Return the settings of each part, by its name in the file."""
    if checkpoint.world_model is not None:
        settings = asdict(checkpoint.world_model)
        others = ("images", "encoder_options")
        return {
            name: value for name, value in settings.items() if isinstance(value, dict) and name not in others
        }
    parts = {name: getattr(checkpoint, name) for name in ("encoder", "masked_predictor", "probe")}
    return {name: asdict(config) for name, config in parts.items() if config is not None}


def _settings(values: dict[str, Any], names: Iterable[str]) -> str:
    return " ".join(f"{name}={values[name]}" for name in names if values.get(name) not in (None, ""))


def _robot(embodiment: EmbodimentConfig) -> str:
    return f"robot {embodiment.name}: states of {embodiment.state_dim} numbers, actions of {embodiment.action_dim}"


def _origin(provenance: dict[str, Any]) -> Iterator[str]:
    """Yield a line about the run that made the checkpoint, and about those that made its encoder and its data."""
    config = flatten(provenance.get("config", {}))
    torch = provenance.get("versions", {}).get("torch", "unknown")
    yield f"made by: {provenance.get('verb', 'unknown')} (torch {torch}) {_settings(config, PROVENANCE)}".rstrip()
    encoder = provenance.get("encoder")
    if isinstance(encoder, dict):
        settings = _settings(flatten(encoder.get("config", {})), PROVENANCE)
        yield f"encoder made by: {encoder.get('verb', 'unknown')} {settings}".rstrip()
    elif encoder:
        yield f"encoder: {encoder}"
    for path, episodes in provenance.get("held_out", {}).items():
        yield f"held out from training: {counted(len(episodes), 'episode')} of {path}"


def _some_rows(name: str, values: Any) -> list[str]:
    rows = _rows(_flat(values))
    more = [f"  ... and {len(rows) - _MOST_ROWS} more"] if len(rows) > _MOST_ROWS else []
    return [f"{name}:", *rows[:_MOST_ROWS], *more]


def _unused(checkpoint: Checkpoint) -> str:
    return f"unused tensors: {', '.join(checkpoint.ignored) or 'none'}"


def _flat(values: Any) -> dict[str, Any]:
    return flatten(values) if isinstance(values, dict) else {"": values}


def _rows(values: dict[str, Any]) -> list[str]:
    width = max(map(len, values), default=0)
    return [f"  {key:<{width}}  {_shortened(value)}" for key, value in values.items()]


def _shortened(value: Any) -> Any:
    """Return a value as it is printed; of a long list the first entries and how many there are."""
    if isinstance(value, list | tuple) and len(value) > MOST_ENTRIES:
        first = ", ".join(map(repr, value[:3]))
        return f"[{first}, ...] ({len(value)} entries)"
    if isinstance(value, str) and len(value) > MOST_LETTERS:
        return f"{value[:40]}... ({len(value)} letters)"
    return value

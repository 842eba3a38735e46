"""What verbs about a checkpoint file may be told of it: which weights, and what its tensors do not tell."""

from __future__ import annotations

import argparse
import ast
from typing import Any

from vjepa_world.errors import ConfigError

WEIGHTS = ("encoder", "target_encoder", "ema_encoder")
PARTS = ("encoder", "predictor")


def add_checkpoint_options(parser: argparse.ArgumentParser) -> None:
    """Add `--weights` and `--config`."""
    parser.add_argument(
        "--weights", choices=WEIGHTS, help="which encoder of a Meta file (default: the reference's)"
    )
    parser.add_argument(
        "--config",
        nargs="+",
        default=[],
        metavar="WORD=VALUE",
        help="architecture where the file does not tell it: num_heads=8, predictor.num_heads=12",
    )


def reading_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`vjepa_world.pretrained.read_checkpoint` takes beside the source.

    Raises:
        ConfigError: If a word is not of the form WORD=VALUE or predictor.WORD=VALUE.
    """
    words: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for word in arguments.config:
        name, equals, value = word.partition("=")
        part, dot, inner = name.partition(".")
        if not dot:
            part, inner = "encoder", name
        if not equals or not inner or part not in PARTS:
            raise ConfigError(
                f"--config got '{word}'; expected WORD=VALUE of the encoder, or predictor.WORD=VALUE."
            )
        words[part][inner] = _parsed(value)
    return {"weights": arguments.weights, **words}


def _parsed(value: str) -> Any:
    """Numbers, tuples and truth values as Python writes them; anything else is a word."""
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return value

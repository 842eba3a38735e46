"""Base classes of all errors that vjepa-world raises deliberately, and nearest-name hints."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class VJEPAWorldError(Exception):
    """States the value, what is allowed, and what to do. The command line prints the message and exits with 2."""


class ConfigError(VJEPAWorldError):
    """A key, group or value of a verb's configuration is not allowed."""


class DataError(VJEPAWorldError):
    """A file or folder of videos or trajectories cannot be used."""


class CheckpointError(VJEPAWorldError):
    """A checkpoint is missing, broken or unsuitable for its use."""


class InstallationError(VJEPAWorldError):
    """A package or file of the installation is missing, or hidden by another one of the same name."""


class TrainingError(VJEPAWorldError):
    """Training cannot continue: a non-finite loss, a full disk."""


def nearest(word: str, allowed: Iterable[str], *, in_order: bool = False) -> str:
    """Return the sentence part that names the closest allowed word and the whole list, sorted or in its own order."""
    words = list(allowed) if in_order else sorted(allowed)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.4)
    hint = f"did you mean '{close[0]}'? " if close else ""
    return f"{hint}Allowed: {', '.join(words) or 'none'}."

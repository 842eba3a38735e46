"""Base classes of all errors that vjepa-world raises deliberately, and helpers for the text of messages."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class VJEPAWorldError(Exception):
    """States the value, what is allowed, and what to do. The command line prints the message and exits with 2."""


class ConfigError(VJEPAWorldError):
    """A key, group or value of a command's configuration is not allowed."""


class DataError(VJEPAWorldError):
    """A file or folder of videos or trajectories cannot be used."""


class CheckpointError(VJEPAWorldError):
    """A checkpoint is missing, broken or unsuitable for its use."""


class InstallationError(VJEPAWorldError):
    """A package or file of the installation is missing, or hidden by another one of the same name."""


class TrainingError(VJEPAWorldError):
    """Training cannot continue: a non-finite loss, a full disk."""


def nearest(
    word: str, allowed: Iterable[str], *, in_order: bool = False, begins_sentence: bool = False
) -> str:
    """Return the closest allowed word and the list of all, as the end of an error message.

    Args:
        word: The word that is not allowed.
        allowed: The allowed words.
        in_order: Whether the list keeps its own order; it is sorted otherwise.
        begins_sentence: Whether the text follows a full stop, and begins with a capital letter.
    """
    words = list(allowed) if in_order else sorted(allowed)
    close = difflib.get_close_matches(word, words, n=1, cutoff=0.4)
    text = with_hint(close[0] if close else None, ", ".join(words) or "none")
    return text[0].upper() + text[1:] if begins_sentence else text


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: `1 episode`, `2 episodes`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def word_of(value: object) -> str:
    """Return a value as it is typed after `key=`: `[a,b]`, `null`, and all else as it is."""
    if isinstance(value, list | tuple):
        return "[" + ",".join(word_of(entry) for entry in value) + "]"
    return "null" if value is None else str(value)


def described(error: BaseException) -> str:
    """Return an error of foreign code in words: its type, its text, and the line that raised it.

    Of an error in a library that the code calls, the line of the call is named.
    """
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first one is ours, which caught the error
    libraries = tuple(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    frames = [frame for frame in frames if not frame.filename.startswith(libraries)] or frames
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {error}"


def with_hint(closest: str | None, allowed: str) -> str:
    """Return `did you mean 'CLOSEST'? Allowed: ALLOWED.`, without the question if no word is close."""
    return f"allowed: {allowed}." if closest is None else f"did you mean '{closest}'? Allowed: {allowed}."

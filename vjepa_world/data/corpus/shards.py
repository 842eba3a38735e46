"""Indexes WebDataset shards: uncompressed tar files; members with the same name up to the suffix form a sample.

A shard is indexed once from its headers; its videos and images are then read in place.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from vjepa_world.data.corpus.locations import TarMember
from vjepa_world.errors import DataError

_LABELS = (".cls", ".txt", ".json")  # in this order, if a sample has several
_JSON_KEYS = ("label", "cls", "caption", "text")
_LARGEST_LABEL = 1 << 20

#: Largest number of names of a pattern with braces.
MOST_NAMES = 1_000_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_SPAN = re.compile(r"(\d{1,18})\.\.(\d{1,18})")


@dataclass(frozen=True, slots=True)
class ShardSample:
    """A video or image in a shard, with its sample's label."""

    member: TarMember
    label: str


def index_shard(path: Path, endings: tuple[str, ...]) -> list[ShardSample]:
    """Return the samples with one of the suffixes `endings`, in the order of the shard.

    Raises:
        DataError: It is not a complete, uncompressed tar file.
    """
    found: list[tuple[str, TarMember]] = []
    labels: dict[str, dict[str, str]] = {}
    try:
        with tarfile.open(path, mode="r:") as tar:
            for info in tar:
                if not info.isreg() or info.issparse() or Path(info.name).name.startswith("."):
                    continue
                key, ending = _split(info.name)
                if ending.endswith(endings):
                    found.append((key, TarMember(path, info.name, info.offset_data, info.size)))
                elif ending in _LABELS and info.size <= _LARGEST_LABEL:
                    stream = tar.extractfile(info)
                    data = stream.read() if stream is not None else b""
                    labels.setdefault(key, {})[ending] = _label(data, ending)
            end = tar.offset
        if (
            found
            and found[-1][1].offset + found[-1][1].size > path.stat().st_size
            or end > path.stat().st_size
        ):
            raise tarfile.ReadError("unexpected end of data")
    except (tarfile.TarError, OSError, ValueError) as error:
        raise DataError(
            f"Cannot read the shard {path}: {error or type(error).__name__}. Expected a whole, uncompressed tar file; "
            "write it again, or take it out."
        ) from error
    return [ShardSample(member, _best(labels.get(key, {}))) for key, member in found]


def expand_braces(pattern: str) -> list[str]:
    """Expand braces as WebDataset does: `{000..003}` counts (with leading zeros), `{a,b}` lists.

    Raises:
        DataError: Braces have neither form, or there are too many names.
    """
    parts = _BRACES.split(pattern)  # text, content of braces, text, ...
    if math.prod(_brace_count(inside, pattern) for inside in parts[1::2]) > MOST_NAMES:
        raise DataError(
            f"{_short(pattern)} expands to more than {MOST_NAMES} names. Write a shorter range, or a glob (*.tar)."
        )
    lists = [_brace_words(inside) for inside in parts[1::2]]
    return [
        parts[0] + "".join(word + text for word, text in zip(words, parts[2::2], strict=True))
        for words in itertools.product(*lists)
    ]


def _brace_count(inside: str, pattern: str) -> int:
    span = _SPAN.fullmatch(inside)
    count = int(span[2]) - int(span[1]) + 1 if span is not None else len(inside.split(","))
    if count < 1 or (span is None and count < 2):
        raise DataError(
            f"'{{{_short(inside)}}}' in {_short(pattern)} is not a list; write {{000..009}} or {{a,b}}."
        )
    return count


def _brace_words(inside: str) -> list[str]:
    span = _SPAN.fullmatch(inside)
    if span is None:
        return inside.split(",")
    return [str(number).zfill(len(span[1])) for number in range(int(span[1]), int(span[2]) + 1)]


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def _split(name: str) -> tuple[str, str]:
    """Return a member's sample and its suffix: the name is split at the first dot after the last slash."""
    folder, slash, file = name.rpartition("/")
    stem, dot, ending = file.partition(".")
    return folder + slash + stem, (dot + ending).lower()


def _label(data: bytes, ending: str) -> str:
    text = data.decode("utf-8", errors="replace").strip()
    if ending != ".json":
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return ""
    if isinstance(value, dict):
        value = next((value[key] for key in _JSON_KEYS if key in value), "")
    return str(value) if isinstance(value, str | int | float) else ""


def _best(labels: dict[str, str]) -> str:
    return next((labels[ending] for ending in _LABELS if labels.get(ending)), "")

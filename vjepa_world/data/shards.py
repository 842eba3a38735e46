"""WebDataset shards: uncompressed tar files whose members of one name, but for the ending, make a sample.

A shard is indexed once, from its headers; its videos and images are then read where they lie in it.
"""

from __future__ import annotations

import json
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from vjepa_world.data.places import TarMember
from vjepa_world.errors import DataError

_LABELS = (".cls", ".txt", ".json")  # in this order, where a sample has several
_JSON_KEYS = ("label", "cls", "caption", "text")
_LARGEST_LABEL = 1 << 20
_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class ShardSample:
    """A video or image in a shard, with its sample's label."""

    member: TarMember
    label: str


def index_shard(path: Path, endings: tuple[str, ...]) -> list[ShardSample]:
    """Return the samples with one of `endings`, in the shard's order.

    Raises:
        DataError: it is no whole, uncompressed tar file.
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
    """Write out a brace list, as WebDataset does: `{000..003}` counts (zeros kept), `{a,b}` lists.

    Raises:
        DataError: braces with neither.
    """
    match = _BRACES.search(pattern)
    if match is None:
        return [pattern]
    head, tail = pattern[: match.start()], pattern[match.end() :]
    span = re.fullmatch(r"(\d+)\.\.(\d+)", match[1])
    if span is not None:
        first, last = span[1], span[2]
        words = [str(number).zfill(len(first)) for number in range(int(first), int(last) + 1)]
    else:
        words = match[1].split(",")
    if not words or (span is None and len(words) < 2):
        raise DataError(f"'{match[0]}' in {pattern} is no list; write {{000..009}} or {{a,b}}.")
    return [head + word + rest for word in words for rest in expand_braces(tail)]


def _split(name: str) -> tuple[str, str]:
    """Return a member's sample and its ending: the name is cut at the first dot behind the last slash."""
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

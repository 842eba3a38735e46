"""Finds labelled videos: a folder with one sub-folder a class, or a CSV list with the columns `path` and `label`."""

from __future__ import annotations

import csv
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

from vjepa_world.data.corpus import BadFiles, Corpus, Segment, find_videos
from vjepa_world.errors import DataError

_LISTED = 5  # files that an error names
_COLUMNS = ("path", "label")
_PLACES = ("start", "end", "start_s", "end_s")


def labelled_videos(
    path: str | os.PathLike[str], max_bad_fraction: float
) -> tuple[tuple[Segment, ...], BadFiles]:
    """Find the labelled videos at `path` and read their headers.

    Args:
        path: A folder whose sub-folders are classes, or a CSV list; its paths are relative to its own folder.
        max_bad_fraction: Share of unreadable videos above which to stop.

    Returns:
        The readable videos in a fixed order, each with its label, and the account of the unreadable ones.

    Raises:
        DataError: If there are none, one has no label, one is listed twice, or too many are unreadable.
    """
    place = Path(path)
    if place.is_dir():
        segments = _in_folders(place)
    elif place.suffix.lower() == ".csv":
        segments = _in_list(place)
    else:
        reason = "is no folder and no CSV list" if place.exists() else "does not exist"
        raise DataError(
            f"{place} {reason}; give a folder with one sub-folder of videos a class, or a CSV list with the columns "
            f"{' and '.join(_COLUMNS)}."
        )
    _check_once(place, segments)
    good, bad = Corpus(str(place), tuple(segments)).usable(0.0, max_bad_fraction)
    return tuple(good), bad


def _in_folders(folder: Path) -> list[Segment]:
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not classes:
        raise DataError(
            f"{folder} has no sub-folders; expected one a class, with the videos of that class in it. A CSV list with "
            f"the columns {' and '.join(_COLUMNS)} does as well."
        )
    found = find_videos(folder).segments
    loose = [segment.path.name for segment in found if segment.path.parent == folder]
    if loose:
        raise DataError(
            f"{folder} holds videos outside of its classes' folders, so their label is missing: {_named(loose)}. "
            "Move each into the folder of its class."
        )
    labelled = [replace(segment, label=segment.path.relative_to(folder).parts[0]) for segment in found]
    empty = sorted({child.name for child in classes} - {segment.label for segment in labelled})
    if empty:
        raise DataError(
            f"{folder} has classes without a video: {_named(empty)}. Add videos to them, or remove their folders."
        )
    return labelled


def _in_list(file: Path) -> list[Segment]:
    if not file.is_file():
        raise DataError(f"No such list: {file}. Give a CSV file with the columns {' and '.join(_COLUMNS)}.")
    segments = []
    with open(file, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        columns = reader.fieldnames or []
        for name in _COLUMNS:
            if name not in columns:
                raise DataError(
                    f"{file} has no column '{name}' in its first line; it has: {', '.join(columns) or 'nothing'}. "
                    "Write 'path,label' as the first line, then one video a line."
                )
        for name in _PLACES:
            if name in columns:
                raise DataError(
                    f"{file} has a column '{name}', but a label is one of a whole video here; cut the videos, or take "
                    "the column out."
                )
        for row in reader:
            line = f"{file}, line {reader.line_num}"
            path, label = ((row[name] or "").strip() for name in _COLUMNS)
            if not path and not label:
                continue
            if not path or not label:
                missing = "path" if label else "label"
                raise DataError(
                    f"{line}: the {missing} of '{path or label}' is missing; write it, or take it out."
                )
            segments.append(Segment(file.parent / path, label=label))
    if not segments:
        raise DataError(f"{file} lists no video; write one a line, as path,label.")
    return segments


def _check_once(place: Path, segments: list[Segment]) -> None:
    """A video that stands twice would be trained on and tested on."""
    counts = Counter(segment.name for segment in segments)
    twice = [name for name, count in counts.items() if count > 1]
    if twice:
        raise DataError(f"{place} lists some videos more than once: {_named(twice)}. List each once.")


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

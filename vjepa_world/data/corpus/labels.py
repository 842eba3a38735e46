"""Finds labelled videos: in a folder with a sub-folder for each class, or in a list with `path` and `label`."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.corpus.corpus import EXTENSIONS, Corpus, find_videos
from vjepa_world.data.corpus.images import IMAGE_EXTENSIONS
from vjepa_world.data.corpus.lists import LIST_SUFFIXES, names_a_file
from vjepa_world.data.corpus.segments import Segment, Segments
from vjepa_world.data.corpus.tables import check_columns, read_table
from vjepa_world.errors import DataError

_LISTED = 5  # files that an error names
_COLUMNS = ("path", "label")
_TIMES = ("start", "end", "start_s", "end_s")


def labelled_videos(
    path: str | os.PathLike[str], max_bad_fraction: float
) -> tuple[tuple[Segment, ...], BadFiles]:
    """Find the labelled videos at `path` and read their headers.

    Args:
        path: A folder whose sub-folders are classes, or a CSV or Parquet list, whose paths are relative to its folder.
        max_bad_fraction: Share of unreadable videos above which to stop.

    Returns:
        The readable videos in a fixed order, each with its label, and the unreadable ones with reasons.

    Raises:
        DataError: There are none, one has no label, one is listed twice, or too many are unreadable.
    """
    source = Path(path)
    unlisted: tuple[tuple[str, str], ...] = ()
    if source.is_dir():
        segments, unlisted = _in_folders(source)
    elif source.suffix.lower() in LIST_SUFFIXES:
        segments = _in_list(source)
    else:
        reason = "is neither a folder nor a CSV list" if source.exists() else "does not exist"
        raise DataError(
            f"{source} {reason}; give a folder with a sub-folder of videos for each class, or a CSV list with the "
            f"columns {' and '.join(_COLUMNS)}."
        )
    _check_once(source, segments)
    good, bad = Corpus(str(source), Segments.of(segments), unlisted).usable(0.0, max_bad_fraction)
    return tuple(good), bad


def _in_folders(folder: Path) -> tuple[list[Segment], tuple[tuple[str, str], ...]]:
    """Return the videos of all classes, and the folders that cannot be listed with the reasons."""
    classes = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not classes:
        raise DataError(
            f"{folder} has no sub-folders; expected one for each class, with its videos. Or give a CSV list with the "
            f"columns {' and '.join(_COLUMNS)}."
        )
    corpus = find_videos(folder)
    found = list(corpus.segments)
    both = [
        name for name, kept in corpus.left_out.repeats if _class_of(folder, name) != _class_of(folder, kept)
    ]
    if both:
        raise DataError(
            f"{folder} has some videos in two classes, as links: {_named(both)}. Keep each in one."
        )
    loose = [segment.path.name for segment in found if segment.path.parent == folder]
    if loose:
        raise DataError(
            f"{folder} has videos outside of its classes' folders, so their label is missing: {_named(loose)}. "
            "Move each into the folder of its class."
        )
    labelled = [replace(segment, label=_class_of(folder, segment.path)) for segment in found]
    empty = sorted({child.name for child in classes} - {segment.label for segment in labelled})
    if empty:
        raise DataError(
            f"{folder} has classes without a video: {_named(empty)}. Add videos to them, or remove their folders."
        )
    return labelled, corpus.bad


def _class_of(folder: Path, file: str | Path) -> str:
    return Path(file).relative_to(folder).parts[0]


def _in_list(file: Path) -> list[Segment]:
    if not file.is_file():
        raise DataError(f"No such list: {file}. Give a CSV file with the columns {' and '.join(_COLUMNS)}.")
    table = read_table(file, _COLUMNS, names_a_file(file, (*EXTENSIONS, *IMAGE_EXTENSIONS)))
    check_columns(table, _COLUMNS, "Write 'path,label' as the first line, then one video per line.")
    for name in _TIMES:
        if name in table.names:
            raise DataError(
                f"{file} has a column '{name}', but a label is for a whole video here; cut the videos, or remove "
                "the column."
            )
    segments = []
    paths, labels = (table.columns[name].to_pylist() for name in _COLUMNS)
    for row, (path, label) in enumerate(zip(paths, labels, strict=True)):
        path, label = ("" if value is None else str(value) for value in (path, label))
        if not path or not label:
            missing = "path" if label else "label"
            raise DataError(
                f"{file}, {table.where(row)}: the {missing} of '{path or label}' is missing; write it, or take it out."
            )
        segments.append(Segment(file.parent / path, label=label))
    if not segments:
        raise DataError(f"{file} lists no video; write one a line, as path,label.")
    return segments


def _check_once(source: Path, segments: list[Segment]) -> None:
    """Refuse a video that is listed twice: it could be in the training and the test set."""
    names = defaultdict[str, list[str]](list)
    for segment in segments:
        part = f" ({segment.episode})" if segment.episode is not None else ""
        inside = f" ({segment.member.offset})" if segment.member is not None else ""
        names[os.path.realpath(segment.path) + part + inside].append(segment.name)
    twice = [" and ".join(dict.fromkeys(found)) for found in names.values() if len(found) > 1]
    if twice:
        raise DataError(f"{source} lists some videos more than once: {_named(twice)}. List each once.")


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more

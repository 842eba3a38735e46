"""Paths of a dataset's files, checked to stay inside of the dataset whatever its metadata says."""

from __future__ import annotations

import os
import re
import string
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vjepa_world.errors import DataError
from vjepa_world.files.validation import inner_name

# Format of a number in a file's name: empty, or a width of at most two digits, with or without leading zeros.
_NUMBER_FORMAT = re.compile(r"(0?[1-9][0-9]?)?d?")

_TEXT = "video_key"  # the only placeholder that is not a number


class ContainedFolder:
    """A dataset's folder; it returns the paths of its files and refuses those that lead out of it.

    Symbolic links may lead anywhere inside, and from a snapshot of the Hugging Face cache to the blobs of the same
    repository.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._allowed = (os.path.realpath(self.path), *_blobs(self.path))
        self._checked: set[str] = set()

    def file(self, relative: str | Path, named_in: str = "") -> Path:
        """Return the path of a file, which need not exist.

        Args:
            relative: Its path relative to the folder.
            named_in: Where that path comes from, for messages.

        Raises:
            DataError: It is absolute, climbs with `..`, or a symbolic link leads out of the dataset.
        """
        text = str(PurePosixPath(relative))
        try:
            inner_name(text, named_in or "the path")
        except DataError as error:
            raise DataError(
                f"{self.path}: {error} Paths of a dataset must stay inside its folder; correct the metadata, or take "
                "it from another source."
            ) from error
        path = self.path / text
        self.check(path)
        return path

    def check(self, path: Path) -> None:
        """Check that links on a path in the folder do not lead out.

        Raises:
            DataError: They do.
        """
        # Links among a file's folders are checked once for all files in them.
        folder = os.path.dirname(path)
        if folder not in self._checked:
            self._check_real(path, os.path.realpath(folder))
            self._checked.add(folder)
        if os.path.islink(path):
            self._check_real(path, os.path.realpath(path))

    def _check_real(self, path: Path, real: str) -> None:
        if not any(real == root or real.startswith(root.rstrip(os.sep) + os.sep) for root in self._allowed):
            raise DataError(
                f"{path} is, by a symbolic link, {real}, which lies outside of the dataset {self.path}. Copy what the "
                "link leads to into the dataset, or take the dataset from another source."
            )


def _blobs(path: Path) -> list[str]:
    """Return where the Hugging Face cache stores the content of a snapshot's files: `REPOSITORY/blobs`."""
    found = []
    for root in {Path(os.path.abspath(path)), Path(os.path.realpath(path))}:
        for folder in (root, *root.parents):
            repository = folder.parent.parent
            if folder.parent.name == "snapshots" and (repository / "blobs").is_dir():
                blobs = os.path.realpath(repository / "blobs")
                # If blobs were a link, it could lead anywhere.
                found += [blobs] if blobs == os.path.join(os.path.realpath(repository), "blobs") else []
    return found


@dataclass(frozen=True)
class PathTemplate:
    """A path of a dataset's files with known placeholders; made by `read`."""

    text: str

    @classmethod
    def read(
        cls, text: object, *, key: str, where: Path, allowed: Collection[str], needed: Collection[str]
    ) -> PathTemplate:
        """Check and return a template from a file's metadata.

        Args:
            text: The file's value.
            key: The name of the entry, for messages.
            where: The file, for messages.
            allowed: Placeholders that it may have.
            needed: Placeholders that it must have, since otherwise several files would have one path.

        Raises:
            DataError: It is not text, has an unknown placeholder or one with another format than a number with leading
                zeros, or lacks a needed one.
        """
        words = ", ".join(f"{{{name}}}" for name in allowed)
        expected = (
            f"expected a path with no other placeholders than {words}, such as {{{next(iter(allowed))}:03d}}"
        )
        if not isinstance(text, str) or not text or len(text) > 1000:
            raise DataError(f"{where}: {key} is {str(text)[:80]!r}, {expected}. Copy the metadata again.")
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise DataError(
                f"{where}: {key} '{text[:80]}' is not a template ({error}); {expected}."
            ) from error
        names = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
        for name, spec, conversion in names:
            known_format = not spec or (name != _TEXT and _NUMBER_FORMAT.fullmatch(spec))
            if name not in allowed or conversion or not known_format:
                raise DataError(
                    f"{where}: {key} '{text[:80]}' has a placeholder that is not known or is formatted in another way "
                    f"('{str(name)[:40]}'); {expected}. Correct the entry."
                )
        missing = [name for name in needed if name not in {name for name, _, _ in names}]
        if missing:
            raise DataError(
                f"{where}: {key} '{text[:80]}' has no {{{missing[0]}}}: several files would be one. Correct the entry."
            )
        return cls(text)

    def fill(self, **values: int | str) -> str:
        """Return the relative path with these values in place of the placeholders."""
        return self.text.format(**values)

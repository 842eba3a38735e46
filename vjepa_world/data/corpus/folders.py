"""Walks folders: each real folder once, whatever symbolic links lead to it; unreadable folders are reported.

So a link to a parent folder causes neither an endless search nor duplicates, and a folder without permission is not
skipped silently.
"""

from __future__ import annotations

import fnmatch
import glob
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

#: Device and inode, which identify a folder or file independent of its names.
Identity = tuple[int, int]


@dataclass
class WalkLog:
    """The state of one or several walks.

    Attributes:
        seen: The folders that were listed; none is listed again.
        unreadable: Path and reason of each folder or entry that could not be read.
    """

    seen: set[Identity] = field(default_factory=set)
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def report(self, path: str, error: OSError) -> None:
        """Record a path that could not be read."""
        reason = error.strerror or type(error).__name__
        self.unreadable.append(
            (
                path,
                f"Cannot list {path}: {reason}. Allow it to be read (chmod u+rx), or take it out of the data.",
            )
        )


def walk(
    root: str | os.PathLike[str], walked: WalkLog | None = None
) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield every folder from `root` down, with the names of its folders and of its other entries, both sorted.

    Symbolic links are followed. A folder is listed once, by its own path if that is below `root`: linked folders come
    last. Folders that the caller removes from the list are not entered.

    Args:
        root: The first folder.
        walked: Shared by walks that must not list a folder twice; it also records what could not be read.
    """
    walked = walked if walked is not None else WalkLog()
    own, linked = [os.fspath(root)], deque[str]()
    while own or linked:
        folder = own.pop() if own else linked.popleft()
        try:
            identity = identity_of(os.stat(folder))
            if identity in walked.seen:
                continue
            with os.scandir(folder) as entries:
                listing = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            walked.report(folder, error)
            continue
        walked.seen.add(identity)
        folders, links, others = _classified(listing, walked)
        yield folder, folders, others
        own += [os.path.join(folder, name) for name in reversed(folders) if name not in links]
        linked += [os.path.join(folder, name) for name in folders if name in links]


def identity_of(state: os.stat_result) -> Identity:
    """Return the identity of a folder or file."""
    return state.st_dev, state.st_ino


def _classified(listing: list[os.DirEntry[str]], walked: WalkLog) -> tuple[list[str], set[str], list[str]]:
    """Return the names of folders, of those that are links, and of all other entries."""
    folders: list[str] = []
    others: list[str] = []
    links: set[str] = set()
    for entry in listing:
        try:
            is_folder = entry.is_dir()
            if is_folder and entry.is_symlink():
                links.add(entry.name)
        except OSError as error:  # a circular link, or one through a folder without permission
            walked.report(entry.path, error)
            continue
        (folders if is_folder else others).append(entry.name)
    return folders, links, others


def expand_glob(pattern: str, walked: WalkLog | None = None) -> list[str]:
    """Return the paths that match a glob, sorted; `**` matches a folder and all folders below it.

    Hidden names match only if the pattern has their dot.

    Args:
        pattern: A pattern with `*`, `?`, `[...]` and `**`.
        walked: Records what could not be read; folders seen before are listed again.
    """
    walked = walked if walked is not None else WalkLog()
    path = Path(pattern)
    found = [path.anchor]
    for part in path.parts[1 if path.anchor else 0 :]:
        if part == "**":
            found = [folder for root in found for folder in _below(root or ".", walked)]
        elif glob.has_magic(part):
            found = [os.path.join(root, name) for root in found for name in _matching(root, part, walked)]
        else:
            found = [name for root in found if os.path.lexists(name := os.path.join(root, part))]
    return sorted(set(found))


def _below(root: str, walked: WalkLog) -> Iterator[str]:
    """Yield a folder and those below it, without hidden ones."""
    if not os.path.isdir(root):
        return
    for folder, folders, _ in walk(root, WalkLog(unreadable=walked.unreadable)):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield folder


def _matching(folder: str, part: str, walked: WalkLog) -> list[str]:
    try:
        names = os.listdir(folder or ".")
    except NotADirectoryError:
        return []
    except OSError as error:
        walked.report(folder, error)
        return []
    return [
        name for name in names if fnmatch.fnmatchcase(name, part) and (name[0] != "." or part.startswith("."))
    ]

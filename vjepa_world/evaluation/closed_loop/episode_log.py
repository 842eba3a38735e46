"""The file `episodes.jsonl` of an evaluation: a line of numbers for each episode of each policy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vjepa_world.evaluation.closed_loop.episode import Episode
from vjepa_world.evaluation.statistics import EvaluationError

EPISODES_FILE = "episodes.jsonl"


class EpisodeLog:
    """Writes episodes as they end.

    Args:
        folder: The run's.
    """

    def __init__(self, folder: Path) -> None:
        self._stream = (folder / EPISODES_FILE).open("w", encoding="utf-8")

    def add(self, policy: str, episode: Episode, video: str = "") -> None:
        """Append an episode of a policy, with the path of its video in the run folder."""
        line = {"policy": policy, "video": video, **episode.as_json()}
        self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


@dataclass(frozen=True)
class LoggedEpisode:
    """A line of the file.

    Attributes:
        policy: Name of the policy.
        video: Path of the video in the run folder; empty if there is none.
        episode: The numbers.
    """

    policy: str
    video: str
    episode: Episode


def read_episodes(folder: Path) -> list[LoggedEpisode]:
    """Return the episodes of an evaluation, by policy in the order in which they ran and then by pair.

    Raises:
        EvaluationError: If there is no file, or a line is broken.
    """
    path = folder / EPISODES_FILE
    if not path.is_file():
        raise EvaluationError(
            f"{folder} has no {EPISODES_FILE}; give the folder of a run of evaluate or demo."
        )
    found = list(_lines(path))
    order = list(dict.fromkeys(line.policy for line in found))
    return sorted(found, key=lambda line: (order.index(line.policy), line.episode.index))


def evaluated(lines: Sequence[LoggedEpisode]) -> list[LoggedEpisode]:
    """Return the episodes of the evaluated policy, which runs first."""
    return [line for line in lines if line.policy == lines[0].policy]


def _lines(path: Path) -> Iterator[LoggedEpisode]:
    with path.open(encoding="utf-8") as stream:
        for number, text in enumerate(stream, start=1):
            try:
                values = json.loads(text)
                policy, video = values.pop("policy"), values.pop("video")
                yield LoggedEpisode(policy, video, Episode.from_json(values))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise EvaluationError(
                    f"line {number} of {path} is broken ({error!r}); evaluate again to write it."
                ) from error

"""Leakage: pairs of an evaluation that the checkpoint's training, or the choice of its settings, has seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vjepa_world.data.training_record import USES, hash_number, recorded_seeds, unpack
from vjepa_world.errors import counted
from vjepa_world.evaluation.closed_loop.environment import Pair

_WORDS = {"trained": "was trained on", "held_out": "held out to tune"}


@dataclass(frozen=True)
class SeenPairs:
    """Pairs that one command has seen.

    Attributes:
        command: The command that made the checkpoint, or its encoder.
        use: trained, or held_out (seen by validation).
        pairs: Indices of the pairs.
    """

    command: str
    use: str
    pairs: tuple[int, ...]


@dataclass(frozen=True)
class Leakage:
    """What was found.

    Attributes:
        pairs: Number of pairs of the evaluation.
        checked: Commands that record their episodes, with the number of episodes that they have seen.
        unknown: Commands that do not record them: made by an earlier release, or from other data.
        seen: The pairs that were seen.
    """

    pairs: int
    checked: Mapping[str, int]
    unknown: tuple[str, ...]
    seen: tuple[SeenPairs, ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """Indices of all pairs that were seen, in order."""
        return tuple(sorted({index for part in self.seen for index in part.pairs}))

    @property
    def text(self) -> str:
        """The finding in words."""
        recorded = ", ".join(f"{name} {counted(count, 'episode')}" for name, count in self.checked.items())
        unknown = ""
        if self.unknown:
            unknown = f" Not known: the episodes of {' and '.join(self.unknown)}, which the checkpoint does not record."
        if self.seen:
            parts = "; ".join(f"{part.command} {_WORDS[part.use]} {len(part.pairs)}" for part in self.seen)
            return (
                f"LEAKAGE: {len(self.indices)} of {counted(self.pairs, 'pair')} are known to the checkpoint ({parts}). "
                "Its success rate is not one of unseen pairs; evaluate on others, with another seed= or manifest=."
                f"{unknown}"
            )
        if not self.checked:
            return f"Leakage could not be checked.{unknown}"
        return f"No pair was seen in training (recorded: {recorded}).{unknown}"

    def as_json(self) -> dict[str, Any]:
        """Return it as `result.json` holds it."""
        return {
            "leaks": bool(self.seen),
            "pairs": list(self.indices),
            "seen": [{"command": p.command, "use": p.use, "pairs": list(p.pairs)} for p in self.seen],
            "checked": dict(self.checked),
            "unknown": list(self.unknown),
            "text": self.text,
        }


def find_leakage(provenance: Mapping[str, Any], environment: str, pairs: Sequence[Pair]) -> Leakage:
    """Return which pairs the training of a checkpoint has seen.

    A pair counts as seen if its recorded episode was used, or an episode of the same environment with the same seed; in
    another variation too, since much of a scene follows from the seed alone.

    Args:
        provenance: The checkpoint's. It has that of its encoder under `encoder`.
        environment: Gymnasium id.
        pairs: The pairs of the evaluation.

    Raises:
        DataError: If the record is damaged.
    """
    checked: dict[str, int] = {}
    unknown, seen = [], []
    for command, stage in _stages(provenance):
        if "environments" not in stage:
            unknown.append(command)
            continue
        checked.setdefault(command, 0)
        by_use = recorded_seeds(stage, environment)
        for use in USES:
            hashes = unpack(stage.get("episodes", {}).get(use, ()))
            checked[command] += max(len(hashes), sum(len(unpack(e[use])) for e in stage["environments"]))
            found = tuple(
                index
                for index, pair in enumerate(pairs)
                if pair.seed in by_use[use] or hash_number(pair.episode) in hashes
            )
            if found:
                seen.append(SeenPairs(command, use, found))
    return Leakage(len(pairs), checked, tuple(unknown), tuple(seen))


def _stages(provenance: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the command that made a checkpoint with what it records, and then those that made its encoder.

    The encoder may be that of another world model: its command is then told apart from the same one of the checkpoint.
    """
    stage: Any = provenance
    while isinstance(stage, Mapping) and stage:
        command = str(stage.get("verb", "its training"))
        is_again = stage is not provenance and command == provenance.get("verb")
        yield f"the encoder's {command}" if is_again else command, stage
        stage = stage.get("encoder")

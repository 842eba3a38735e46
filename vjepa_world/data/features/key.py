"""The key of a feature cache: everything that determines the features of a dataset's frames.

Shapes: F frames, N tokens per frame, D width, s side of a thumbnail [pixels].
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import ConfigError, DataError

#: Part of every key: caches in another layout are not used.
LAYOUT = 1

#: What it means if a part differs.
_CAUSES = {
    "layout": "another version of this program wrote them",
    "encoder": "the encoder has other weights",
    "preprocessing": "frames are preprocessed differently",
    "dataset": "the dataset's files have changed since, or it is another dataset",
    "cameras": "other cameras were asked for",
    "tokens": "a frame has another number of tokens",
    "width": "tokens have another width",
    "thumbnail": "other thumbnails were asked for",
}


@dataclass(frozen=True, kw_only=True)
class FeatureKey:
    """Identifies the features of a dataset.

    Attributes:
        encoder: Hash of the encoder's weights.
        preprocessing: How frames become its input, and how its output is processed, in words.
        dataset: The dataset's fingerprint.
        cameras: The encoded cameras.
        tokens: N.
        width: D.
        thumbnail: s [pixels]; 0 stores no thumbnails.

    Raises:
        ConfigError: A number is out of range, or no camera is named.
    """

    encoder: str
    preprocessing: str
    dataset: str
    cameras: tuple[str, ...]
    tokens: int
    width: int
    thumbnail: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ConfigError(
                f"cameras of a feature cache are {list(self.cameras)}; name at least one, each once."
            )
        for name, least in (("tokens", 1), ("width", 1), ("thumbnail", 0)):
            if getattr(self, name) < least:
                raise ConfigError(
                    f"{name} of a feature cache is {getattr(self, name)}; give at least {least}."
                )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one row, all cameras together."""
        return len(self.cameras) * (2 * self.tokens * self.width + 3 * self.thumbnail**2)

    def parts(self) -> dict[str, Any]:
        """Return all parts and the layout as JSON values."""
        return {"layout": LAYOUT, **dataclasses.asdict(self), "cameras": list(self.cameras)}

    def folder(self, root: Path, dataset: TrajectoryDataset) -> Path:
        """Return the cache's folder under `root`: the dataset's name and a short hash."""
        digest = hashlib.blake2b(json.dumps(self.parts(), sort_keys=True).encode(), digest_size=6)
        return root / f"{dataset.path.resolve().name}-{digest.hexdigest()}"

    def check_matches(self, folder: Path, there: Mapping[str, Any]) -> None:
        """Refuse a folder with the features of another key.

        Args:
            folder: The folder, for messages.
            there: The parts of its key.

        Raises:
            DataError: Parts differ; each is named with both values.
        """
        differing = [
            f"{name} is {there.get(name)!r} there and {here!r} here ({_CAUSES[name]})"
            for name, here in self.parts().items()
            if there.get(name) != here
        ]
        if differing:
            raise DataError(
                f"{folder} holds other features: {'; '.join(differing)}. Give what they were computed with, or build "
                "the features again in another folder."
            )

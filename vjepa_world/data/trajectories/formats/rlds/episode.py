"""An RLDS episode: the features of a TFRecord's Example, split into rows. Shapes: T rows, K numbers of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.images import load_image
from vjepa_world.data.corpus.locations import TarMember
from vjepa_world.data.trajectories import reader_helpers
from vjepa_world.data.trajectories.formats.rlds.tf_example import (
    ByteStrings,
    Feature,
    WireError,
    parse_example,
)
from vjepa_world.data.trajectories.formats.rlds.tfrecord import Record, read_record
from vjepa_world.errors import DataError

_STEPS = "steps/"
_IMAGES = "observation/"
_METADATA = "episode_metadata/"
_IMAGE_STARTS = (b"\xff\xd8\xff", b"\x89PNG")
# Offsets of bit depth and colour type in a PNG's header, and the colour type of grey images.
_PNG_BITS, _PNG_COLOURS, _PNG_GREY = 24, 25, 0
# Features with one entry for each row in all datasets, from which the number of rows is taken.
_FLAGS = ("is_first", "is_last", "is_terminal", "reward", "discount")


@dataclass(frozen=True)
class RLDSEpisode:
    """An episode, read and parsed.

    Attributes:
        record: Its location.
        features: Features by name, those of the steps without `steps/`: byte strings, float32 `[n]` or int64 `[n]`.
        data: The record's bytes.
    """

    record: Record
    features: Mapping[str, Feature]
    data: bytes

    @classmethod
    def read(cls, record: Record) -> RLDSEpisode:
        """Read a record and compare its checksums.

        Raises:
            DataError: It is damaged, or no Example.
        """
        data = read_record(record)
        try:
            found = parse_example(data)
        except WireError as error:
            raise DataError(f"{record} is not a tf.train.Example ({error}). Give RLDS episodes.") from error
        return cls(record, {name.removeprefix(_STEPS): feature for name, feature in found.items()}, data)

    @property
    def images(self) -> list[str]:
        """Names of the features with JPEG or PNG images, without `observation/`."""
        return sorted(
            name.removeprefix(_IMAGES)
            for name, feature in self.features.items()
            if isinstance(feature, ByteStrings)
            and name.startswith(_IMAGES)
            and feature.first(self.data).startswith(_IMAGE_STARTS)
        )

    def is_depth(self, camera: str) -> bool:
        """Return whether a camera's images are depth maps: by its name, or by 16-bit grey pixels."""
        feature = self.features.get(_IMAGES + camera)
        head = feature.first(self.data)[: _PNG_COLOURS + 1] if isinstance(feature, ByteStrings) else b""
        is_png = head.startswith(_IMAGE_STARTS[1]) and len(head) > _PNG_COLOURS
        return "depth" in camera.lower() or (
            is_png and head[_PNG_BITS] == 16 and head[_PNG_COLOURS] == _PNG_GREY
        )

    def left_out(self, used: tuple[str, ...]) -> dict[str, str]:
        """Return the reasons for step features that are neither images, numbers nor instructions, by name."""
        images, columns = self.images, self.other_columns(used)
        found = {}
        for name, feature in self.features.items():
            if name in (*used, *columns) or name.startswith(_METADATA) or "language_instruction" in name:
                continue
            if isinstance(feature, np.ndarray):
                found[name] = f"{len(feature)} numbers, not as many for each of {self.num_rows} steps"
            elif name.removeprefix(_IMAGES) not in images or not name.startswith(_IMAGES):
                start = feature.first(self.data)[:8]
                found[name] = (
                    f"{len(feature)} byte strings that are not JPEG or PNG images (the first begins {start!r})"
                )
        return found

    @cached_property
    def num_rows(self) -> int:
        """Number of steps, from its flags or its images.

        Raises:
            DataError: It has neither.
        """
        for name in (*_FLAGS, *(_IMAGES + name for name in self.images)):
            feature = self.features.get(name)
            if feature is not None and len(feature):
                return len(feature)
        raise DataError(
            f"{self.record} does not contain its number of steps: it has neither {', '.join(_FLAGS)} nor images. "
            f"Its features: {', '.join(sorted(self.features)) or 'none'}."
        )

    def table(self, name: str, size: int | None = None) -> np.ndarray:
        """Return a numeric feature `[T, K]`.

        Raises:
            DataError: It is missing, does not fit the rows or `size`, or a number is not finite.
        """
        feature = self.features.get(name)
        if not isinstance(feature, np.ndarray):
            numeric = [key for key, value in self.features.items() if isinstance(value, np.ndarray)]
            raise DataError(
                f"{self.record} has no numbers called '{name}'. Choose others with state= and action=; numeric "
                f"features: {', '.join(sorted(numeric)) or 'none'}."
            )
        if len(feature) % self.num_rows or not len(feature):
            raise DataError(
                f"{self.record}: {name} has {len(feature)} numbers, which are not as many for each of "
                f"{self.num_rows} steps. Take the episode out, or write it again."
            )
        rows = feature.reshape(self.num_rows, -1)
        return reader_helpers.number_rows(rows, where=str(self.record), what=name, size=size)

    def spans(self, camera: str) -> np.ndarray:
        """Return first byte and length of a camera's images in the record, int64 `[T, 2]`.

        Raises:
            DataError: There is not one for each row.
        """
        feature = self.features.get(_IMAGES + camera)
        count = len(feature) if isinstance(feature, ByteStrings) else 0
        if not isinstance(feature, ByteStrings) or count != self.num_rows:
            raise DataError(
                f"{self.record}: camera {camera} has {count} images, and the episode has {self.num_rows} rows. Take "
                "the episode out, or write it again."
            )
        return feature.spans

    def is_blank(self, camera: str) -> bool:
        """Return whether a camera's first image has a single colour, a placeholder if none was recorded."""
        first = decode(self.record, {camera: self.spans(camera)}, camera, np.zeros(1, np.int64))
        return bool((first == first[..., :1, :1]).all())

    @property
    def task(self) -> str:
        """The instruction in words; empty if there is none."""
        for name in sorted(self.features):
            feature = self.features[name]
            if "language_instruction" in name and isinstance(feature, ByteStrings):
                text = feature.first(self.data).decode("utf-8", errors="replace").strip()
                if text:
                    return text
        return ""

    @property
    def success(self) -> bool | None:
        """Whether the episode succeeded; None if its metadata do not say."""
        feature = self.features.get(f"{_METADATA}success")
        return bool(feature[0]) if isinstance(feature, np.ndarray) and len(feature) else None

    def other_columns(self, used: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Return the other numeric features with the same number of values for each row, `[T, K]` each."""
        return {
            name: feature.reshape(self.num_rows, -1)
            for name, feature in self.features.items()
            if isinstance(feature, np.ndarray)
            and name not in used
            and not name.startswith(_METADATA)
            and len(feature)
            and len(feature) % self.num_rows == 0
        }


def decode(record: Record, spans: Mapping[str, np.ndarray], camera: str, rows: np.ndarray) -> Tensor:
    """Return a camera's images at rows `[N]`, uint8 `[N, C, H, W]`; each is decoded once.

    Raises:
        DataError: One cannot be decoded, or has another size than the others.
    """
    once, back = np.unique(rows, return_inverse=True)
    images: list[Tensor] = []
    for row in once:
        start, size = spans[camera][row].tolist()
        label = f"episode {record.index}, {camera}, row {row}"
        images.append(load_image(TarMember(record.file, label, record.offset + start, size)))
        if images[-1].shape != images[0].shape:
            raise DataError(
                f"{record.file}/{label} is {tuple(images[-1].shape)}, and {tuple(images[0].shape)} at row "
                f"{once[0]}. Take the episode out, or write it again."
            )
    return torch.stack(images)[torch.from_numpy(back)]

"""The configuration of a family of block masks. Imports no torch, so that `--help` is fast."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """One family of blocks: rectangles that hide the same part of the frame at all times.

    Attributes:
        num_blocks: Number of blocks of a clip.
        scale: Share of the frame's area that each block covers.
        aspect_low: Least height over width.
        aspect_high: Largest height over width.
    """

    num_blocks: int
    scale: float
    aspect_low: float = 0.75
    aspect_high: float = 1.5

    def __post_init__(self) -> None:
        if self.num_blocks < 1 or not 0 < self.scale < 1 or not 0 < self.aspect_low <= self.aspect_high:
            raise ConfigError(
                f"a mask family of num_blocks {self.num_blocks}, scale {self.scale}, aspect {self.aspect_low} to "
                f"{self.aspect_high}; at least one block of a share above 0 and below 1 is hidden, aspects rise."
            )


#: Short- and long-range masks of V-JEPA 2 (arXiv:2506.09985), and of V-JEPA.
VJEPA2_MASKS = (MaskSpec(num_blocks=8, scale=0.15), MaskSpec(num_blocks=2, scale=0.7))

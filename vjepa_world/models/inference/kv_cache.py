"""The KV cache of rollouts: a part that all samples of a problem share, and each sample's own part.

Legend: B problems, R rows (samples of all problems), P and Q past tokens, h heads, d channels per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vjepa_world.models.transformer import KeyValues


@dataclass(frozen=True)
class KVCache:
    """Keys and values of the frames and steps so far, by layer.

    Attributes:
        shared: Of the context's frames, which the samples of a problem share, `[h, B, P, d]`; empty for none.
        own: Of the steps that each sample has made, `[h, R, Q, d]`; empty for none.
        steps: Number of frames and steps.
    """

    shared: Sequence[KeyValues] = ()
    own: Sequence[KeyValues] = ()
    steps: int = 0

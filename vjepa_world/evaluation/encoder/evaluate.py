"""Evaluation of frozen encoders on frames at known distances from goals.

```python
frames = goal_frames(env, scenes=15)  # rendered once
for step in range(...):
    ...
    print(evaluate_encoders({"mine": encoder}, frames).metrics()["encoders"][0]["all"])
```
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from planners.protocols import Energy
from vjepa_world.evaluation.encoder.frames import GoalFrames
from vjepa_world.evaluation.encoder.scores import Score, Variant, energies_of, score
from vjepa_world.evaluation.encoder.summary import summarise
from vjepa_world.evaluation.encoder.tokens import Encoder, TokenReader, reader_of
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.planning.build import build_energy
from vjepa_world.planning.config import PlanningConfig


@dataclass(frozen=True, eq=False)
class EncoderResult:
    """The result of an evaluation of encoders.

    Attributes:
        frames: What they were evaluated on, S sets.
        variants: The encoders with their numbers of tokens, in order; the first encoder is compared with the others.
        energies: Of each variant and set, float64 `[M]`.
        scores: Of each variant and set.
    """

    frames: Sequence[GoalFrames]
    variants: Sequence[Variant]
    energies: Sequence[Sequence[Tensor]]
    scores: Sequence[Sequence[Score]]

    def metrics(self) -> dict[str, Any]:
        """Return the metrics, ready for JSON; see :func:`vjepa_world.evaluation.encoder.summary.summarise`."""
        return summarise(self.frames, self.variants, self.scores)


def evaluate_encoders(
    encoders: Mapping[str, Encoder | TokenReader],
    frames: Sequence[GoalFrames],
    *,
    tokens: Sequence[int] = (16, 64),
    energy: Energy | None = None,
    device: torch.device | str = "cpu",
    on_set: Callable[[], object] = lambda: None,
) -> EncoderResult:
    """Measure how well the energy of real frames orders them by their distance to a goal, for several encoders.

    The energy is that which planning minimises, with the tokens of real frames where a planner has predicted ones: what
    would be left if the predictor were perfect.

    Args:
        encoders: Encoders by name, on `device`, in evaluation mode; a world model is read as its predictor reads it,
            and controls are `untrained_encoder(config, seed)` and `PixelEncoder(config)`. The first one is compared
            with the others.
        frames: From `goal_frames` or `recorded_frames`.
        tokens: Tokens of a picture, square numbers; one that does not divide an encoder's grid is replaced by the next
            larger one that does.
        energy: What is minimised; None for the default, the mean absolute difference.
        device: Where the encoders are.
        on_set: Called after each set of frames of each encoder.

    Raises:
        EvaluationError: If there are no encoders or frames, cameras do not fit, or an energy is not finite.
        ConfigError: If a number of tokens is not a square.
    """
    if not encoders or not frames:
        raise EvaluationError(
            f"got {len(encoders)} encoders and {len(frames)} sets of frames; give at least one of each."
        )
    energy = build_energy(PlanningConfig()) if energy is None else energy
    variants, energies = list[Variant](), list[list[Tensor]]()
    for name, encoder in encoders.items():
        reader = reader_of(encoder, tokens, device)
        own: list[list[Tensor]] = [[] for _ in reader.counts]
        for entry in frames:
            values, widths = energies_of(reader, entry, energy)
            for of_size, value in zip(own, values, strict=True):
                of_size.append(value)
            on_set()
        variants += [
            Variant(encoder=name, tokens=count, width=width)
            for count, width in zip(reader.counts, widths, strict=True)
        ]
        energies += own
    scores = [
        [score(values, entry.distances) for values, entry in zip(row, frames, strict=True)]
        for row in energies
    ]
    return EncoderResult(frames, variants, energies, scores)

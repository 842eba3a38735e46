"""Options of commands that read a checkpoint of any format: which weights, and settings that a file lacks."""

from __future__ import annotations

from typing import Any, Literal, Protocol

MetaWeights = Literal["encoder", "target_encoder", "ema_encoder"]


class CheckpointOptions(Protocol):
    """The options, as a command's configuration has them."""

    @property
    def weights(self) -> MetaWeights | None:
        """Which encoder of a Meta file."""
        ...

    @property
    def encoder(self) -> dict[str, Any]:
        """Keys of the encoder's architecture."""
        ...

    @property
    def predictor(self) -> dict[str, Any]:
        """Keys of the predictor's architecture."""
        ...


def reading_options(config: CheckpointOptions) -> dict[str, Any]:
    """Return the keyword arguments of :func:`vjepa_world.pretrained.read_checkpoint` after the source."""
    return {"weights": config.weights, "encoder": config.encoder, "predictor": config.predictor}

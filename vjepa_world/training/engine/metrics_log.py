"""`metrics.jsonl` and TensorBoard: one line for each logged step; a resumed run continues both."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from vjepa_world.files.atomic import write_text_atomic
from vjepa_world.runs import METRICS_FILE, read_metrics

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)


class MetricsLog:
    """Appends metrics to `metrics.jsonl` and to TensorBoard events in a run folder."""

    def __init__(self, folder: Path, start_step: int) -> None:
        """Open the log; lines of steps that a resumed run repeats are removed."""
        self.path = folder / METRICS_FILE
        if self.path.exists():
            kept = [line for line in read_metrics(folder) if line["step"] < start_step]
            write_text_atomic(self.path, "".join(f"{json.dumps(line)}\n" for line in kept))
        self._events = _tensorboard_writer(folder / "tensorboard", start_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log the metrics of a step, with nine digits, which distinguish all float32 numbers.

        A metric that is not finite is left out, since JSON cannot express it.
        """
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        shown = {name: float(f"{value:.9g}") for name, value in finite.items()}
        with self.path.open("a") as stream:
            stream.write(json.dumps({"step": step, **shown}) + "\n")
        if self._events is not None:
            for name, value in finite.items():
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's events."""
        if self._events is not None:
            self._events.close()


def _tensorboard_writer(folder: Path, start_step: int) -> SummaryWriter | None:
    """Return the writer of TensorBoard's events; None, and one line in the log, where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ModuleNotFoundError:
        logger.info(
            "TensorBoard is not installed (pip install 'vjepa-world[tensorboard]'): metrics go to %s alone",
            METRICS_FILE,
        )
        return None
    return SummaryWriter(str(folder), purge_step=start_step)

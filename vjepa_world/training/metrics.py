"""`metrics.jsonl` and TensorBoard: one line a logged step, continued by a resumed run without a seam."""

from __future__ import annotations

import json
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """Appends figures to `metrics.jsonl` and to TensorBoard events in a run folder."""

    def __init__(self, folder: Path, start_step: int) -> None:
        """Open the log; lines of steps that a resumed run does again are dropped."""
        self.path = folder / "metrics.jsonl"
        if self.path.exists():
            lines = [line for line in self.path.read_text().splitlines() if _step(line) < start_step]
            self.path.write_text("".join(f"{line}\n" for line in lines))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=start_step)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Log the figures of a step."""
        with self.path.open("a") as stream:
            stream.write(
                json.dumps({"step": step, **{name: round(v, 6) for name, v in values.items()}}) + "\n"
            )
        for name, value in values.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush TensorBoard's events."""
        self._events.close()


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError):  # the half-written last line of a killed run
        return 1 << 62

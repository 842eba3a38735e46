"""`probe`: how much a frozen encoder's features reveal, measured on held-out videos or episodes."""

from __future__ import annotations

import shlex
from typing import Any

from vjepa_world.errors import counted
from vjepa_world.training.probe.config import ProbeRunConfig

Config = ProbeRunConfig


def run(config: ProbeRunConfig) -> None:
    """Encode the clips once, train all probes, and print the best one's metrics on the test videos."""
    from vjepa_world.training.probe.train_probe import train_probe

    result = train_probe(config)
    print(_sentence(result.metrics))
    word = shlex.quote(str(result.folder))
    print(f"probe in {result.folder}; try it with: vjepa-world predict VIDEO --probe {word}")


def _sentence(metrics: dict[str, Any]) -> str:
    """Return the metrics in one line."""
    test, baseline, chosen = metrics["test"], metrics["test"]["baseline"], metrics["chosen"]
    word = "accuracy" if "accuracy" in test else "euclidean_error"
    what = "videos" if word == "accuracy" else "episodes"
    noun = f"test {what[:-1]}"

    def figure(values: dict[str, Any]) -> str:
        low, high = values["interval"]
        return f"{values[word]:.4g}" + (f" [{low:.4g}, {high:.4g}]" if low is not None else "")

    return (
        f"{word.replace('_', ' ')} {figure(test)} on {counted(test[what], noun)}; {baseline['what']}: "
        f"{figure(baseline)}; lr {chosen['lr']:g}, weight decay {chosen['weight_decay']:g}"
    )

"""`pretrain`: learn a video encoder from unlabeled clips."""

from __future__ import annotations

import shlex

from vjepa_world.cli.shared.common import refuse_taken_run
from vjepa_world.training.pretrain.config import PretrainConfig

Config = PretrainConfig


def run(config: PretrainConfig) -> None:
    """Train, write checkpoints, and print where they are."""
    refuse_taken_run("pretrain", config)
    from vjepa_world.pretrained.native import find_checkpoint
    from vjepa_world.training.pretrain.pretrain import pretrain

    result = pretrain(config)
    if result.is_main:
        find_checkpoint(result.folder)  # fails if there is none
        word = shlex.quote(f"encoder={result.folder}")
        print(
            f"encoder in {result.folder}; use it frozen with: vjepa-world finetune {word} data.path=DATASET"
        )

"""The files that a step with a non-finite loss leaves behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.training.tiny import fit, pretrain_task, run_folder, trainer_config
from vjepa_world.errors import TrainingError


def test_the_batch_of_a_diverged_step_is_saved(tmp_path: Path) -> None:
    config = trainer_config(steps=20, lr=1e30, warmup=0.0)
    task = pretrain_task(config)
    with pytest.raises(TrainingError, match="stopped before the update") as caught:
        fit(task, config, run_folder(tmp_path))
    [folder] = (tmp_path / "run").glob("nonfinite_step_*")
    assert str(folder) in str(caught.value)
    step = int(folder.name.rpartition("_")[2])
    batch = next(task.batches(step))
    about = json.loads((folder / "step.json").read_text())
    assert about["step"] == step
    assert about["entries"] == list(batch.names)
    assert about["metrics"]["gradient_norm"] in ("nan", "inf")
    [frames] = torch.load(folder / "batch.pt", weights_only=True)
    assert torch.equal(frames, batch.frames)
    with Image.open(folder / "frames.png") as picture:
        assert picture.size == (4 * 32, 4 * 32)  # four frames of four clips
        shown = torch.from_numpy(np.array(picture.crop((32, 64, 64, 96))))
    assert torch.equal(shown, batch.frames[2, 1].permute(1, 2, 0))

"""Train an action-conditioned world model on a LeRobot dataset, with a frozen encoder, and look at its errors."""

from __future__ import annotations

import argparse
from pathlib import Path

import vjepa_world as vw

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("encoder", help="a pretraining run or a checkpoint of any format")
parser.add_argument("dataset", help="a LeRobot dataset (v3.0 or v2.1), or one of any other known format")
parser.add_argument("--run", type=Path, default=Path("runs/finetune/example"), help="the new run folder")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--batch-size", type=int, default=24)
arguments = parser.parse_args()

# What is in the dataset?
dataset = vw.open_trajectories(arguments.dataset)
first = dataset.episode(0)
print(f"{dataset.format}: {dataset.num_episodes} episodes at {dataset.fps:g} frames per second")
print(f"cameras {dataset.cameras}, states {dataset.state_names}, actions {dataset.action_names}")
print(f"episode 0: {len(first)} observations, frames {list(first.frames([0]).shape)}, task {first.task!r}")

config = vw.FinetuneConfig(
    seed=0,
    encoder=arguments.encoder,
    # Windows of 3 frames; a share of the episodes is held out for validation. `convention=vw.Convention(...)` says how
    # the numbers are written where the dataset does not declare it.
    data=vw.TrajectoryDataConfig(path=arguments.dataset, frames=3, val_fraction=0.1),
    # The features of the frozen encoder are computed once and stored here.
    features=vw.FeaturesConfig(root=str(arguments.run.parent / "features")),
    predictor=vw.ActionPredictorConfig(embed_dim=192, depth=4, num_heads=4),
    trainer=vw.TrainerConfig(steps=arguments.steps, batch_size=arguments.batch_size),
)
result = vw.finetune(config, folder=arguments.run)

last = result.metrics()[-1]
print(
    f"validation error {last['val_error']:.3f}; copying the last frame {last['val_copy_last_frame']:.3f}; "
    f"with other actions {last['val_shuffled_actions']:.3f}"
)
print(f"world model in {result.folder}; load it with vw.load_world_model({str(result.folder)!r})")

"""Record a world of stable-worldmodel, train a world model on it, and evaluate it by that package's own code."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import vjepa_world as vw
from planners import CEM, GoalL1

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("world", choices=("push_t", "two_room", "reacher", "cube"))
parser.add_argument("--folder", type=Path, default=Path("runs/stable_worldmodel"), help="a new folder")
parser.add_argument("--recorded", type=int, default=60, help="episodes to train on")
parser.add_argument("--recorded-steps", type=int, default=80, help="their most steps")
parser.add_argument("--steps", type=int, default=400, help="of training")
parser.add_argument("--episodes", type=int, default=50, help="episodes to evaluate")
parser.add_argument("--image-size", type=int, default=64)


def main(arguments: argparse.Namespace) -> None:
    """Record, train and evaluate."""
    spec, size = vw.world_spec(arguments.world), arguments.image_size
    recorded = {
        name: vw.record_world(
            spec,
            arguments.folder / name,
            episodes=episodes,
            steps=arguments.recorded_steps,
            seed=seed,
            image_size=size,
        )
        # Starts and goals come from episodes that the model was not trained on.
        for name, episodes, seed in (
            ("train", arguments.recorded, 0),
            ("test", max(8, arguments.episodes // 2), 10_000),
        )
    }

    config = vw.FinetuneConfig(
        encoder="pixels",  # the features are the pixels of the patches; a real evaluation takes a pretrained encoder
        model=vw.EncoderConfig(
            image_size=size, patch_size=size // 8, num_frames=2, embed_dim=96, depth=1, num_heads=2
        ),
        data=vw.TrajectoryDataConfig(path=str(recorded["train"].lerobot), frames=3),
        latents=vw.LatentsConfig(kind="none"),
        predictor=vw.ActionPredictorConfig(embed_dim=96, depth=2, num_heads=2, predict_state=True),
        inverse=vw.InverseConfig(horizon=0),
        decoder=vw.DecoderConfig(image_size=0),
        features=vw.FeaturesConfig(root=str(arguments.folder / "features")),
        trainer=vw.TrainerConfig(steps=arguments.steps, batch_size=16),
    )
    model = vw.finetune(config, folder=arguments.folder / "finetune").model

    world = spec.make(1, size, 10, recording=False)
    low, high = world.envs.single_action_space.low, world.envs.single_action_space.high
    world.close()
    energy = GoalL1()
    planner = CEM(model, energy=energy, horizon=5, num_samples=64, num_iterations=3, num_elites=8)
    planned = vw.PlannerPolicy(model, planner, energy=energy, action_low=low, action_high=high)

    policies: dict[str, Any] = {"world model": planned, "random actions": vw.RandomPolicy(low, high)}
    for name, policy in policies.items():
        found = vw.evaluate_world(
            spec, recorded["test"].own, policy, episodes=arguments.episodes, image_size=size
        )
        for criterion, (rate, least, most) in (
            ("its own criterion", found.success_rate),
            ("strict", found.strict_rate),
        ):
            print(f"{name}, {criterion}: {rate:.0%}, 95 % interval {least:.0%} to {most:.0%}")
    print(f"{int(found.solved_at_start.sum())} of {arguments.episodes} episodes begin at their goal")


# Processes that read data import this file again: that package makes Python start them anew.
if __name__ == "__main__":
    main(parser.parse_args())

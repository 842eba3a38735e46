"""Plan in a Gymnasium environment of your own: record it, train a world model, reach goal images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np

import vjepa_world as vw
from planners import CEM, GoalL1


class Dot(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """A dot in a square of 1 m moves by at most 10 cm per action; `info` has the goal image and the distance to it."""

    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(0.1, 0.9, (2, 2)).astype(np.float32)
        return self.observation(), {**self.info(), "goal_image": self.image(self.goal)}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.position = np.clip(self.position + action, 0, 1).astype(np.float32)
        info = self.info()
        return self.observation(), -info["distance"], info["success"], False, info

    def observation(self) -> dict[str, Any]:
        return {"image": self.image(self.position), "state": self.position}

    def info(self) -> dict[str, Any]:
        distance = float(np.linalg.norm(self.position - self.goal))
        return {"distance": distance, "success": distance < 0.06}

    def image(self, position: np.ndarray) -> np.ndarray:
        squares = [(np.linspace(0, 1, 32) - at) ** 2 for at in position]
        hill = np.exp(-(squares[0][None, :] + squares[1][:, None]) / 0.08)
        return np.repeat((255 * hill).astype(np.uint8)[..., None], 3, axis=2)


def record(env: Dot, seed: int, steps: int = 20) -> vw.EpisodeArrays:
    """Return an episode of random actions. `vw.LeRobotWriter` would write it to a dataset."""
    actions = np.random.default_rng(seed).uniform(-0.1, 0.1, (steps, 2)).astype(np.float32)
    observations = [env.reset(seed=seed)[0], *(env.step(action)[0] for action in actions)]
    frames, states = (np.stack([seen[key] for seen in observations]) for key in ("image", "state"))
    return vw.EpisodeArrays(frames=frames, states=states, actions=actions)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--run", type=Path, default=Path("runs/finetune/dot"), help="the new run folder")
parser.add_argument("--recorded", type=int, default=100, help="episodes to train on")
parser.add_argument("--steps", type=int, default=500)
parser.add_argument("--episodes", type=int, default=20, help="episodes to evaluate")
arguments = parser.parse_args()

env = Dot()
dataset = vw.InMemoryDataset([record(env, seed) for seed in range(arguments.recorded)], fps=4.0)
config = vw.FinetuneConfig(
    encoder="pixels",  # the features are the pixels of the patches; a real task takes a pretrained encoder
    model=vw.EncoderConfig(image_size=32, patch_size=8, num_frames=2, embed_dim=96, depth=1, num_heads=2),
    latents=vw.LatentsConfig(kind="none"),
    predictor=vw.ActionPredictorConfig(embed_dim=96, depth=2, num_heads=2),
    inverse=vw.InverseConfig(horizon=0),
    decoder=vw.DecoderConfig(image_size=0),
    features=vw.FeaturesConfig(root=str(arguments.run.parent / "features")),
    objective=vw.FinetuneObjective(rollout=1),
    trainer=vw.TrainerConfig(steps=arguments.steps, batch_size=32),
)
model = vw.finetune(config, dataset=dataset, folder=arguments.run).model

energy = GoalL1()
planner = CEM(model, energy=energy, horizon=1, num_samples=64, num_iterations=4, num_elites=8)
low, high = env.action_space.low, env.action_space.high
policy = vw.PlannerPolicy(model, planner, energy=energy, action_low=low, action_high=high)
print(f"one episode: {vw.rollout(env, policy, seed=0, max_actions=20).episode.distances}")
result = vw.evaluate(env, policy, episodes=arguments.episodes, seed=1, max_actions=20)
metrics = result.metrics()
print(
    f"success {result.success_rate:.0%}, 95 % interval {result.interval[0]:.0%} to {result.interval[1]:.0%}; "
    f"random actions {metrics['controls']['random actions']['success_rate']:.0%}"
)

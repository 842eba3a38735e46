"""`plan`: from a picture of now and a picture of the goal to the action to take."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.errors import DataError
from vjepa_world.verbs.common import SHIPPED, PlannerConfig

if TYPE_CHECKING:
    from torch import Tensor


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    defaults = PlannerConfig()
    parser = argparse.ArgumentParser(description="Plan the actions from a picture to a goal picture.")
    parser.add_argument("--image", type=Path, required=True, help="what the camera sees now (PNG or JPEG)")
    parser.add_argument("--goal", type=Path, required=True, help="what it should see")
    parser.add_argument(
        "--state",
        type=float,
        nargs="+",
        required=True,
        metavar="NUMBER",
        help="the robot's state now: x y z [m], extrinsic xyz Euler angles [rad], gripper closure",
    )
    parser.add_argument(
        "--checkpoint", default=SHIPPED, help="a finetune run or checkpoint (default: the shipped one)"
    )
    parser.add_argument("--seed", type=int, default=0, help="where the planner's randomness comes from")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--horizon", type=int, default=defaults.horizon, help="steps planned ahead")
    parser.add_argument(
        "--samples", type=int, default=defaults.num_samples, help="action sequences an iteration"
    )
    parser.add_argument(
        "--iterations", type=int, default=defaults.num_iterations, help="iterations of the search"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Plan, and print the actions with their energy.

    Raises:
        DataError: If an image is missing or no image.
        CheckpointError: If the checkpoint is missing, broken, or of another state size.
    """
    import torch

    from planners import make_generators
    from vjepa_world.training.hardware import resolve_device

    image, goal_image = read_image(arguments.image), read_image(arguments.goal)
    config = PlannerConfig(
        horizon=arguments.horizon,
        num_samples=arguments.samples,
        num_iterations=arguments.iterations,
        num_elites=min(PlannerConfig().num_elites, arguments.samples),
    )
    model, planner, objective = config.build(arguments.checkpoint, resolve_device(arguments.device))
    goal = model.encode_goal(goal_image[None])
    context = model.encode(image[None, None], torch.tensor(arguments.state)[None, None])
    plan = planner.plan(context, goal, generators=make_generators([arguments.seed]))
    here = objective(context.features[:, None], goal, plan.actions.new_zeros(1, 1, 1, plan.actions.shape[-1]))
    result: dict[str, Any] = {
        "actions": [[round(value, 5) for value in step] for step in plan.actions[0].tolist()],
        "energy": plan.energy[0].item(),
        "energy_now": here[0, 0].item(),
    }
    print(json.dumps(result) if arguments.json else _text(result))


def read_image(path: Path) -> Tensor:
    """Return a picture as `[3, H, W]` uint8.

    Raises:
        DataError: If the file is missing or no picture.
    """
    import numpy as np
    import torch
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            pixels = np.array(picture.convert("RGB"))
    except FileNotFoundError as error:
        raise DataError(f"the image {path} does not exist; give a PNG or JPEG file.") from error
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(f"{path} is not a readable image ({error}); give a PNG or JPEG file.") from error
    return torch.from_numpy(pixels).permute(2, 0, 1)


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"action {step}: " + " ".join(f"{value:+.4f}" for value in action)
        for step, action in enumerate(result["actions"], start=1)
    ]
    lines.append(
        f"energy: {result['energy_now']:.4f} now, {result['energy']:.4f} imagined after these actions"
    )
    return "\n".join(lines)

"""`plan`: from a picture of now and a picture of the goal to the action to take."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.config.ranges import SEED
from vjepa_world.errors import ConfigError, DataError, counted
from vjepa_world.planning.config import SHIPPED, PlanningConfig

if TYPE_CHECKING:
    from torch import Tensor

    from vjepa_world.evaluation.imagined_plan import ImaginedPlan
    from vjepa_world.models.config import EmbodimentConfig, WorldModelConfig
    from vjepa_world.models.encoders.preprocessing import Preprocessing
    from vjepa_world.models.world_model import LatentWorldModel

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Config(PlanningConfig):
    """From where to where, and how to search.

    Attributes:
        image: What the camera sees now, PNG or JPEG; for a model of several views one file per view, in the order of
            the cameras in training.
        goal: What the camera should see, likewise.
        state: The robot's state now, written as in training: x y z [m], extrinsic xyz Euler angles [rad], gripper
            closure; or its joints. Left out for a checkpoint that was trained without states.
        checkpoint: A finetune run or a world model's checkpoint; shipped and shipped-objects are in the package.
        seed: Seed of the planner.
        device: auto, cpu, cuda or cuda:N.
        json: Whether to print one JSON object.
        html: Also write a page about the search and the predictions to this file; null for none.
    """

    image: tuple[Path, ...] = field(metadata={"example": "[NOW.png]"})
    goal: tuple[Path, ...] = field(metadata={"example": "[GOAL.png]"})
    state: tuple[float, ...] = ()
    checkpoint: str = SHIPPED
    seed: int = field(default=0, metadata=SEED)
    device: str = "auto"
    json: bool = False
    html: Path | None = None

    def unused(self) -> dict[str, str]:
        """Return the options for executing several plans."""
        return dict.fromkeys(("execution.replan_every", "execution.warm_start"), "a single plan")


def run(config: Config) -> None:
    """Plan, print the actions with their energy, and write the page if asked for.

    Raises:
        DataError: If an image is missing or no image, or no file can be at the page's path.
        CheckpointError: If the checkpoint is missing or broken.
        ConfigError: If the device is not there, the deadline is negative, there are not as many pictures as views, or
            the state is not of the checkpoint's size.
        PlannerError: If a setting of the search is not allowed.
    """
    import torch

    from planners import make_generators
    from vjepa_world.evaluation.imagined_plan import energy_now, imagine_plan
    from vjepa_world.planning.build import load_planner
    from vjepa_world.system.device import resolve_device

    if config.html is not None:
        check_page(config.html)
    images, goals = ([read_image(path) for path in paths] for paths in (config.image, config.goal))
    loaded = load_planner(config.checkpoint, config, resolve_device(config.device))
    model, energy = loaded.model, loaded.energy
    check_state(config.state, model.robot, config.checkpoint)
    image, goal_image = (join_views(views, model.config, model.preprocessing) for views in (images, goals))
    state = torch.tensor(config.state)[None, None]
    clock = [time.perf_counter()]
    goal = model.encode_goal(goal_image[None])
    context = model.encode(image[None, None], state)
    warnings = model.input_warnings(image, state)
    warnings += [w for w in model.input_warnings(goal_image, state, "the goal picture") if w not in warnings]
    for warning in warnings:
        logger.warning("warning: %s", warning)
    context.features.flatten()[0].item()  # wait for the accelerator, which runs asynchronously
    clock.append(time.perf_counter())
    plan = loaded.planner.plan(
        context,
        goal,
        generators=make_generators([config.seed]),
        deadline_s=config.execution.deadline_s or None,
    )
    result: dict[str, Any] = {"actions": _rounded(plan.actions[0]), "energy": plan.energy[0].item()}
    result |= _meaning(model)
    if warnings:
        result["warnings"] = warnings
    clock.append(time.perf_counter())
    result["energy_now"] = energy_now(energy, context, goal, plan, model.hold_action(context))
    if config.html is not None:
        imagined = imagine_plan(model, energy, context, goal, plan, image=image, goal_image=goal_image)
        times_s = (clock[1] - clock[0], clock[2] - clock[1])
        used = replace(config, planner=loaded.options)
        write_page(config.html, used, imagined, times_s, str(model.device))
        result["page"] = str(config.html)
    print(json.dumps(result) if config.json else _text(result))


def check_state(state: Sequence[float], robot: EmbodimentConfig, checkpoint: str) -> None:
    """Check that a state `[S]` has the numbers of a checkpoint's robot.

    Raises:
        ConfigError: If it has others, is missing, or the checkpoint was trained without states.
    """
    if len(state) == robot.state_dim:
        return
    numbers = counted(robot.state_dim, "number")
    if not robot.state_dim:
        raise ConfigError(
            f"state has {counted(len(state), 'number')}, and {checkpoint} was trained without states; leave it out."
        )
    names = f" ({', '.join(robot.state_names)})" if robot.state_names else ""
    raise ConfigError(
        f"state {f'has {len(state)} numbers' if state else 'is not given'}, and {checkpoint} was trained with states "
        f"of {numbers}{names}; give them in the order of the training data."
    )


def check_page(path: Path) -> None:
    """Check that a page can be written, before anything is computed; its folder need not exist.

    Raises:
        DataError: If it is a folder, or below a file.
        MissingLibraryError: If a library that makes pages is not installed.
    """
    from vjepa_world.reports.theme import require

    require()
    if path.is_dir():
        raise DataError(f"html={path} is a folder; give a file in it, such as {path / 'plan.html'}.")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir():
        raise DataError(f"html={path} would lie below {above}, which is a file; give a path below a folder.")


def write_page(
    path: Path,
    config: Config,
    imagined: ImaginedPlan,
    times_s: tuple[float, float],
    device: str,
) -> None:
    """Write the page of a plan; `times_s` are those of encoding and of searching."""
    from vjepa_world.config import flatten
    from vjepa_world.files.atomic import write_text_atomic
    from vjepa_world.reports.pages.plan import plan_page

    settings = {
        "checkpoint": config.checkpoint,
        "picture of now": _names(config.image),
        "picture of the goal": _names(config.goal),
        "state": " ".join(f"{number + 0.0:g}" for number in config.state) or "none",
        "planner": config.planner.kind,
        "horizon [steps]": config.planner.horizon,
        "samples per iteration": config.planner.num_samples,
        "iterations": f"{len(imagined.plan.iterations)} of {config.planner.num_iterations}",
        "seed": config.seed,
        "deadline [s]": config.execution.deadline_s or "none",
        "device": device,
        "time to encode both pictures [s]": times_s[0],
        "time to search [s]": times_s[1],
    }
    subtitle = f"{_names(config.image)} to {_names(config.goal)}, checkpoint: {config.checkpoint}"
    planning = {entry.name for entry in fields(PlanningConfig)}
    options = {key: value for key, value in flatten(config).items() if key.split(".")[0] in planning}
    text = plan_page("Plan", subtitle, imagined, settings, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text_atomic(path, text)


def read_image(path: Path) -> Tensor:
    """Return a picture as `[3, H, W]` uint8, read as every image of a corpus is.

    Raises:
        DataError: If the file is missing or no picture.
    """
    from vjepa_world.data.corpus.images import load_image

    if not path.exists():
        raise DataError(f"the image {path} does not exist; give a PNG or JPEG file.")
    return load_image(path)


def join_views(pictures: Sequence[Tensor], config: WorldModelConfig, preprocessing: Preprocessing) -> Tensor:
    """Return the pictures of a model's views `[3, H, W]` side by side, uint8 `[3, s, V*s]`; a single one as it is.

    Raises:
        ConfigError: If there are not as many as views. One picture may hold all views, if it is as wide as they are.
    """
    import torch

    views = config.views
    if len(pictures) == 1:
        height, width = pictures[0].shape[-2:]
        if views == 1 or width >= views * height:
            return pictures[0]
    if len(pictures) != views:
        sizes = ", ".join(f"{p.shape[-1]} x {p.shape[-2]}" for p in pictures)
        raise ConfigError(
            f"this model has {counted(views, 'view')}, and {counted(len(pictures), 'picture')} "
            f"{'was' if len(pictures) == 1 else 'were'} given ({sizes} pixels); "
            f"give {'one' if views == 1 else f'{views} files'} to --image and to --goal, a camera each, in "
            "the order of training."
        )
    return torch.cat([preprocessing.fit(picture[None])[0] for picture in pictures], dim=-1)


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _rounded(actions: Tensor) -> list[list[float]]:
    return [[round(value, 5) for value in step] for step in actions.tolist()]


#: What a step of a plan is called, by what its actions are.
_STEP_NAMES = {"target": "targets"}


def _meaning(model: LatentWorldModel) -> dict[str, Any]:
    """Return what the numbers of the actions are, as the checkpoint says: delta, target or given, names and units."""
    from vjepa_world.planning.action_axes import space_of

    robot = model.robot
    meaning: dict[str, Any] = {"action_type": robot.action_meaning}
    if robot.action_names:
        names = [axis.name for axis in space_of(model).axes]
        meaning |= {"names": names, "units": list(robot.action_units)}
    return meaning


def _numbers(action: list[float], result: dict[str, Any]) -> str:
    """Return an action's numbers, with names and units where these are known; of choices the one that is taken."""
    if result["action_type"] == "choice":
        return f"choice {action.index(max(action))}"
    if "names" not in result:
        return " ".join(f"{value:+.4f}" for value in action)
    units = result["units"] or [""] * len(action)
    each = zip(result["names"], action, units, strict=True)
    return ", ".join(f"{name} {value:+.4f} {unit}".rstrip() for name, value, unit in each)


def _text(result: dict[str, Any]) -> str:
    lines = [
        f"{_STEP_NAMES.get(result['action_type'], 'action')} {step}: " + _numbers(action, result)
        for step, action in enumerate(result["actions"], start=1)
    ]
    lines.append(
        f"energy: {result['energy_now']:.4f} now, {result['energy']:.4f} imagined after these actions"
    )
    if result["energy"] >= result["energy_now"]:
        lines.append(
            "no action that was tried is imagined to end nearer to the goal than the current image: the goal may be "
            "reached, out of reach within this horizon, or the model too weak"
        )
    if "page" in result:
        lines.append(f"page: {result['page']}")
    return "\n".join(lines)

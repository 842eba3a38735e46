"""What several verbs' configurations share. Free of heavy imports, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from vjepa_world.errors import ConfigError, VJEPAWorldError, nearest

if TYPE_CHECKING:
    import gymnasium
    import torch

    from planners import GoalL1, Planner
    from vjepa_world.evaluation.policies import PlannerPolicy
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.training.distributed import Ranks

VARIATIONS = ("train", "test", "none")
CAMERAS = ("jittered", "fixed")

#: Stands for the checkpoint that comes with the package.
SHIPPED = "shipped"


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The simulated environment.

    Attributes:
        id: Gymnasium id.
        variation: What differs between episodes: train, test (ranges unseen in train) or none.
        camera: jittered (drawn with the scene) or fixed.
        image_size: Height and width of the pictures [pixels].
        max_steps: Actions after which an episode is cut off.
        fps: Actions a second.
    """

    id: str = "vjepa_world/Reach-v0"
    variation: str = "train"
    camera: str = "jittered"
    image_size: int = 128
    max_steps: int = 20
    fps: int = 4

    def __post_init__(self) -> None:
        for name, allowed in (("variation", VARIATIONS), ("camera", CAMERAS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"env.{name} '{value}' is not known; {nearest(value, allowed)}")

    def make(self) -> gymnasium.Env[Any, Any]:
        """Make the environment.

        Raises:
            ConfigError: If the id is not registered.
        """
        import gymnasium

        import envs  # noqa: F401  (registers the ids)

        if self.id not in gymnasium.registry:
            ours = [name for name in gymnasium.registry if name.startswith("vjepa_world/")]
            raise ConfigError(f"env.id '{self.id}' is not registered; {nearest(self.id, ours)}")
        return gymnasium.make(
            self.id,
            variation=self.variation,
            camera=self.camera,
            image_size=self.image_size,
            max_steps=self.max_steps,
        )


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def resume(self) -> bool: ...


def shared_run_folder(verb: str, config: _Named, ranks: Ranks) -> Path:
    """Return the run folder, which the main process makes and the others are told of.

    Raises:
        RunError: If it exists already, or is to be resumed and does not; in every process.
    """
    import torch.distributed as dist

    from vjepa_world.runs import RunError, run_folder

    made: list[Path | str] = [""]
    if ranks.is_main:
        try:
            made = [run_folder(verb, config.name, config.resume, config=config)]
        except VJEPAWorldError as error:
            made = [str(error)]
    if ranks.world_size > 1:
        dist.broadcast_object_list(made)
    if isinstance(made[0], str):
        raise RunError(made[0])
    return made[0]


def provenance(verb: str, config: object) -> dict[str, Any]:
    """Return what a checkpoint remembers of how it was made: the verb, its configuration, the versions."""
    from importlib.metadata import version

    from vjepa_world.config import flatten

    return {
        "verb": verb,
        "config": flatten(config),
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """The cross-entropy method and how it is used while acting.

    Attributes:
        horizon: Steps planned ahead.
        num_samples: Action sequences tried in an iteration.
        num_iterations: Iterations of a search.
        num_elites: Best samples that the next iteration is fitted to.
        momentum_mean: Share of the old mean that is kept.
        momentum_std: Share of the old standard deviation that is kept.
        discount: 0 counts the last imagined step alone, 1 all steps alike.
        replan_every: Actions carried out from one plan.
        warm_start: Whether a search starts from the last plan, shifted.
        propose: Whether it starts from what the checkpoint's inverse model proposes instead.
        camera_rotation_deg: Turns planned motions about the base's z axis before they are carried out,
            counter-clockwise seen from above; `evaluate mode=open_loop` says by how much, where it is needed.
    """

    horizon: int = 1
    num_samples: int = 64
    num_iterations: int = 4
    num_elites: int = 8
    momentum_mean: float = 0.1
    momentum_std: float = 0.1
    discount: float = 0.0
    replan_every: int = 1
    warm_start: bool = True
    propose: bool = False
    camera_rotation_deg: float = 0.0

    def build(self, checkpoint: str, device: torch.device) -> tuple[LatentWorldModel, Planner, GoalL1]:
        """Return a checkpoint's world model, the planner over it, and the energy that it minimises.

        Raises:
            CheckpointError: If the checkpoint is missing or broken.
            ConfigError: If proposals are asked for and it has no inverse model.
        """
        from planners import CEM, GoalL1, Proposing, RecedingHorizon
        from vjepa_world.evaluation.camera_rotation import RotatedPlanner
        from vjepa_world.pretrained import load_world_model, shipped_checkpoint

        model = load_world_model(shipped_checkpoint() if checkpoint == SHIPPED else checkpoint, device=device)
        objective = GoalL1(self.discount)
        cem = CEM(
            model,
            objective=objective,
            horizon=self.horizon,
            num_samples=self.num_samples,
            num_iterations=self.num_iterations,
            num_elites=self.num_elites,
            momentum_mean=self.momentum_mean,
            momentum_std=self.momentum_std,
        )
        planner: Planner = RecedingHorizon(cem, replan_every=self.replan_every, warm_start=self.warm_start)
        if self.propose:
            if model.inverse is None:
                raise ConfigError(
                    f"planner.propose is true, and {checkpoint} has no inverse model; fine-tune with "
                    "inverse.horizon of 1 or more, or leave it out."
                )
            planner = Proposing(planner, lambda context, goal: model.propose(context, goal, self.horizon))
        if self.camera_rotation_deg:
            planner = RotatedPlanner(planner, self.camera_rotation_deg, model)
        return model, planner, objective

    def policy(self, checkpoint: str, env: gymnasium.Env[Any, Any], device: torch.device) -> PlannerPolicy:
        """Return the policy that plans with a checkpoint's world model in an environment.

        Raises:
            CheckpointError: If the checkpoint is missing or broken, or its actions are not the environment's.
        """
        from vjepa_world.evaluation.policies import PlannerPolicy

        model, planner, objective = self.build(checkpoint, device)
        box = cast("gymnasium.spaces.Box", env.action_space)
        return PlannerPolicy(model, planner, objective=objective, action_low=box.low, action_high=box.high)

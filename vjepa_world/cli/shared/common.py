"""What several verbs' configurations share. Free of heavy imports, so that help is quick."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

from vjepa_world.config.ranges import (
    AT_LEAST_ONE,
    DEGREES,
    FACTOR,
    HORIZON,
    PATIENCE_S,
    SAMPLES,
    SHARE,
    STEPS,
    WEIGHT,
)
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.system.packages import check_siblings

if TYPE_CHECKING:
    from collections.abc import Callable

    import gymnasium
    import torch

    from planners import Energy, Planner, RecedingHorizon, WorldModel
    from planners.energies.composition import Composable
    from vjepa_world.evaluation.closed_loop.policies import PlannerPolicy
    from vjepa_world.evaluation.open_loop.camera_rotation import RotatedPlanner
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.runs import RunConfig

VARIATIONS = ("train", "test", "none")
CAMERAS = ("jittered", "fixed")

#: What datasets of `collect` call their robot.
SIMULATED_ROBOT = "panda_simulated"

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
    max_steps: int = field(default=20, metadata=STEPS)
    fps: int = field(default=4, metadata=AT_LEAST_ONE)

    def __post_init__(self) -> None:
        for name, allowed in (("variation", VARIATIONS), ("camera", CAMERAS)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"env.{name} '{value}' is not known; {nearest(value, allowed)}")

    def make(self) -> gymnasium.Env[Any, Any]:
        """Make the environment; a task of another package gets those of the options that its constructor takes.

        Raises:
            ConfigError: If the id is not registered.
        """
        check_siblings("envs")
        import gymnasium
        from gymnasium.envs.registration import load_env_creator

        import envs  # noqa: F401  (registers the ids)

        if self.id not in gymnasium.registry:
            known = [name for name in gymnasium.registry if "/" in name]  # Gymnasium's own have no namespace
            raise ConfigError(f"env.id '{self.id}' is not registered; {nearest(self.id, known)}")
        creator = gymnasium.spec(self.id).entry_point
        maker = load_env_creator(creator) if isinstance(creator, str) else creator
        taken = inspect.signature(cast("Callable[..., Any]", maker)).parameters
        options = ("variation", "camera", "image_size", "max_steps")
        return gymnasium.make(self.id, **{name: getattr(self, name) for name in options if name in taken})


def refuse_taken_run(verb: str, config: RunConfig) -> None:
    """Refuse at once a run that is not free, in a job of one process; of several, one holds it for the others.

    Raises:
        RunError: If it exists already, or is to be resumed and does not, or is in use.
    """
    from vjepa_world.runs import refuse_taken

    if os.environ.get("WORLD_SIZE", "1") == "1":
        refuse_taken(verb, config)


#: Samples and iterations of each kind of planner, where none are given.
BUDGETS = {
    "cem": (64, 4),
    "icem": (32, 3),
    "mppi": (64, 4),
    "gradient": (8, 20),
    "predictive": (64, 4),
    "random": (256, 1),
}
PLANNERS = tuple(BUDGETS)
DISTANCES = ("l1", "l2", "cosine")


@dataclass(frozen=True, kw_only=True)
class PlannerConfig:
    """A planner and how it is used while acting. What its kind does not have may not be given.

    Attributes:
        kind: cem, icem, mppi, gradient, predictive or random; `docs/planning.md` says when to use which.
        horizon: Steps planned ahead.
        num_samples: Action sequences tried in an iteration (of gradient the restarts); null for the kind's own.
        num_iterations: Iterations of a search (of gradient the steps of Adam); null for the kind's own.
        num_elites: Best samples that the next iteration is fitted to (cem, icem), at most as many as there are.
        momentum_mean: Share of the old mean that is kept (cem, icem).
        momentum_std: Share of the old standard deviation that is kept (cem, icem).
        initial_std: First standard deviation in half-widths of the actions' box; 0 for the kind's own.
        noise_exponent: How smooth sequences are drawn (icem); 0 is white noise.
        temperature: How much worse samples count, in standard deviations of the energies (mppi).
        lr: Rate of Adam in half-widths of the box (gradient).
        distance: Of features to the goal's: l1, l2 or cosine.
        discount: 0 counts the last imagined step alone, 1 all steps alike.
        action_penalty: Weight of the actions' mean size beside the distance.
        smoothness: Weight of the mean change from action to action.
        frozen: Axes of the action that are held at zero, as 3,4,5 for no rotation; of targets where they are.
        replan_every: Actions carried out from one plan.
        warm_start: Whether a search starts from the last plan, shifted.
        propose: Whether it starts from what the checkpoint's inverse model proposes, beside the last plan.
        deadline_s: Time for a plan [s], after which the best so far is taken; 0 for as long as it takes.
        precision: auto, float32 or bfloat16: what the predictor imagines in.
        compile: Whether the predictor goes through torch.compile: some faster, after seconds of warming up.
        camera_rotation_deg: Turns planned motions about the base's z axis before they are carried out,
            counter-clockwise seen from above; `evaluate-open-loop` says by how much, where it is needed.
    """

    kind: str = "cem"
    horizon: int = field(default=1, metadata=HORIZON)
    num_samples: int | None = field(default=None, metadata=SAMPLES)
    num_iterations: int | None = field(default=None, metadata=AT_LEAST_ONE)
    num_elites: int = field(default=8, metadata=AT_LEAST_ONE)
    momentum_mean: float = field(default=0.1, metadata=SHARE)
    momentum_std: float = field(default=0.1, metadata=SHARE)
    initial_std: float = field(default=0.0, metadata=FACTOR)
    noise_exponent: float = field(default=2.0, metadata=FACTOR)
    temperature: float = field(default=0.1, metadata=FACTOR)
    lr: float = field(default=0.1, metadata=FACTOR)
    distance: str = "l1"
    discount: float = field(default=0.0, metadata=SHARE)
    action_penalty: float = field(default=0.0, metadata=WEIGHT)
    smoothness: float = field(default=0.0, metadata=WEIGHT)
    frozen: tuple[int, ...] = ()
    replan_every: int = field(default=1, metadata=AT_LEAST_ONE)
    warm_start: bool = True
    propose: bool = False
    deadline_s: float = field(default=0.0, metadata=PATIENCE_S)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    camera_rotation_deg: float = field(default=0.0, metadata=DEGREES)

    def __post_init__(self) -> None:
        for name, allowed in (("kind", PLANNERS), ("distance", DISTANCES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ConfigError(f"planner.{name} '{value}' is not known; {nearest(value, allowed)}")
        if self.replan_every > self.horizon >= 1:
            raise ConfigError(
                f"planner.replan_every is {self.replan_every} and planner.horizon {self.horizon}; no plan has so many "
                "actions. Lower the first or raise the second."
            )
        if self.deadline_s < 0:
            raise ConfigError(f"planner.deadline_s is {self.deadline_s}; it must be 0 (none) or more.")

    def unused(self) -> dict[str, str]:
        """Return what the kind of planner does not have, each with the kind."""
        kinds = {
            "num_elites": ("cem", "icem"),
            "momentum_mean": ("cem", "icem"),
            "momentum_std": ("cem", "icem"),
            "initial_std": ("cem", "icem", "mppi", "predictive"),
            "noise_exponent": ("icem",),
            "temperature": ("mppi",),
            "lr": ("gradient",),
        }
        return {key: f"planner.kind={self.kind}" for key, having in kinds.items() if self.kind not in having}

    @property
    def budget(self) -> tuple[int, int]:
        """Samples of an iteration and iterations: those given, or the kind's own."""
        samples, iterations = BUDGETS[self.kind]
        return (
            samples if self.num_samples is None else self.num_samples,
            iterations if self.num_iterations is None else self.num_iterations,
        )

    def build(
        self, checkpoint: str, device: torch.device, *, embodiment: str | None = None
    ) -> tuple[LatentWorldModel, RecedingHorizon | RotatedPlanner, Energy]:
        """Return a checkpoint's world model, the planner over it, and the energy that it minimises.

        On a processor the process keeps its freed memory from then on (:func:`keep_freed_memory`).

        Raises:
            CheckpointError: If the checkpoint is missing or broken.
            ConfigError: If proposals are asked for and it has no inverse model, or a penalty of actions that are
                targets.
            PlannerError: If a number is not allowed.
        """
        from planners import ProposalPlanner, RecedingHorizon
        from vjepa_world.evaluation.open_loop.camera_rotation import RotatedPlanner
        from vjepa_world.pretrained import load_world_model, shipped_checkpoint
        from vjepa_world.system.device import keep_freed_memory, resolve_precision

        if device.type == "cpu":
            keep_freed_memory()
        source = shipped_checkpoint() if checkpoint == SHIPPED else checkpoint
        model = load_world_model(source, device=device, embodiment=embodiment)
        model.prepare(resolve_precision(self.precision, device), compiled=self.compile)
        if self.action_penalty and model.action_type == "absolute":
            raise ConfigError(
                f"planner.action_penalty is {self.action_penalty:g}, and the actions of {checkpoint} are targets, "
                "whose size is no motion; leave it at 0, or take planner.smoothness."
            )
        energy = self.energy()
        search: Planner = self.search(model, energy)
        if self.propose:
            if model.inverse is None:
                raise ConfigError(
                    f"planner.propose is true, and {checkpoint} has no inverse model; fine-tune with "
                    "inverse.horizon of 1 or more, or leave it out."
                )
            search = ProposalPlanner(search, partial(model.propose, horizon=self.horizon))
        planner = RecedingHorizon(search, replan_every=self.replan_every, warm_start=self.warm_start)
        if self.camera_rotation_deg:
            return model, RotatedPlanner(planner, self.camera_rotation_deg, model), energy
        return model, planner, energy

    def energy(self) -> Energy:
        """Return the energy that is minimised."""
        from planners import ActionPenalty, GoalCosine, GoalL1, GoalL2, Smoothness

        distances: dict[str, Callable[[float], Composable]]
        distances = {"l1": GoalL1, "l2": GoalL2, "cosine": GoalCosine}
        energy: Composable = distances[self.distance](self.discount)
        if self.action_penalty:
            energy = energy + self.action_penalty * ActionPenalty()
        if self.smoothness:
            energy = energy + self.smoothness * Smoothness()
        return energy

    def search(self, model: WorldModel, energy: Energy) -> Planner:
        """Return the planner of this kind over a world model, without what is around it while acting."""
        import planners
        from planners.bounds import HOLD
        from planners.protocols import action_type

        samples, iterations = self.budget
        common: dict[str, Any] = {
            "energy": energy,
            "horizon": self.horizon,
            "num_samples": samples,
            "num_iterations": iterations,
            "fixed": dict.fromkeys(self.frozen, HOLD if action_type(model) == "absolute" else 0.0),
        }
        spread: dict[str, Any] = {"initial_std": self.initial_std} if self.initial_std else {}
        elites: dict[str, Any] = {
            "num_elites": min(self.num_elites, samples) if samples > 0 else self.num_elites,
            "momentum_mean": self.momentum_mean,
            "momentum_std": self.momentum_std,
        }
        if self.kind == "cem":
            return planners.CEM(model, **common, **elites, **spread)
        if self.kind == "icem":
            return planners.ICEM(model, **common, **elites, **spread, noise_exponent=self.noise_exponent)
        if self.kind == "mppi":
            return planners.MPPI(model, **common, **spread, temperature=self.temperature)
        if self.kind == "gradient":
            return planners.GradientDescent(model, **common, lr=self.lr)
        if self.kind == "predictive":
            return planners.PredictiveSampling(model, **common, **spread)
        return planners.RandomShooting(model, **common)

    def policy(self, checkpoint: str, env: gymnasium.Env[Any, Any], device: torch.device) -> PlannerPolicy:
        """Return the policy that plans with a checkpoint's world model in an environment.

        Raises:
            CheckpointError: If the checkpoint is missing or broken, or its actions are not the environment's.
        """
        from vjepa_world.evaluation.closed_loop.policies import PlannerPolicy

        model, planner, energy = self.build(checkpoint, device)
        box = cast("gymnasium.spaces.Box", env.action_space)
        return PlannerPolicy(
            model,
            planner,
            energy=energy,
            action_low=box.low,
            action_high=box.high,
            deadline_s=self.deadline_s or None,
        )

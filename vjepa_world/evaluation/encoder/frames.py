"""Frames at known distances from a goal: rendered once, to be scored by any number of encoders.

Legend: M frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.system.memory import refuse_beyond_memory

#: A rank correlation of fewer says nothing.
LEAST_FRAMES = 3


class StatesAroundGoal(Protocol):
    """Pictures of states of one scene that differ from a goal in one thing; `envs.GoalStates` is one.

    Attributes:
        goal: Name of the goal.
        moved: What is elsewhere than in the goal.
        radius_m: All states are within this distance.
        goal_images: Pictures of the goal, uint8 `[H, W, 3]`, by their names in an observation.
        images: Pictures of the states, uint8 `[M, H, W, 3]`, by the same names.
        distances_m: Distances to the goal, `[M]`.
    """

    goal: str
    moved: str
    radius_m: float
    goal_images: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray]
    distances_m: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class GoalFrames:
    """Frames of one scene at known distances from one goal.

    Attributes:
        scene: Number of the scene, or of the recorded episode: frames of one resemble each other.
        goal: Name of the goal or sub-goal; empty if it has none.
        moved: What differs from the goal.
        within: Largest distance, in `unit`.
        unit: m, or steps.
        goal_views: The goal as each camera sees it, uint8 `[C, H, W]`.
        views: The frames as each camera sees them, uint8 `[M, C, H, W]`.
        distances: To the goal, float64 `[M]`.
        factors: Labels of the scene.

    Raises:
        EvaluationError: If there are too few frames, or not as many of one thing as of another.
    """

    scene: int
    goal: str
    moved: str
    within: float
    unit: str
    goal_views: tuple[Tensor, ...]
    views: tuple[Tensor, ...]
    distances: Tensor
    factors: Mapping[str, bool | str | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {len(self.distances), *(len(view) for view in self.views)}
        if len(counts) > 1 or len(self.distances) < LEAST_FRAMES or len(self.views) != len(self.goal_views):
            raise EvaluationError(
                f"{self.kind} of scene {self.scene} has {len(self.distances)} distances, "
                f"{[len(view) for view in self.views]} frames by camera, and {len(self.goal_views)} pictures of the "
                f"goal; allowed are as many frames as distances, at least {LEAST_FRAMES}, and a goal for each camera."
            )

    @property
    def kind(self) -> str:
        """What is moved, and how far, in words."""
        return f"{self.moved}, {self.within * self.scale:g} {self.shown_unit}"

    @property
    def scale(self) -> float:
        """What distances are multiplied by to be shown."""
        return 100.0 if self.unit == "m" else 1.0

    @property
    def shown_unit(self) -> str:
        """The unit in which distances are shown."""
        return "cm" if self.unit == "m" else self.unit


def goal_frames(
    env: Any,
    *,
    scenes: int = 15,
    states: int = 30,
    radii_m: Sequence[float] = (0.25, 0.08),
    seed: int = 0,
    on_scene: Callable[[], object] = lambda: None,
) -> list[GoalFrames]:
    """Return frames of states around the goals of an environment: of each scene, goal, thing that moves and radius.

    Args:
        env: Has `states_around_goals(count, radii_m, rng)`, which returns a list of :class:`StatesAroundGoal`, as all
            tasks of the simulated arm have.
        scenes: Scenes, drawn by `reset` with the seeds from `seed` on.
        states: M.
        radii_m: Largest distances.
        seed: Source of all randomness.
        on_scene: Called after each scene.

    Raises:
        EvaluationError: If the environment has no such states.
        ConfigError: If the frames do not fit into memory.
    """
    around = getattr(getattr(env, "unwrapped", env), "states_around_goals", None)
    if not callable(around):
        raise EvaluationError(
            f"the environment {env} does not say how to move things around a goal; allowed are tasks of the simulated "
            "arm, and environments with a method states_around_goals. Measure on recorded episodes: data.path=DATASET."
        )
    found: list[GoalFrames] = []
    for scene in range(scenes):
        _, info = env.reset(seed=seed + scene)
        states_of_scene = around(states, tuple(radii_m), np.random.default_rng([seed, scene]))
        if not scene:
            _refuse_too_many(states_of_scene, scenes)
        found += [_frames(entry, scene, info.get("factors", {})) for entry in states_of_scene]
        on_scene()
    return found


def _refuse_too_many(states: Sequence[StatesAroundGoal], scenes: int) -> None:
    size = sum(images.nbytes for entry in states for images in entry.images.values())
    refuse_beyond_memory(
        size * (scenes - 1), f"the frames of {scenes} scenes", "ask for fewer, or for smaller pictures"
    )


def _frames(states: StatesAroundGoal, scene: int, factors: Mapping[str, bool | str | float]) -> GoalFrames:
    cameras = list(states.goal_images)
    return GoalFrames(
        scene=scene,
        goal=states.goal,
        moved=states.moved,
        within=states.radius_m,
        unit="m",
        goal_views=tuple(torch.from_numpy(states.goal_images[name]).permute(2, 0, 1) for name in cameras),
        views=tuple(torch.from_numpy(states.images[name]).permute(0, 3, 1, 2) for name in cameras),
        distances=torch.from_numpy(states.distances_m).double(),
        factors=factors,
    )

"""Small environments of several kinds, registered as `toys/...`; images are drawn with NumPy."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE = 32
PIXELS: spaces.Space[Any] = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
STATE: spaces.Space[Any] = spaces.Box(-2, 2, (2,))


def picture(position: np.ndarray) -> np.ndarray:
    """Return a dark point at a position in [-1, 1]^2, uint8 `[SIZE, SIZE, 3]`."""
    image = np.full((SIZE, SIZE, 3), 200, np.uint8)
    column, row = np.round((np.clip(position, -1, 1) + 1) / 2 * (SIZE - 5)).astype(int)
    image[row : row + 4, column : column + 4] = (180, 30, 30)
    return image


class Point(gymnasium.Env[Any, Any]):
    """A point that moves by its action.

    Args:
        keys: What observations have: image, state, and images of the further cameras wrist, main and above.
        choices: Discrete actions from `start` on: stay, right, left, up, down.
        goals: Whether info has goals and success.
        fails_at: Step at which `failure` happens, in episodes that begin with a position x above 0.
        failure: raise, nan or size.
        ends_at: Step at which the environment ends the episode; 0 for never.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}

    def __init__(
        self,
        keys: tuple[str, ...] = ("image", "state"),
        choices: bool = False,
        goals: bool = True,
        fails_at: int = 0,
        failure: str = "raise",
        ends_at: int = 0,
        render_mode: str | None = None,
    ) -> None:
        known = {"image": PIXELS, "state": STATE, "wrist": PIXELS, "main": PIXELS, "above": PIXELS}
        self.keys, self.goals, self.render_mode = tuple(keys), goals, render_mode
        self.fails_at, self.failure, self.ends_at = fails_at, failure, ends_at
        self.observation_space = spaces.Dict({key: known[key] for key in self.keys})
        self.action_space = spaces.Discrete(5, start=3) if choices else spaces.Box(-0.2, 0.2, (2,))
        self.moves = 0.2 * np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.position, self.goal = self.np_random.uniform(-0.9, 0.9, (2, 2))
        self.steps, self.starts_right = 0, bool(self.position[0] > 0)
        goal = {"goal_image": picture(self.goal)} if self.goals else {}
        if self.goals and "wrist" in self.keys:
            goal["goal_image_wrist"] = picture(self.goal)[::-1]
        return self.observation(), {**self.info(), **goal}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        move = self.moves[action - 3] if isinstance(self.action_space, spaces.Discrete) else action
        self.position = np.clip(self.position + move, -1, 1)
        if self.fails and self.failure == "raise":
            raise RuntimeError("the motor is hot")
        return self.observation(), 0.0, self.steps == self.ends_at, False, self.info()

    @property
    def fails(self) -> bool:
        return bool(self.fails_at) and self.steps == self.fails_at and self.starts_right

    def observation(self) -> Any:
        image = picture(self.position)
        if self.fails and self.failure == "size":
            image = image[:-2]
        state = np.full(2, np.nan) if self.fails and self.failure == "nan" else self.position
        found = {"image": image, "wrist": image[::-1], "main": image, "above": image[:, ::-1]}
        found["state"] = state.astype(np.float32)
        return {key: found[key] for key in self.keys}

    def info(self) -> dict[str, Any]:
        distance = float(np.linalg.norm(self.position - self.goal))
        labels = {"contact": bool(self.position[0] > 0)}
        return {**labels, "distance": distance, "success": distance < 0.15} if self.goals else labels

    def render(self) -> Any:
        return picture(self.position) if self.render_mode == "rgb_array" else None


class Flat(Point):
    """The same with a vector as observation, a bare info, and an image that only `render` draws."""

    def __init__(self, space: str = "box", render_mode: str | None = None) -> None:
        super().__init__(("state",), goals=False, render_mode=render_mode)
        self.observation_space = STATE
        self.action_space = {
            "box": spaces.Box(-0.2, 0.2, (1, 2)),
            "unbounded": spaces.Box(-np.inf, np.inf, (2,)),
            "dict": spaces.Dict(arm=spaces.Box(-1, 1, (2,))),
        }[space]

    def observation(self) -> Any:
        return self.position.astype(np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return super().step(np.asarray(action).reshape(-1))

    def info(self) -> dict[str, Any]:
        return {}


class Blind(Flat):
    """An environment that has no image and draws none."""

    metadata = {"render_modes": []}


def fixed_goal(env: Point) -> tuple[np.ndarray, np.ndarray]:
    """Return the image and the state of a goal."""
    goal = env.np_random.uniform(-0.9, 0.9, 2)
    return picture(goal), goal


def fixed_goal_of_cameras(env: Point) -> dict[str, np.ndarray]:
    """Return the images of a goal by camera."""
    image = picture(env.np_random.uniform(-0.9, 0.9, 2))
    return {"image": image, "image_wrist": image[::-1]}


def goal_above_first(env: Point) -> dict[str, np.ndarray]:
    """Return the images of a goal in another order than that of the cameras."""
    image = picture(env.goal)
    return {"image_above": image[:, ::-1], "image_wrist": image[::-1], "image": image}


def goal_that_moves(env: Point) -> np.ndarray:
    """Return the image of a goal to which the point was moved, and where it stays."""
    env.position = env.np_random.uniform(-0.9, 0.9, 2)
    return picture(env.position)


def goal_of_an_unknown_camera(env: Point) -> dict[str, np.ndarray]:
    """Return images by names of which one is no camera."""
    return {"image": picture(env.goal), "image_top": picture(env.goal)}


def close(env: Point, observation: dict[str, np.ndarray], goal: dict[str, Any]) -> bool:
    """Return whether the point is near its goal."""
    return bool(np.linalg.norm(env.position - goal["state"]) < 0.3)


def near_the_middle(env: Point, observation: dict[str, np.ndarray], goal: dict[str, Any]) -> bool:
    """Return whether the point is near the middle of the square."""
    return bool(np.linalg.norm(env.position) < 0.1)


def put_back(env: Point, row: dict[str, Any]) -> Any:
    """Put the point to where it was recorded."""
    env.position = np.asarray(row["state"], np.float64)
    return env.observation()


def diagonal(env: Point, rng: np.random.Generator) -> Any:
    """Return what moves along the diagonal."""
    return lambda observation: np.full(2, 0.1, np.float32)


def erasing(env: Point, rng: np.random.Generator) -> Any:
    """Return what stands still, and writes into the observations."""

    def act(observation: dict[str, np.ndarray]) -> np.ndarray:
        observation["image"][:], observation["state"][:] = 0, 9
        return np.zeros(2, np.float32)

    return act


def broken(env: Point, rng: np.random.Generator) -> Any:
    """Return what fails."""
    return lambda observation: 1 / 0


MAKERS: dict[str, Any] = {"Point-v0": Point, "Flat-v0": Flat, "Blind-v0": Blind}
for name, maker in MAKERS.items():
    if f"toys/{name}" not in gymnasium.registry:
        gymnasium.register(f"toys/{name}", entry_point=maker)

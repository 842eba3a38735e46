"""A plain implementation of V-JEPA 2-AC's planning with PyTorch's own layers, without optimisations: the baseline.

The context is repeated for every sample; every rollout step computes the whole past again, with rotary tables in each
block and an attention mask of all pairs of tokens; poses are computed from actions one at a time, in NumPy.

Legend: S samples, T frames, N patches per frame, M = 2 + N tokens per frame, D feature width, K horizon, I iterations,
E elites, h heads, d channels per head. Poses and actions have 7 numbers, as in `vjepa_world.ops.pose`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.bench.references.finetune import PlainActionPredictor, plain_name
from vjepa_world.bench.references.pretrain_step import Grid, PlainBlock
from vjepa_world.errors import ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import ActionPredictorConfig
from vjepa_world.models.world_model import LatentWorldModel

#: Number of tokens before a frame's patches: action and state.
CONDITIONS = 2

#: Number of frames of V-JEPA 2-AC's attention mask.
FRAMES = 16

POSITION, ROTATION, GRIPPER = slice(0, 3), slice(3, 6), slice(6, 7)

#: Options of V-JEPA 2-AC's predictor; the statistics of the embodiment are folded into the weights.
REQUIRED = {
    "residual": False,
    "context_frames": 0,
    "positions": "tiled",
    "use_extrinsics": False,
    "normalize": True,
    "wrap_angles": True,
    "condition": "tokens",
    "predict_state": False,
}


class PlainPlanningBlock(PlainBlock):
    """A block that projects action token, state token and patches to queries, keys and values separately."""

    def forward(self, x: Tensor, tokens: Tensor, grid: Grid, mask: Tensor | None = None) -> Tensor:
        """Transform `x [S, T*M, D]`, of frames of `grid`; the shape does not change.

        `mask [T*M, T*M]` is true where a query attends to a key; `tokens` is not used.
        """
        _, height, width = grid
        normal = self.norm1(x).unflatten(1, (-1, CONDITIONS + height * width))
        time, row, column = _positions(normal.shape[1], height, width, x.device)
        parts = [self._heads(normal[:, :, i : i + 1], [time[:, 0]]) for i in range(CONDITIONS)]
        parts.append(self._heads(normal[:, :, CONDITIONS:], [p.flatten() for p in (time, row, column)]))
        q, k, v = (torch.cat(pieces, dim=3).flatten(2, 3) for pieces in zip(*parts, strict=True))
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        x = x + self.proj(out.transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm2(x))

    def _heads(self, x: Tensor, positions: list[Tensor]) -> list[Tensor]:
        """Return queries, keys and values `[S, h, T, m, d]` of `x [S, T, m, D]`, rotated by positions `[T*m]` each."""
        q, k, v = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        parts = (_rotate_axes(q, positions), _rotate_axes(k, positions), v)
        return [part.unflatten(2, (x.shape[1], -1)) for part in parts]


class PlainPlanningPredictor(PlainActionPredictor):
    """V-JEPA 2-AC's predictor; its blocks project condition tokens and patches separately."""

    def __init__(self, config: ActionPredictorConfig, feature_dim: int, grid_size: int, frames: int) -> None:
        super().__init__(config, feature_dim, grid_size, frames, action_dim=7, state_dim=7)
        self.blocks = nn.ModuleList(
            PlainPlanningBlock(config.embed_dim, config.num_heads, config.mlp_ratio)
            for _ in range(config.depth)
        )


def plain_predictor(model: LatentWorldModel, frames: int = FRAMES) -> PlainPlanningPredictor:
    """Return the plain predictor with the weights of a world model and its selected embodiment, on the same device.

    Args:
        model: A world model with V-JEPA 2-AC's predictor options.
        frames: Most frames of context and rollout together.

    Raises:
        ConfigError: The model has other options.
    """
    config, (rows, columns) = model.config.predictor, model.config.grid
    other = {
        name: getattr(config, name) for name, value in REQUIRED.items() if getattr(config, name) != value
    }
    robot = model.robot
    if other or rows != columns or (robot.action_dim, robot.state_dim) != (7, 7):
        raise ConfigError(
            f"the plain planning loop got a predictor with {other}, a grid of {rows} x {columns} tokens, and actions "
            f"and states of size {robot.action_dim} and {robot.state_dim}; it requires V-JEPA 2-AC's: {REQUIRED}, "
            "a square grid, and sizes 7 and 7. Configure the world model accordingly."
        )
    plain = PlainPlanningPredictor(config, model.feature_dim, rows, frames)
    _copy_weights(plain, model.predictor)
    return plain.to(model.device).eval()


@dataclass(frozen=True, kw_only=True)
class PlainSearch:
    """Settings of the cross-entropy method; the defaults are those of V-JEPA 2-AC's published planning example.

    Attributes:
        elites: Number of elites E.
        momentum_mean: Weight of the previous mean in the update, for positions.
        momentum_std: Weight of the previous standard deviation in the update, for positions.
        gripper_momentum: Both weights for the gripper.
        maxnorm_m: Largest change of position on each axis [m], and its initial standard deviation.
        gripper: Largest change of the closure.
        gripper_std: Its initial standard deviation. `planners.CEM` starts with `gripper` instead.
        gripper_still: Smaller changes of the closure in the planned actions are set to zero.
    """

    elites: int = 10
    momentum_mean: float = 0.15
    momentum_std: float = 0.75
    gripper_momentum: float = 0.15
    maxnorm_m: float = 0.075
    gripper: float = 0.75
    gripper_std: float = 1.0
    gripper_still: float = 0.25


@dataclass(frozen=True, eq=False)
class PlainPlan:
    """Result of a search.

    Attributes:
        actions: Planned actions `[K, 7]`: the mean, with small changes of the closure set to zero.
        mean: The final mean, `[K, 7]`.
        std: The final standard deviation, `[K, 7]`.
        energies: Energies of the samples of each iteration, `[I, S]`.
        elites: Indices of the elites of each iteration, best first, `[I, E]`.
        features: Predicted features of the samples of the last iteration, `[S, N, D]`.
    """

    actions: Tensor
    mean: Tensor
    std: Tensor
    energies: Tensor
    elites: Tensor
    features: Tensor


class PlainPlanner:
    """The cross-entropy method over a plain predictor, for one problem.

    Args:
        predictor: From :func:`plain_predictor`.
        search: Settings.
        dtype: `torch.bfloat16` computes under autocast, as published; `torch.float32` without.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 4) and its released planning code.
    """

    def __init__(
        self, predictor: PlainPlanningPredictor, search: PlainSearch, dtype: torch.dtype = torch.bfloat16
    ) -> None:
        self.predictor, self.search, self.dtype = predictor, search, dtype

    @torch.no_grad()
    def plan(
        self, features: Tensor, states: Tensor, goal: Tensor, noise: Tensor, past: Tensor | None = None
    ) -> PlainPlan:
        """Search with predetermined noise.

        Args:
            features: Features of the context frames, `[1, T, N, D]`, layer-normalised.
            states: Poses at these frames, `[1, T, 7]`.
            goal: Features of the goal, `[1, N, D]`, layer-normalised.
            noise: Standard normal numbers `[I, S, K, 7]`, on the device of the features; those of rotation are unused.
            past: Actions between the frames, `[1, T-1, 7]`; None if T is 1.

        Raises:
            ConfigError: Frames and horizon together exceed the predictor's attention mask, or past actions are missing.
        """
        low, high, momentum_mean, momentum_std, mean, std = self._initial_search(noise)
        energies, elites, predicted = [], [], features
        with self._autocast(features):
            context = [
                _repeated(tensor, noise.shape[1]) for tensor in (features, states, _past(states, past))
            ]
            goals = _repeated(goal, noise.shape[1])
            for drawn in noise:
                samples = torch.clip(drawn * std + mean, low, high)
                predicted = self._rollout(context, samples)
                energies.append(_distance(predicted, goals))
                elites.append(energies[-1].topk(self.search.elites, largest=False).indices)
                best = samples[elites[-1]]
                mean = best.mean(dim=0) * (1 - momentum_mean) + mean * momentum_mean
                std = best.std(dim=0) * (1 - momentum_std) + std * momentum_std
        return PlainPlan(
            self._without_small_changes(mean),
            mean,
            std,
            torch.stack(energies),
            torch.stack(elites),
            predicted,
        )

    @torch.no_grad()
    def rollout(
        self, features: Tensor, states: Tensor, actions: Tensor, past: Tensor | None = None
    ) -> Tensor:
        """Return the features after actions `[S, K, 7]`, `[S, N, D]`; other arguments as in :meth:`plan`."""
        with self._autocast(features):
            context = [_repeated(tensor, len(actions)) for tensor in (features, states, _past(states, past))]
            return self._rollout(context, actions)

    def energies(
        self, features: Tensor, states: Tensor, goal: Tensor, actions: Tensor, past: Tensor | None = None
    ) -> Tensor:
        """Return the energies `[S]` of actions `[S, K, 7]`; other arguments as in :meth:`plan`."""
        return _distance(self.rollout(features, states, actions, past), goal)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _initial_search(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Return action bounds `[7]`, momenta of mean and std `[7]`, and initial mean and std `[K, 7]`."""
        search = self.search
        free = [search.maxnorm_m] * 3 + [0.0] * 3
        high = noise.new_tensor([*free, search.gripper])
        std = noise.new_tensor([*free, search.gripper_std]).repeat(noise.shape[2], 1)
        momentum_mean = noise.new_tensor([search.momentum_mean] * 6 + [search.gripper_momentum])
        momentum_std = noise.new_tensor([search.momentum_std] * 6 + [search.gripper_momentum])
        return -high, high, momentum_mean, momentum_std, torch.zeros_like(std), std

    def _rollout(self, context: list[Tensor], actions: Tensor) -> Tensor:
        """Return the features `[S, N, D]` after the last of `actions [S, K, 7]`, from the context of each sample."""
        features, states, past = context
        largest, needed = self.predictor.grid[0], features.shape[1] + actions.shape[1] - 1
        if needed > largest:
            raise ConfigError(
                f"{features.shape[1]} frames and a horizon of {actions.shape[1]} need {needed} frames at once; the "
                f"plain predictor was built for {largest}. Build it with frames={needed}."
            )
        for action in actions.split(1, dim=1):
            past = torch.cat([past, action], dim=1)
            following = self._predict_next(features, past, states)
            states = torch.cat([states, next_poses(states[:, -1:], action)], dim=1)
            features = torch.cat([features, following.unsqueeze(1)], dim=1)
        return features[:, -1]

    def _predict_next(self, features: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Return the features `[S, N, D]` after the newest of `actions [S, T, 7]`, from the whole past."""
        predicted = self.predictor(features.flatten(1, 2), actions, states)[:, -features.shape[2] :]
        return F.layer_norm(predicted, predicted.shape[-1:])

    def _without_small_changes(self, mean: Tensor) -> Tensor:
        actions = mean.clone()
        closure = actions[:, GRIPPER]
        closure[closure.abs() < self.search.gripper_still] = 0
        return actions


def next_poses(poses: Tensor, actions: Tensor) -> Tensor:
    r"""Return the poses after actions, all `[S, 1, 7]`, computed one sample at a time on the CPU.

    Position and closure are added, the closure clipped to [0, 1]; the rotation is :math:`R_\Delta R`.
    """
    before, change = poses[:, 0].cpu().numpy(), actions[:, 0].cpu().numpy()
    pairs = zip(before[:, ROTATION], change[:, ROTATION], strict=True)
    angles = np.stack([_angles(_rotation(delta) @ _rotation(start)) for start, delta in pairs])
    closure = np.clip(before[:, GRIPPER] + change[:, GRIPPER], 0, 1)
    after = np.concatenate([before[:, POSITION] + change[:, POSITION], angles, closure], axis=1)
    return torch.from_numpy(after).to(poses)[:, None]


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Return the rotation `[3, 3]` of extrinsic xyz Euler angles `[3]` [rad]."""
    about_x, about_y, about_z = (_about(axis, float(angle)) for axis, angle in enumerate(angles))
    return about_z @ about_y @ about_x


def _about(axis: int, angle: float) -> np.ndarray:
    """Return the rotation `[3, 3]` about axis 0, 1 or 2 by an angle [rad], right-handed."""
    second, third = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[second, second] = matrix[third, third] = np.cos(angle)
    matrix[third, second] = np.sin(angle)
    matrix[second, third] = -matrix[third, second]
    return matrix


def _angles(matrix: np.ndarray) -> np.ndarray:
    """Return the extrinsic xyz Euler angles `[3]` [rad] of a rotation `[3, 3]`, each in [-pi, pi]."""
    last = np.arctan2(matrix[1, 0], matrix[0, 0])
    middle = np.arctan2(-matrix[2, 0], np.hypot(matrix[0, 0], matrix[1, 0]))
    second = (
        _about(2, -float(last))[1] @ matrix
    )  # the second row without the last rotation: 0, cos, -sin of the first
    return np.array([np.arctan2(-second[2], second[1]), middle, last])


def _positions(steps: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return time, row and column indices of every patch, `[T, N]` each."""
    patch = torch.arange(steps * height * width, device=device).unflatten(0, (steps, -1))
    within = patch % (height * width)
    return patch // (height * width), within // width, within % width


def _rotate_axes(x: Tensor, positions: list[Tensor]) -> Tensor:
    """Rotate `x [S, h, n, d]`, a third of its channels by each of the positions `[n]`; the rest is unchanged."""
    axis = 2 * ((x.shape[-1] // 3) // 2)
    rotated = [_rotate_channels(x[..., i * axis : (i + 1) * axis], p) for i, p in enumerate(positions)]
    return torch.cat([*rotated, x[..., len(positions) * axis :]], dim=-1)


def _rotate_channels(x: Tensor, position: Tensor) -> Tensor:
    """Rotate the channels `x [S, h, n, c]` by the positions `[n]`, in float32 (tiled, as V-JEPA 2 does)."""
    half = x.shape[-1] // 2
    omega = 10000.0 ** -(torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angles = position.float()[:, None] * omega
    cos, sin = angles.cos().repeat(1, 1, 1, 2), angles.sin().repeat(1, 1, 1, 2)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    neighbours = torch.stack([-second, first], dim=-1).flatten(-2)
    return x * cos + neighbours * sin


def _past(states: Tensor, past: Tensor | None) -> Tensor:
    """Return the past actions `[1, T-1, 7]`; empty for a single frame."""
    known = states[:, :0] if past is None else past
    if known.shape[1] != states.shape[1] - 1:
        raise ConfigError(
            f"{states.shape[1]} frames come with {known.shape[1]} past actions; expected one between two frames, "
            f"{states.shape[1] - 1}. Pass the actions that were taken."
        )
    return known


def _repeated(tensor: Tensor, samples: int) -> Tensor:
    """Return a tensor `[1, ...]` as `[S, ...]`, copied."""
    return tensor.repeat(samples, *(1,) * (tensor.ndim - 1))


def _distance(features: Tensor, goal: Tensor) -> Tensor:
    """Return the mean absolute distance `[S]` of features `[S, N, D]` to a goal of the same shape or `[1, N, D]`."""
    return (features.flatten(1) - goal.flatten(1)).abs().mean(dim=-1)


@torch.no_grad()
def _copy_weights(plain: PlainPlanningPredictor, predictor: ActionPredictor) -> None:
    """Copy the weights; the statistics of actions and states are folded into the layers that embed them."""
    robot = predictor.robot()
    prefix = f"embodiments.{robot.config.name}."
    weights = {plain_name(name, prefix): weight for name, weight in predictor.named_parameters()}
    for name in ("action", "state"):
        embed, mean, std = (getattr(robot, f"{name}_{part}") for part in ("encoder", "mean", "std"))
        weights[f"{name}.weight"] = embed.weight / std
        weights[f"{name}.bias"] = embed.bias - weights[f"{name}.weight"] @ mean
    for name, parameter in plain.named_parameters():
        parameter.copy_(weights[name])

"""V-JEPA 2-AC's planning as one would write it down, with PyTorch's own layers and nothing clever: the baseline.

What was seen is repeated for every sample; every imagined step computes the whole past anew, with each block's rotation
and a matrix of all pairs of tokens; poses follow from actions one at a time, in NumPy.

Legend: S samples, T frames, N patches a frame, M = 2 + N tokens a frame, D feature width, K horizon, I iterations,
E elites, h heads, d channels a head. Poses and actions have 7 numbers, as in `vjepa_world.ops.pose`.
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

#: Action and state, the tokens before a frame's patches.
CONDITIONS = 2

#: Frames that V-JEPA 2-AC's mask is made for.
FRAMES = 16

POSITION, ROTATION, GRIPPER = slice(0, 3), slice(3, 6), slice(6, 7)

#: What a predictor has to be to be V-JEPA 2-AC's; the embodiment's statistics are folded into the weights.
KIND = {
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
    """A block that puts the action's and the state's token and the patches through its maps one after the other."""

    def forward(self, x: Tensor, tokens: Tensor, grid: Grid, mask: Tensor | None = None) -> Tensor:
        """Transform `x [S, T*M, D]`, of frames of `grid`; `mask [T*M, T*M]` is true where one sees another."""
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
        """Return queries, keys and values `[S, h, T, m, d]` of `x [S, T, m, D]`, turned by positions `[T*m]` each."""
        q, k, v = self.qkv(x.flatten(1, 2)).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        parts = (_turn_axes(q, positions), _turn_axes(k, positions), v)
        return [part.unflatten(2, (x.shape[1], -1)) for part in parts]


class PlainPlanningPredictor(PlainActionPredictor):
    """V-JEPA 2-AC's predictor; its blocks treat condition tokens and patches apart."""

    def __init__(self, config: ActionPredictorConfig, feature_dim: int, grid_size: int, frames: int) -> None:
        super().__init__(config, feature_dim, grid_size, frames, action_dim=7, state_dim=7)
        self.blocks = nn.ModuleList(
            PlainPlanningBlock(config.embed_dim, config.num_heads, config.mlp_ratio)
            for _ in range(config.depth)
        )


def plain_predictor(model: LatentWorldModel, frames: int = FRAMES) -> PlainPlanningPredictor:
    """Return the plain predictor with the weights of a world model's, of its selected robot, on the same device.

    Args:
        model: A world model of V-JEPA 2-AC's kind.
        frames: Frames that it sees at most.

    Raises:
        ConfigError: If the model is of another kind.
    """
    config, (rows, columns) = model.config.predictor, model.config.grid
    other = {name: getattr(config, name) for name, value in KIND.items() if getattr(config, name) != value}
    robot = model.robot
    if other or rows != columns or (robot.action_dim, robot.state_dim) != (7, 7):
        raise ConfigError(
            f"the plain planning loop got a predictor with {other}, a grid of {rows} x {columns} tokens, and actions "
            f"and states of size {robot.action_dim} and {robot.state_dim}; it computes V-JEPA 2-AC's alone: {KIND}, a "
            "square grid, and sizes 7 and 7. Configure the world model so."
        )
    plain = PlainPlanningPredictor(config, model.feature_dim, rows, frames)
    _copy_weights(plain, model.predictor)
    return plain.to(model.device).eval()


@dataclass(frozen=True, kw_only=True)
class PlainSearch:
    """The cross-entropy method's settings; the defaults are those of V-JEPA 2-AC's published planning example.

    Attributes:
        elites: E.
        momentum_mean: Share of the old mean of positions that is kept.
        momentum_std: Share of their old standard deviation that is kept.
        gripper_momentum: Share of both that is kept for the gripper.
        maxnorm_m: A position's change is at most this on each axis [m], and its first standard deviation.
        gripper: The closure's change is at most this.
        gripper_std: Its first standard deviation. `planners.CEM` begins with `gripper` here.
        gripper_still: A smaller change of the closure in the answer is none.
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
    """What a search found.

    Attributes:
        actions: The answer `[K, 7]`: the mean, with small changes of the closure left out.
        mean: The last mean, `[K, 7]`.
        std: The last standard deviation, `[K, 7]`.
        energies: Of every iteration's samples, `[I, S]`.
        elites: Places of every iteration's best samples, best first, `[I, E]`.
        features: What the last iteration's samples lead to, `[S, N, D]`.
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
        """Search with the given noise.

        Args:
            features: What was seen, `[1, T, N, D]`, LayerNormed.
            states: The poses at these frames, `[1, T, 7]`.
            goal: `[1, N, D]`, LayerNormed.
            noise: Standard normal numbers `[I, S, K, 7]`, on the features' device; the rotation's are not used.
            past: The actions between the frames, `[1, T-1, 7]`; None where T is 1.

        Raises:
            ConfigError: If frames and horizon together are more than the predictor's mask is made for, or past actions
                are missing.
        """
        low, high, keep_mean, keep_std, mean, std = self._beginning(noise)
        energies, elites, imagined = [], [], features
        with self._autocast(features):
            seen = [_repeated(part, noise.shape[1]) for part in (features, states, _past(states, past))]
            goals = _repeated(goal, noise.shape[1])
            for drawn in noise:
                samples = torch.clip(drawn * std + mean, low, high)
                imagined = self._imagined(seen, samples)
                energies.append(_distance(imagined, goals))
                elites.append(energies[-1].topk(self.search.elites, largest=False).indices)
                best = samples[elites[-1]]
                mean = best.mean(dim=0) * (1 - keep_mean) + mean * keep_mean
                std = best.std(dim=0) * (1 - keep_std) + std * keep_std
        return PlainPlan(self._answer(mean), mean, std, torch.stack(energies), torch.stack(elites), imagined)

    @torch.no_grad()
    def imagine(
        self, features: Tensor, states: Tensor, actions: Tensor, past: Tensor | None = None
    ) -> Tensor:
        """Return the features that actions `[S, K, 7]` lead to, `[S, N, D]`; the rest as in :meth:`plan`."""
        with self._autocast(features):
            seen = [_repeated(part, len(actions)) for part in (features, states, _past(states, past))]
            return self._imagined(seen, actions)

    def energies(
        self, features: Tensor, states: Tensor, goal: Tensor, actions: Tensor, past: Tensor | None = None
    ) -> Tensor:
        """Return the energies `[S]` of actions `[S, K, 7]`; other arguments as in :meth:`plan`."""
        return _distance(self.imagine(features, states, actions, past), goal)

    def _autocast(self, like: Tensor) -> torch.autocast:
        return torch.autocast(like.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32)

    def _beginning(self, noise: Tensor) -> tuple[Tensor, ...]:
        """Return the lowest and highest action, the momenta of mean and deviation `[7]`, and both `[K, 7]`."""
        search = self.search
        free = [search.maxnorm_m] * 3 + [0.0] * 3
        high = noise.new_tensor([*free, search.gripper])
        std = noise.new_tensor([*free, search.gripper_std]).repeat(noise.shape[2], 1)
        keep_mean = noise.new_tensor([search.momentum_mean] * 6 + [search.gripper_momentum])
        keep_std = noise.new_tensor([search.momentum_std] * 6 + [search.gripper_momentum])
        return -high, high, keep_mean, keep_std, torch.zeros_like(std), std

    def _imagined(self, seen: list[Tensor], actions: Tensor) -> Tensor:
        """Return the features `[S, N, D]` after the last of `actions [S, K, 7]`, from what each sample has seen."""
        features, states, past = seen
        most, needed = self.predictor.grid[0], features.shape[1] + actions.shape[1] - 1
        if needed > most:
            raise ConfigError(
                f"{features.shape[1]} frames and a horizon of {actions.shape[1]} need {needed} frames at once; the "
                f"plain predictor was made for {most}. Make it with frames={needed}."
            )
        for action in actions.split(1, dim=1):
            past = torch.cat([past, action], dim=1)
            newest = self._newest(features, past, states)
            states = torch.cat([states, next_poses(states[:, -1:], action)], dim=1)
            features = torch.cat([features, newest.unsqueeze(1)], dim=1)
        return features[:, -1]

    def _newest(self, features: Tensor, actions: Tensor, states: Tensor) -> Tensor:
        """Return the features `[S, N, D]` after the newest of `actions [S, T, 7]`, from the whole past."""
        predicted = self.predictor(features.flatten(1, 2), actions, states)[:, -features.shape[2] :]
        return F.layer_norm(predicted, predicted.shape[-1:])

    def _answer(self, mean: Tensor) -> Tensor:
        actions = mean.clone()
        closure = actions[:, GRIPPER]
        closure[closure.abs() < self.search.gripper_still] = 0
        return actions


def next_poses(poses: Tensor, actions: Tensor) -> Tensor:
    r"""Return the poses `[S, 1, 7]` that actions lead to, both `[S, 1, 7]`, one sample at a time on the processor.

    Position and closure are added, the closure kept in [0, 1]; the rotation is :math:`R_\Delta R`.
    """
    before, change = poses[:, 0].cpu().numpy(), actions[:, 0].cpu().numpy()
    pairs = zip(before[:, ROTATION], change[:, ROTATION], strict=True)
    angles = np.stack([_angles(_rotation(turn) @ _rotation(start)) for start, turn in pairs])
    closure = np.clip(before[:, GRIPPER] + change[:, GRIPPER], 0, 1)
    after = np.concatenate([before[:, POSITION] + change[:, POSITION], angles, closure], axis=1)
    return torch.from_numpy(after).to(poses)[:, None]


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Return the rotation `[3, 3]` of extrinsic xyz Euler angles `[3]` [rad]."""
    about_x, about_y, about_z = (_about(axis, float(angle)) for axis, angle in enumerate(angles))
    return about_z @ about_y @ about_x


def _about(axis: int, angle: float) -> np.ndarray:
    """Return the turn `[3, 3]` about one axis, which takes the second of x y z x y... to the third."""
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
    )  # the second row without the last turn: 0, cos, -sin of the first
    return np.array([np.arctan2(-second[2], second[1]), middle, last])


def _positions(steps: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the time, row and column of every patch, `[T, N]` each."""
    patch = torch.arange(steps * height * width, device=device).unflatten(0, (steps, -1))
    within = patch % (height * width)
    return patch // (height * width), within // width, within % width


def _turn_axes(x: Tensor, positions: list[Tensor]) -> Tensor:
    """Rotate `x [S, h, n, d]`, a third of its channels by each of the positions `[n]`; others stay as they are."""
    axis = 2 * ((x.shape[-1] // 3) // 2)
    turned = [_turn(x[..., i * axis : (i + 1) * axis], p) for i, p in enumerate(positions)]
    return torch.cat([*turned, x[..., len(positions) * axis :]], dim=-1)


def _turn(x: Tensor, position: Tensor) -> Tensor:
    """Rotate the channels `x [S, h, n, c]` by the positions `[n]`, in float32 (tiled, as V-JEPA 2 does)."""
    half = x.shape[-1] // 2
    omega = 10000.0 ** -(torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angles = position.float()[:, None] * omega
    cos, sin = angles.cos().repeat(1, 1, 1, 2), angles.sin().repeat(1, 1, 1, 2)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    neighbours = torch.stack([-second, first], dim=-1).flatten(-2)
    return x * cos + neighbours * sin


def _past(states: Tensor, past: Tensor | None) -> Tensor:
    """Return the known actions `[1, T-1, 7]`; none where a single frame was seen."""
    known = states[:, :0] if past is None else past
    if known.shape[1] != states.shape[1] - 1:
        raise ConfigError(
            f"{states.shape[1]} frames come with {known.shape[1]} past actions; allowed is one between two, "
            f"{states.shape[1] - 1}. Give the actions that were taken."
        )
    return known


def _repeated(part: Tensor, samples: int) -> Tensor:
    """Return a tensor `[1, ...]` as `[S, ...]`, copied."""
    return part.repeat(samples, *(1,) * (part.ndim - 1))


def _distance(features: Tensor, goal: Tensor) -> Tensor:
    """Return the mean absolute distance `[S]` of features `[S, N, D]` to a goal of the same shape or `[1, N, D]`."""
    return (features.flatten(1) - goal.flatten(1)).abs().mean(dim=-1)


@torch.no_grad()
def _copy_weights(plain: PlainPlanningPredictor, predictor: ActionPredictor) -> None:
    """Take over the weights; what standardises actions and states becomes part of the maps that embed them."""
    robot = predictor.robot()
    prefix = f"embodiments.{robot.config.name}."
    weights = {plain_name(name, prefix): weight for name, weight in predictor.named_parameters()}
    for name in ("action", "state"):
        embed, mean, std = (getattr(robot, f"{name}_{part}") for part in ("encoder", "mean", "std"))
        weights[f"{name}.weight"] = embed.weight / std
        weights[f"{name}.bias"] = embed.bias - weights[f"{name}.weight"] @ mean
    for name, parameter in plain.named_parameters():
        parameter.copy_(weights[name])

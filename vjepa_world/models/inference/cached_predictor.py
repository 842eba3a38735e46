"""A frozen copy of an action-conditioned predictor for rollouts: packed weights and a KV cache.

It computes what :class:`ActionPredictor` does step by step, for many samples of each problem at once.

Legend: B problems, S samples of each, R = B*S rows with the samples of a problem next to each other, N patch tokens per
frame, D feature width, W width of the predictor, M tokens per step, A action size, S state size, h heads, d channels
per head.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.context import StepInput
from vjepa_world.models.embodiment import Embodiment
from vjepa_world.models.inference.cached_attention import SharedFirstStep
from vjepa_world.models.inference.cached_block import CachedBlock, RotaryFactors, rotary_factors
from vjepa_world.models.inference.kv_cache import KVCache
from vjepa_world.models.inference.packed_layers import FrozenLayerNorm, PackedLinear
from vjepa_world.models.transformer import KeyValues

#: Shapes that may be compiled: one for each size of micro-batch, at each step of the horizon.
SHAPES = 256


class CachedPredictor(nn.Module):
    """A frozen copy of an :class:`ActionPredictor`.

    It shares no memory with the original, so that a rollout never mixes weights of two moments. The embodiments are
    copied in float32.

    Args:
        predictor: The predictor that is copied; later changes of its weights have no effect.
        dtype: Number format of weights and activations.
        compiled: Whether the blocks go through `torch.compile`, with fixed shapes; on a GPU as CUDA graphs.
    """

    def __init__(self, predictor: ActionPredictor, dtype: torch.dtype, *, compiled: bool = False) -> None:
        super().__init__()
        self.config, self.dtype = predictor.config, dtype
        # In a tuple, so that it is not a submodule: its configuration and its rules are used, never its weights.
        self._original = (predictor,)
        self.embodiments = copy.deepcopy(predictor.embodiments).requires_grad_(False).float()
        self.extrinsics_encoder: nn.Module | None = None
        if predictor.config.extrinsics_dim:
            self.extrinsics_encoder = (
                copy.deepcopy(predictor.extrinsics_encoder).requires_grad_(False).float()
            )
        pack = not compiled
        self.embed = PackedLinear(predictor.predictor_embed, dtype, pack=pack)
        self.blocks = nn.ModuleList(CachedBlock(b, dtype, pack=pack) for b in predictor.predictor_blocks)
        self.norm = FrozenLayerNorm(predictor.predictor_norm, dtype)
        self.float32_norm = FrozenLayerNorm(predictor.predictor_norm, torch.float32)
        self.proj = PackedLinear(predictor.predictor_proj, dtype, pack=pack)
        self._rotary: dict[int, RotaryFactors] = {}
        self._run_layers: Callable[..., tuple[Tensor, list[KeyValues]]] = self._run_blocks
        if compiled:
            self._run_layers = compile_layers(self._run_blocks, predictor.predictor_proj.weight.device)

    @property
    def original(self) -> ActionPredictor:
        """The predictor that this is a copy of."""
        return self._original[0]

    def robot(self, name: str | None) -> Embodiment:
        """Return the copied embodiment of a name; None for the first.

        Raises:
            ConfigError: If there is none of this name.
        """
        robot = self.embodiments[self.original.robot(name).config.name]
        assert isinstance(robot, Embodiment)
        return robot

    @property
    def attends_to_past(self) -> bool:
        """Whether a step attends to those before it."""
        return self.config.context_frames != 1

    def prefill(self, frames: Sequence[StepInput], robot: Embodiment) -> KVCache:
        """Return the shared cache of frames that went before, oldest first, one input with R = B each."""
        cache = KVCache()
        for frame in frames if self.attends_to_past else ():
            _, after = self.step(frame, cache, robot)
            shared = list(after.own)
            if cache.shared:
                shared = [past.followed_by(new) for past, new in zip(cache.shared, shared, strict=True)]
            cache = KVCache(shared, (), after.steps)
        return cache

    def share_first_step(self, frame: StepInput, cache: KVCache, robot: Embodiment) -> SharedFirstStep | None:
        """Return what the samples of each problem share in their first step.

        Args:
            frame: The newest frame, with R = B; its actions are not used.
            cache: Of the frames before it.
            robot: Whose states these are.

        Returns:
            None with AdaLN, where the action changes every token.
        """
        if self.config.condition == "adaln":
            return None
        tokens, _ = self.tokens(frame, robot)
        shared_tokens, block = tokens[:, 1:], self.blocks[0]
        assert isinstance(block, CachedBlock)
        q, k, v = block.project(shared_tokens, self.rotary(cache.steps).at(slice(1, None)), ())
        past = cache.shared[0] if cache.shared else None
        return SharedFirstStep.of(shared_tokens, q, KeyValues(k, v), past)

    def first_step(
        self, shared: SharedFirstStep, actions: Tensor, cache: KVCache, robot: Embodiment
    ) -> tuple[Tensor, KVCache]:
        """Make the first step with `actions [R, A]`; returns as :meth:`step` does."""
        block = self.blocks[0]
        assert isinstance(block, CachedBlock)
        action = robot.embed_actions(actions).to(self.dtype).unsqueeze(1)
        rotary = self.rotary(cache.steps)
        q, k, v = block.project(action, rotary.at(slice(0, 1)), ())
        attended = shared.attend(q[:, :, 0], k[:, :, 0], v[:, :, 0])
        problems = len(shared.tokens)
        tokens = torch.cat([action, repeat_rows(shared.tokens, len(actions) // problems)], dim=1)
        x = block.finish(tokens, attended, ())
        x, later = self._run_layers(x, None, rotary, list(cache.shared)[1:], [], 1)
        if not self.attends_to_past:
            return x, cache
        first = KeyValues(_joined(k, shared.step.keys), _joined(v, shared.step.values))
        return x, KVCache(cache.shared, [first, *later], cache.steps + 1)

    def step(self, given: StepInput, cache: KVCache, robot: Embodiment) -> tuple[Tensor, KVCache]:
        """Make a step.

        Args:
            given: The newest frame and the actions taken there.
            cache: Of the frames and steps before it.
            robot: Whose actions and states these are.

        Returns:
            The transformed tokens `[R, M, W]`, and the cache with this step in it; the given one stays valid.
        """
        tokens, condition = self.tokens(given, robot)
        shared, own = list(cache.shared), list(cache.own)
        x, after = self._run_layers(tokens, condition, self.rotary(cache.steps), shared, own, 0)
        return x, KVCache(shared, after, cache.steps + 1) if self.attends_to_past else cache

    def tokens(self, given: StepInput, robot: Embodiment) -> tuple[Tensor, Tensor | None]:
        """Return a step's tokens `[R, M, W]`, and with AdaLN what modulates the blocks, `[R, W]`."""
        self.original.check_extrinsics(given.extrinsics)
        patches = self.embed(given.features.to(self.dtype))
        conditions = robot.embed(given.actions, given.states)
        if given.extrinsics is not None:
            assert self.extrinsics_encoder is not None
            conditions.append(self.extrinsics_encoder(given.extrinsics.float()))
        if self.config.condition == "adaln":
            return patches, torch.stack(conditions).sum(dim=0).to(self.dtype)
        return torch.cat([torch.stack(conditions, dim=1).to(self.dtype), patches], dim=1), None

    def next_features(self, features: Tensor, x: Tensor) -> Tensor:
        """Return the features `[R, N, D]` that follow `features [R, N, D]`, from transformed tokens `[R, M, W]`."""
        change = self.proj(self.norm(x[:, self.original.condition_tokens :]))
        return self.original.normalize_prediction(features + change if self.config.residual else change)

    def next_states(self, states: Tensor, actions: Tensor, x: Tensor, robot: Embodiment) -> Tensor:
        """Return predicted states `[R, S]` after `states` and `actions [R, A]`, from transformed tokens `[R, M, W]`.

        Raises:
            ConfigError: If the predictor predicts no states.
        """
        self.original.check_predicts_states()
        token = self.original.state_token(self.float32_norm(x.float()).unsqueeze(1))
        following = robot.next_states(
            states.unsqueeze(1), actions.unsqueeze(1), token, wrap=self.config.wrap_angles
        )
        return following.squeeze(1)

    def rotary(self, step: int) -> RotaryFactors:
        """Return the rotary factors of a step's tokens, by the step's number."""
        if step not in self._rotary:
            device = self.norm.weight.device if self.norm.weight is not None else None
            self._rotary[step] = rotary_factors(self.original.rotary_table(step, 1, device), self.dtype)
        return self._rotary[step]

    def _run_blocks(
        self,
        x: Tensor,
        condition: Tensor | None,
        rotary: RotaryFactors,
        shared: list[KeyValues],
        own: list[KeyValues],
        first: int,
    ) -> tuple[Tensor, list[KeyValues]]:
        """Run the blocks from number `first` on; `shared` and `own` have an entry for each of them, or none."""
        cached = []
        for index, block in enumerate(list(self.blocks)[first:]):
            context, samples = shared[index] if shared else None, own[index] if own else None
            x, after = block(x, condition, rotary, context, samples)
            cached.append(after)
        return x, cached


def repeat_rows(part: Tensor, samples: int) -> Tensor:
    """Return `[B, ...]` as `[B*S, ...]`, each entry S times; of one problem without a copy."""
    return part.unsqueeze(1).expand(-1, samples, *part.shape[1:]).flatten(0, 1)


def _joined(action: Tensor, shared: Tensor) -> Tensor:
    """Return keys or values of whole steps, `[h, R, M, d]`: the action's `[h, R, 1, d]` and shared `[h, B, M-1, d]`."""
    action = action.unflatten(1, (shared.shape[1], -1))
    shared = shared.unsqueeze(2).expand(-1, -1, action.shape[2], -1, -1)
    return torch.cat([action, shared], dim=3).flatten(1, 2)


def compile_layers(
    run_blocks: Callable[..., tuple[Tensor, list[KeyValues]]], device: torch.device
) -> Callable[..., tuple[Tensor, list[KeyValues]]]:
    """Return the blocks compiled for fixed shapes: with constant weights on a CPU, as CUDA graphs on a GPU.

    Arguments and results have the same shapes as those of `run_blocks`; other shapes are compiled again.
    """
    graphs = device.type == "cuda"
    options: dict[str, Any] = {"triton.cudagraphs": graphs}
    compiled = torch.compile(run_blocks, dynamic=False, options=options)

    def run(*given: object) -> tuple[Tensor, list[KeyValues]]:
        # Whether weights are constants is looked up while tracing; each horizon, cache and micro-batch is a new shape.
        with (
            torch._inductor.config.patch(freezing=not graphs),
            torch._dynamo.config.patch(recompile_limit=SHAPES),
        ):
            if not graphs:
                return compiled(*given)
            torch.compiler.cudagraph_mark_step_begin()
            x, own = compiled(*given)
            # A graph writes its outputs to the same memory each time.
            return x.clone(), [KeyValues(o.keys.clone(), o.values.clone()) for o in own]

    return run

"""An action-conditioned predictor in the form that imagines fastest: frozen, packed, with what samples share done once.

It computes what :class:`ActionPredictor` does, step by step; the difference is in how.

Legend: R samples of one problem (or problems, one sample each), T frames, N patch tokens a frame, D feature width, W
width of the predictor, M tokens a step, A action size, S state size, X extrinsics size.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.embodiment import Embodiment
from vjepa_world.models.inference.cached_attention import SharedPast, SharedStep
from vjepa_world.models.inference.cached_block import FastBlock, FastNorm, OwnPast, Turn, make_turn
from vjepa_world.models.inference.packed_linear import PackedLinear

#: Shapes that may be compiled: of each slice of samples, at each step of the horizon.
SHAPES = 256


@dataclass(frozen=True)
class Step:
    """What a step starts from.

    Attributes:
        features: `[R, N, D]`.
        actions: `[R, A]`.
        states: `[R, S]`.
        extrinsics: Cameras', `[R, X]`, or None.
    """

    features: Tensor
    actions: Tensor
    states: Tensor
    extrinsics: Tensor | None


@dataclass(frozen=True)
class Memory:
    """What is remembered, by layer.

    Attributes:
        shared: Of the frames that all samples have seen; empty for none.
        own: Of the steps that each sample has imagined; empty for none.
        frames: How many frames and steps that is.
    """

    shared: Sequence[SharedPast] = ()
    own: Sequence[OwnPast] = ()
    frames: int = 0


@dataclass(frozen=True)
class Opening:
    """The part of the first step that all samples have in common.

    Attributes:
        tokens: All but the action's, `[1, M-1, W]`.
        layer: What they attend to in the first layer.
        keys: Theirs, `[h, 1, M-1, d]`.
        values: The same shape.
    """

    tokens: Tensor
    layer: SharedStep
    keys: Tensor
    values: Tensor


class FastPredictor(nn.Module):
    """What :class:`ActionPredictor` predicts, for many samples at once.

    It shares no memory with what it was copied from, so that what it computes comes of the weights of one moment,
    whoever writes into the original and however. What is one robot's own is copied in float32.

    Attributes:
        embodiment: The name of the robot whose actions and states are given; see :meth:`of`.

    Args:
        predictor: Whose weights are copied; later changes of them are not seen.
        dtype: Number format of weights and activations.
        compiled: Whether the blocks go through `torch.compile`, with fixed shapes; on a GPU as CUDA graphs.
    """

    def __init__(self, predictor: ActionPredictor, dtype: torch.dtype, *, compiled: bool = False) -> None:
        super().__init__()
        self.config, self.dtype = predictor.config, dtype
        self._source = (
            predictor,
        )  # in a tuple: it is no part of this module; only its configuration is used
        self.embodiment = predictor.robot().config.name
        self.robots = copy.deepcopy(predictor.embodiments).requires_grad_(False).float()
        self.extrinsics_encoder: nn.Module | None = None
        if predictor.config.extrinsics_dim:
            self.extrinsics_encoder = (
                copy.deepcopy(predictor.extrinsics_encoder).requires_grad_(False).float()
            )
        pack = not compiled
        self.embed = PackedLinear(predictor.predictor_embed, dtype, pack=pack)
        self.blocks = nn.ModuleList(FastBlock(b, dtype, pack=pack) for b in predictor.predictor_blocks)
        self.norm = FastNorm(predictor.predictor_norm, dtype)
        self.exact_norm = FastNorm(predictor.predictor_norm, torch.float32)
        self.proj = PackedLinear(predictor.predictor_proj, dtype, pack=pack)
        self._turns: dict[int, Turn] = {}
        self._layers: Callable[..., tuple[Tensor, list[OwnPast]]] = self._through
        if compiled:
            self._layers = compile_layers(self._through, predictor.predictor_proj.weight.device)

    @property
    def source(self) -> ActionPredictor:
        """The predictor that this is a copy of: its sizes and rules, none of its weights."""
        return self._source[0]

    @property
    def robot(self) -> Embodiment:
        """What is the robot's own whose actions and states are given."""
        robot = self.robots[self.embodiment]
        assert isinstance(robot, Embodiment)
        return robot

    def of(self, embodiment: str | None) -> FastPredictor:
        """Return this predictor, the same weights, for the actions and states of a robot; None for the first.

        Raises:
            ConfigError: If there is none of this name.
        """
        same = copy.copy(self)
        same.embodiment = self.source.robot(embodiment).config.name
        return same

    @property
    def sees_past(self) -> bool:
        """Whether a step sees those before it."""
        return self.config.context_frames != 1

    def remember(self, frames: Sequence[Step]) -> Memory:
        """Return what is remembered of frames that went before, one `Step` with R = 1 each."""
        memory = Memory()
        for frame in frames if self.sees_past else ():
            _, after = self.step(frame, memory)
            shared = [SharedPast(own.keys[:, 0], own.values[:, 0]) for own in after.own]
            if memory.shared:
                shared = [past.followed_by(new) for past, new in zip(memory.shared, shared, strict=True)]
            memory = Memory(shared, (), after.frames)
        return memory

    def open(self, frame: Step, memory: Memory) -> Opening | None:
        """Return what the first step of all samples has in common, given a frame (R = 1) whose action is not used.

        With AdaLN the action is in every token, and nothing is in common.
        """
        if self.config.condition == "adaln":
            return None
        tokens, _ = self.tokens(frame)
        common, block = tokens[:, 1:], self.blocks[0]
        assert isinstance(block, FastBlock)
        q, k, v = block.project(common, self.turn(memory.frames).of(slice(1, None)), ())
        past = memory.shared[0] if memory.shared else None
        return Opening(common, SharedStep.of(q[:, 0], k[:, 0], v[:, 0], past), k, v)

    def begin(self, opening: Opening, actions: Tensor, memory: Memory) -> tuple[Tensor, Memory]:
        """Imagine the first step with `actions [R, A]`; returns as :meth:`step` does."""
        block = self.blocks[0]
        assert isinstance(block, FastBlock)
        action = self.robot.embed_actions(actions).to(self.dtype).unsqueeze(1)
        turn = self.turn(memory.frames)
        q, k, v = block.project(action, turn.of(slice(0, 1)), ())
        attended = opening.layer.attend(q[:, :, 0], k[:, :, 0], v[:, :, 0])
        tokens = torch.cat([action, opening.tokens.expand(len(actions), -1, -1)], dim=1)
        x = block.finish(tokens, attended, ())
        x, later = self._layers(x, None, turn, list(memory.shared)[1:], [], 1)
        if not self.sees_past:
            return x, memory
        own = OwnPast(_after(k, opening.keys), _after(v, opening.values))
        return x, Memory(memory.shared, [own, *later], memory.frames + 1)

    def step(self, given: Step, memory: Memory) -> tuple[Tensor, Memory]:
        """Imagine the step after `given`: transformed tokens `[R, M, W]`, and what is remembered from now on."""
        tokens, condition = self.tokens(given)
        shared, own = list(memory.shared), list(memory.own)
        x, after = self._layers(tokens, condition, self.turn(memory.frames), shared, own, 0)
        return x, Memory(shared, after, memory.frames + 1) if self.sees_past else memory

    def tokens(self, given: Step) -> tuple[Tensor, Tensor | None]:
        """Return a step's tokens `[R, M, W]`, and with AdaLN what modulates the blocks, `[R, W]`."""
        self.source.check_extrinsics(given.extrinsics)
        patches = self.embed(given.features.to(self.dtype))
        conditions = self.robot.embed(given.actions, given.states)
        if given.extrinsics is not None:
            assert self.extrinsics_encoder is not None
            conditions.append(self.extrinsics_encoder(given.extrinsics.float()))
        if self.config.condition == "adaln":
            return patches, torch.stack(conditions).sum(dim=0).to(self.dtype)
        return torch.cat([torch.stack(conditions, dim=1).to(self.dtype), patches], dim=1), None

    def features(self, before: Tensor, x: Tensor) -> Tensor:
        """Map transformed tokens `[R, M, W]` to the features that follow `before [R, N, D]`, as they are fed back."""
        change = self.proj(self.norm(x[:, self.source.condition_tokens :]))
        return self.source.comparable(before + change if self.config.residual else change)

    def states(self, before: Tensor, x: Tensor) -> Tensor:
        """Read the states `[R, S]` after `before` off transformed tokens `[R, M, W]`.

        Raises:
            ConfigError: If the predictor predicts no states.
        """
        self.source.check_predicts_states()
        token = self.source.state_token(self.exact_norm(x.float()).unsqueeze(1))
        return self.robot.next_states(before.unsqueeze(1), token).squeeze(1)

    def turn(self, frame: int) -> Turn:
        """Return the factors of a step's queries and keys at a place in time."""
        if frame not in self._turns:
            device = self.norm.weight.device if self.norm.weight is not None else None
            self._turns[frame] = make_turn(self.source.rotation(frame, 1, device), self.dtype)
        return self._turns[frame]

    def _through(
        self,
        x: Tensor,
        condition: Tensor | None,
        turn: Turn,
        shared: list[SharedPast],
        own: list[OwnPast],
        first: int,
    ) -> tuple[Tensor, list[OwnPast]]:
        """Run the blocks from `first` on, with what each of them remembers."""
        remembered = []
        for index, block in enumerate(list(self.blocks)[first:]):
            past, mine = shared[index] if shared else None, own[index] if own else None
            x, after = block(x, condition, turn, past, mine)
            remembered.append(after)
        return x, remembered


def _after(own: Tensor, common: Tensor) -> Tensor:
    """Put common keys or values `[h, 1, M-1, d]` behind each sample's own `[h, R, 1, d]`."""
    return torch.cat([own, common.expand(-1, own.shape[1], -1, -1)], dim=2)


def compile_layers(
    through: Callable[..., tuple[Tensor, list[OwnPast]]], device: torch.device
) -> Callable[..., tuple[Tensor, list[OwnPast]]]:
    """Return the blocks compiled for fixed shapes: with constant weights on a processor, as CUDA graphs on a GPU."""
    graphs = device.type == "cuda"
    options: dict[str, Any] = {"triton.cudagraphs": graphs}
    compiled = torch.compile(through, dynamic=False, options=options)

    def run(*given: object) -> tuple[Tensor, list[OwnPast]]:
        # Whether weights are constants is looked up while tracing; every horizon, past and slice is a shape of its own.
        with (
            torch._inductor.config.patch(freezing=not graphs),
            torch._dynamo.config.patch(recompile_limit=SHAPES),
        ):
            if not graphs:
                return compiled(*given)
            torch.compiler.cudagraph_mark_step_begin()
            x, own = compiled(*given)
            # A graph writes its outputs to the same place each time.
            return x.clone(), [OwnPast(o.keys.clone(), o.values.clone()) for o in own]

    return run

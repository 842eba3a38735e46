"""What a world model imagines with: a fast copy of its predictor, made when it is needed and when the weights change.

Legend: R samples of one problem, T frames, N tokens a frame, M tokens a step, K horizon, A action size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.fast_predictor import FastPredictor
from vjepa_world.models.rollout import Context, Imagined, Scene, imagine, prepare

#: Share of a GPU's free memory that a slice of samples may take.
GPU_SHARE = 0.4

#: Bytes that a slice may touch in one block, in second-level caches of all threads: measured, more samples at once no
#: longer gained and fewer waited for each other at the end of each operation.
CACHES = 8.0

#: Taken where the processor does not say.
USUAL_CACHE = 2**20


class Imagination:
    """Rolls a predictor out.

    Not a module: the copy is no part of a world model's weights.

    Args:
        predictor: What imagines.
        dtype: Number format.
        compiled: As in :class:`FastPredictor`.
    """

    def __init__(self, predictor: ActionPredictor, dtype: torch.dtype, *, compiled: bool = False) -> None:
        self.source, self.dtype, self.compiled = predictor, dtype, compiled
        self._copy: FastPredictor | None = None
        self._copied: tuple[tuple[int, int], ...] = ()
        self._context: Context | None = None
        self._scenes: dict[int, Scene] = {}

    @property
    def predictor(self) -> FastPredictor:
        """The copy, as of now."""
        weights = tuple(
            (p.data_ptr(), 0 if p.is_inference() else p._version) for p in self.source.parameters()
        )
        if self._copy is None or weights != self._copied:
            self._copy = FastPredictor(self.source, self.dtype, compiled=self.compiled)
            self._copied, self._context = weights, None
        return self._copy

    @torch.no_grad()
    def __call__(self, context: Context, problem: int, actions: Tensor, *, states: bool) -> list[Imagined]:
        """Imagine after each of `actions [R, K, A]` of one problem."""
        predictor = self.predictor
        return list(imagine(predictor, self._scene(predictor, context, problem), actions, states=states))

    def _scene(self, predictor: FastPredictor, context: Context, problem: int) -> Scene:
        """Return a problem, prepared; those of the newest context are kept."""
        if context is not self._context:
            self._context, self._scenes = context, {}
        if problem not in self._scenes:
            self._scenes[problem] = prepare(predictor, context, problem)
        return self._scenes[problem]


def samples_that_fit(predictor: ActionPredictor, dtype: torch.dtype, frames: int, tokens: int) -> int:
    """Return how many samples of a problem are best imagined at once, at least 1.

    On a processor as many as let a block's activations stay in the second-level caches; on a GPU as many as its free
    memory holds.

    Args:
        predictor: What imagines.
        dtype: Number format.
        frames: T, frames that the last step sees, itself included.
        tokens: N.
    """
    config = predictor.config
    step = tokens + predictor.condition_tokens
    wide = step * (5 * config.embed_dim + round(config.embed_dim * config.mlp_ratio))
    scores = config.num_heads * step * step * frames
    remembered = 2 * config.depth * config.embed_dim * step * frames
    device = predictor.predictor_norm.weight.device
    size = torch.finfo(dtype).bits // 8
    if device.type == "cuda":
        features = 4 * frames * tokens * predictor.predictor_proj.out_features
        free, _ = torch.cuda.mem_get_info(device)
        return max(1, int(GPU_SHARE * free) // (size * (wide + remembered) + 4 * features))
    cache = torch.cpu.get_capabilities().get("l2_cache_size", USUAL_CACHE) * torch.get_num_threads()
    return max(1, int(CACHES * cache) // (size * (wide + scores)))

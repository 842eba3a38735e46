"""What a world model imagines with: a fast copy of its predictor, made when it is needed and when the weights change.

Legend: R samples of one problem, T frames, N tokens a frame, M tokens a step, K horizon, A action size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.fast_predictor import FastPredictor
from vjepa_world.models.rollout import Context, Imagined, Scene, imagine, make_scene

#: Share of a GPU's free memory that a slice of samples may take.
GPU_SHARE = 0.4

#: Bytes that a slice may touch in one block, in second-level caches of all threads: measured, more samples at once no
#: longer gained and fewer waited for each other at the end of each operation.
CACHES = 8.0

#: Taken where the processor does not say.
USUAL_CACHE = 2**20


class Imagination:
    """Rolls a predictor out.

    Not a module: the copy is no part of a world model's weights. It is made anew when a weight or a statistic of the
    predictor is replaced or changed in place by an ordinary operation; what is written through `.data` goes unseen.
    What is prepared of a context is kept while the next call has the same context object: do not write into it.

    Args:
        predictor: What imagines.
        dtype: Number format.
        compiled: As in :class:`FastPredictor`.
    """

    def __init__(self, predictor: ActionPredictor, dtype: torch.dtype, *, compiled: bool = False) -> None:
        self.source, self.dtype, self.compiled = predictor, dtype, compiled
        self._copy: FastPredictor | None = None
        self._copied: tuple[tuple[int, int], ...] = ()
        self._prepared = _Prepared(None, "", {})
        self._fitting: dict[tuple[int, ...], int] = {}

    @property
    def predictor(self) -> FastPredictor:
        """The copy, as of now."""
        state = (*self.source.parameters(), *self.source.buffers())
        weights = tuple((t.data_ptr(), 0 if t.is_inference() else t._version) for t in state)
        if self._copy is None or weights != self._copied:
            self._copy = FastPredictor(self.source, self.dtype, compiled=self.compiled)
            self._copied, self._prepared = weights, _Prepared(None, "", {})
        return self._copy

    @torch.no_grad()
    def __call__(self, context: Context, problem: int, actions: Tensor, *, states: bool) -> list[Imagined]:
        """Imagine after each of `actions [R, K, A]` of one problem."""
        predictor = self.predictor
        return list(imagine(predictor, self._scene(predictor, context, problem), actions, states=states))

    def _scene(self, predictor: FastPredictor, context: Context, problem: int) -> Scene:
        """Return a problem, prepared; those of the newest context are kept, whichever thread it comes from."""
        kept = self._prepared
        if kept.context is not context or kept.embodiment != self.source.embodiment:
            kept = self._prepared = _Prepared(context, self.source.embodiment, {})
        if problem not in kept.scenes:
            kept.scenes[problem] = make_scene(predictor, context, problem)
        return kept.scenes[problem]

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples of a problem are best imagined at once, at least 1; the same for the same sizes.

        On a processor as many as let a block's activations stay near the caches; on a GPU as many as its memory holds.
        """
        problems, frames, tokens = context.features.shape[:3]
        key = (problems, frames, tokens, horizon)
        if key not in self._fitting:
            self._fitting[key] = samples_that_fit(
                self.source, self.dtype, problems=problems, frames=frames, tokens=tokens, horizon=horizon
            )
        return self._fitting[key]


class _Prepared(NamedTuple):
    """The problems of a context that were prepared, by number, for one embodiment."""

    context: Context | None
    embodiment: str
    scenes: dict[int, Scene]


def samples_that_fit(
    predictor: ActionPredictor, dtype: torch.dtype, *, problems: int, frames: int, tokens: int, horizon: int
) -> int:
    """Return how many samples a problem's slice may have, at least 1.

    Args:
        predictor: What imagines.
        dtype: Number format.
        problems: B; all of them keep what was imagined of a slice (on a GPU, where it counts).
        frames: T, frames seen.
        tokens: N.
        horizon: K.
    """
    config = predictor.config
    step, seen = (
        tokens + predictor.condition_tokens,
        1 if config.context_frames == 1 else frames + horizon - 1,
    )
    wide = step * (5 * config.embed_dim + round(config.embed_dim * config.mlp_ratio))
    device, size = predictor.predictor_norm.weight.device, torch.finfo(dtype).bits // 8
    if device.type == "cuda":
        remembered = 0 if config.context_frames == 1 else 2 * config.depth * config.embed_dim * step * horizon
        # Features are stacked twice on their way out, and compared in float32.
        features = 3 * 4 * problems * horizon * tokens * predictor.predictor_proj.out_features
        room = torch.cuda.mem_get_info(device)[0]
        room += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return max(1, int(GPU_SHARE * room) // (size * (wide + remembered) + features))
    scores = step * step * seen  # of one head: attention takes as many heads at once as fit
    cache = torch.cpu.get_capabilities().get("l2_cache_size", USUAL_CACHE) * torch.get_num_threads()
    return max(1, int(CACHES * cache) // (size * (wide + scores)))

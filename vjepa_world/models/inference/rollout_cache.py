"""What a world model imagines with: a fast copy of its predictor, made when it is needed and when the weights change.

Legend: R samples of one problem, T frames, N tokens a frame, M tokens a step, K horizon, A action size.
"""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from xxhash import xxh3_64

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.inference.cached_predictor import FastPredictor
from vjepa_world.models.inference.rollout import Context, Imagined, Scene, imagine, make_scene

#: Share of a GPU's free memory that a slice of samples may take.
GPU_SHARE = 0.4

#: Bytes that a slice may touch in one block, in second-level caches of all threads: measured, more samples at once no
#: longer gained and fewer waited for each other at the end of each operation.
CACHES = 8.0

#: Numbers of a checksum's part: their factors stay in the cache.
_CHUNK = 2**18

#: Taken where the processor does not say.
USUAL_CACHE = 2**20


class Imagination:
    """Rolls a predictor out.

    Not a module: the copy is a cache, no part of a world model's weights, and not copied or stored with it. It shares
    no memory with the predictor, and is made anew as a whole: before any call when a weight or a statistic of the
    predictor was replaced or changed in place by an ordinary operation, and before the first call for a context when
    what was written otherwise (`.data`, a NumPy view) has changed a checksum of one. So what is imagined of a context
    comes of the weights of one moment, and never of a mixture.

    What is prepared of a context is kept while the next call has the same context, unwritten.

    Args:
        predictor: What imagines.
        dtype: Number format.
        compiled: As in :class:`FastPredictor`.
    """

    def __init__(self, predictor: ActionPredictor, dtype: torch.dtype, *, compiled: bool = False) -> None:
        self.source, self.dtype, self.compiled = predictor, dtype, compiled
        self._copied: _Copied | None = None
        self._prepared = _Prepared(None, (), {})
        self._fitting: dict[tuple[object, ...], int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out all that is made again when it is needed."""
        return {"predictor": self.source, "dtype": self.dtype, "compiled": self.compiled}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    def predictor_for(self, context: Context) -> FastPredictor:
        """Return the copy for a context's robot, after a look at the weights if the context is new."""
        return self._current(look=self._prepared.context is not context).of(context.embodiment)

    def _current(self, *, look: bool = False) -> FastPredictor:
        """Return the copy, made anew if the weights have changed; values are looked at where `look` says so."""
        state = [t.detach() for t in (*self.source.parameters(), *self.source.buffers())]
        versions = tuple(_version(t) for t in (*self.source.parameters(), *self.source.buffers()))
        made = self._copied
        if made is None or versions != made.versions or (look and _checksums(state) != made.checksums):
            predictor = FastPredictor(self.source, self.dtype, compiled=self.compiled)
            # Put in its place at once, since several threads may come here.
            made = self._copied = _Copied(predictor, versions, _checksums(state))
            self._prepared = _Prepared(None, (), {})
        return made.predictor

    @torch.no_grad()
    def __call__(self, context: Context, problem: int, actions: Tensor, *, states: bool) -> list[Imagined]:
        """Imagine after each of `actions [R, K, A]` of one problem."""
        # The number format is `dtype`, whatever mode the caller is in: what is prepared outlasts the mode.
        with torch.autocast(actions.device.type, enabled=False):
            predictor = self.predictor_for(context)
            scene = self._scene(predictor, context, problem)
            return list(imagine(predictor, scene, actions, states=states))

    def _scene(self, predictor: FastPredictor, context: Context, problem: int) -> Scene:
        """Return a problem, prepared; those of the newest context are kept, whichever thread it comes from."""
        parts = (context.features, context.states, context.extrinsics, context.actions)
        given = [part for part in parts if part is not None]
        written = _checksums(given) if context.features.device.type == "cpu" else b""
        versions = (None if part is None else _version(part) for part in parts)
        key = (predictor.embodiment, predictor.blocks, written, *versions)
        kept = self._prepared
        if kept.context is not context or kept.key != key:
            kept = self._prepared = _Prepared(context, key, {})
        if problem not in kept.scenes:
            kept.scenes[problem] = make_scene(predictor, context, problem)
        return kept.scenes[problem]

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples of a problem are best imagined at once, at least 1; the same for the same sizes.

        On a processor as many as let a block's activations stay near the caches; on a GPU as many as its memory holds.
        """
        problems, frames, tokens = context.features.shape[:3]
        key = (problems, frames, tokens, horizon, self.source.predictor_norm.weight.device)
        if key not in self._fitting:
            self._fitting[key] = samples_that_fit(
                self.source, self.dtype, problems=problems, frames=frames, tokens=tokens, horizon=horizon
            )
        return self._fitting[key]


class _Copied(NamedTuple):
    """A copy of a predictor, and what tells whether its weights are still those."""

    predictor: FastPredictor
    versions: tuple[Hashable, ...]
    checksums: bytes


class _Prepared(NamedTuple):
    """The problems of a context that were prepared, by number, for one embodiment and one version of its tensors."""

    context: Context | None
    key: tuple[Hashable, ...]
    scenes: dict[int, Scene]


def _version(tensor: Tensor) -> tuple[Hashable, ...]:
    """Return what changes when a tensor is replaced or written to by an ordinary operation."""
    return tensor.data_ptr(), tensor.dtype, 0 if tensor.is_inference() else tensor._version


def _checksums(tensors: Sequence[Tensor]) -> bytes:
    """Return what tells the numbers of tensors apart from others: what is written past the version counters changes it.

    On a processor it is a hash of their bytes. Elsewhere it is two sums of each tensor: the one in float64 changes with
    the least change of one number, the one with random factors with a number's place.
    """
    plain = [tensor.detach().reshape(-1) for tensor in tensors]
    if all(numbers.device.type == "cpu" for numbers in plain):
        digest = xxh3_64()
        for numbers in plain:
            digest.update(numbers.view(torch.uint8).numpy().data)
        return digest.digest()
    found = []
    for numbers in plain:
        factors = _factors(_CHUNK, numbers.device)
        found.append(numbers.sum(dtype=torch.float64))
        for part in numbers.split(_CHUNK):
            found.append(torch.dot(part.float(), factors[: len(part)]).double())
    return torch.stack(found).cpu().numpy().tobytes()


@functools.cache
def _factors(count: int, device: torch.device) -> Tensor:
    """Return random factors of a checksum, always the same, float32 `[count]`."""
    generator = torch.Generator().manual_seed(0)
    with torch.inference_mode(False):
        return torch.rand(count, generator=generator, dtype=torch.float32).to(device)


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

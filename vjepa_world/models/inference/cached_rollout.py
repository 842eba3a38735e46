"""Cached rollouts: the frozen copy of the predictor and the caches of contexts, and when they are rebuilt.

Legend: B problems, S samples of each, T frames, N tokens per frame, D feature width, K horizon, A action size, P state
size.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.context import Context
from vjepa_world.models.inference.cached_predictor import CachedPredictor
from vjepa_world.models.inference.change_detection import checksums, version
from vjepa_world.models.inference.micro_batch import samples_that_fit
from vjepa_world.models.inference.rollout_loop import (
    Prefix,
    make_prefix,
    rollout_steps,
    rollout_with_gradient,
)


class CachedRollout:
    """Rolls a predictor out, with a frozen copy of it.

    It is not a module: the frozen copy is a cache, not part of a world model's weights, and is not copied or stored
    with it. The copy shares no memory with the predictor. It is rebuilt completely, before any call when a weight or a
    statistic of the predictor was replaced or changed in place by an ordinary operation, and before the first call for
    a context when values that were written otherwise (`.data`, a NumPy view) have changed a checksum. So all
    predictions for a context use the same weights.

    The prefixes of the newest context (see :class:`Prefix`) are cached as long as its tensors are not written to.

    Args:
        predictor: The predictor.
        dtype: Number format.
        compiled: As in :class:`CachedPredictor`.
        batched: Whether the problems of a context are computed together, so that a prediction may depend on the other
            problems in its last bits. None: on a GPU alone.
    """

    def __init__(
        self,
        predictor: ActionPredictor,
        dtype: torch.dtype,
        *,
        compiled: bool = False,
        batched: bool | None = None,
    ) -> None:
        self.predictor, self.dtype = predictor, dtype
        self.options = {"compiled": compiled, "batched": batched}
        self._copied: _Copied | None = None
        self._cached = _CachedPrefixes(None, (), {})
        self._fitting: dict[tuple[Hashable, ...], int] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the caches."""
        return {"predictor": self.predictor, "dtype": self.dtype, **self.options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]

    @property
    def batched(self) -> bool:
        """Whether the problems of a context are computed together."""
        batched = self.options["batched"]
        return self._device.type == "cuda" if batched is None else batched

    @property
    def _device(self) -> torch.device:
        return self.predictor.predictor_norm.weight.device

    def __call__(
        self, context: Context, actions: Tensor, *, states: bool = False, keep_graph: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Predict after each action.

        Args:
            context: B problems.
            actions: `[B, S, K, A]`, in the data's units.
            states: Whether the states are returned too.
            keep_graph: Whether predictions keep the graph of the actions; slower, in the format of the weights.

        Returns:
            Features `[B, S, K, N, D]`, and states `[B, S, K, P]` or None.
        """
        found = []
        for problems in self._micro_batches(context, actions):
            rows = actions[problems].flatten(0, 1)
            if keep_graph:
                steps = list(rollout_with_gradient(self.predictor, context, problems, rows, states=states))
            else:
                steps = self._steps(context, problems, rows, states)
            features, following = zip(*steps, strict=True)
            found.append((torch.stack(features, dim=1), torch.stack(following, dim=1) if states else None))
        predicted, after = zip(*found, strict=True)
        all_features = torch.cat(predicted).unflatten(0, actions.shape[:2])
        return all_features, torch.cat(after).unflatten(0, actions.shape[:2]) if states else None

    @torch.no_grad()
    def _steps(
        self, context: Context, problems: slice, rows: Tensor, states: bool
    ) -> list[tuple[Tensor, Tensor | None]]:
        # The number format is `dtype`, whatever autocast mode the caller is in: the caches outlast the mode.
        with torch.autocast(rows.device.type, enabled=False):
            predictor = self.copy_for(context)
            prefix = self._prefix(predictor, context, problems)
            return list(rollout_steps(predictor, prefix, rows, states=states))

    @torch.no_grad()
    def sequences(self, context: Context, actions: Tensor) -> Tensor:
        """Predict one sequence for each problem, all problems together: `[B, K, A]` to `[B, K, N, D]`."""
        with torch.autocast(actions.device.type, enabled=False):
            predictor = self.copy_for(context)
            prefix = make_prefix(predictor, context, slice(None), share_first_step=False)
            steps = rollout_steps(predictor, prefix, actions)
            return torch.stack([features for features, _ in steps], dim=1)

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples of each problem are computed together best, at least 1.

        The number depends on sizes alone, and is measured once. On a CPU a block's activations stay near the caches; on
        a GPU the predictions of all problems fit into its memory.
        """
        problems = len(context.features)
        if self.batched:
            return max(1, self._samples_that_fit(context, horizon, 1) // problems)
        return self._samples_that_fit(context, horizon, problems)

    def _samples_that_fit(self, context: Context, horizon: int, problems: int) -> int:
        """Return how many samples of one problem fit, while the predictions for `problems` of them are held."""
        frames, tokens = context.features.shape[1:3]
        key = (problems, frames, tokens, horizon, self._device)
        if key not in self._fitting:
            self._fitting[key] = samples_that_fit(
                self.predictor,
                self.dtype,
                problems=problems,
                frames=frames,
                tokens=tokens,
                horizon=horizon,
            )
        return self._fitting[key]

    def _micro_batches(self, context: Context, actions: Tensor) -> Iterator[slice]:
        """Yield the problems that are computed together: one, or as many as fit."""
        count, samples, horizon, _ = actions.shape
        together = 1
        if self.batched and count > 1:
            together = max(1, self._samples_that_fit(context, horizon, 1) // samples)
        for first in range(0, count, together):
            yield slice(first, min(first + together, count))

    def copy_for(self, context: Context) -> CachedPredictor:
        """Return the frozen copy; for a new context the checksums of the weights are compared first."""
        return self._current(compare_values=self._cached.context is not context)

    def _current(self, *, compare_values: bool) -> CachedPredictor:
        tensors = [*self.predictor.parameters(), *self.predictor.buffers()]
        versions = tuple(version(t) for t in tensors)
        copied = self._copied
        if (
            copied is None
            or versions != copied.versions
            or (compare_values and checksums(tensors) != copied.checksums)
        ):
            predictor = CachedPredictor(self.predictor, self.dtype, compiled=bool(self.options["compiled"]))
            # One assignment, since several threads may come here.
            copied = self._copied = _Copied(predictor, versions, checksums(tensors))
            self._cached = _CachedPrefixes(None, (), {})
        return copied.predictor

    def _prefix(self, predictor: CachedPredictor, context: Context, problems: slice) -> Prefix:
        """Return the prefix of some problems; those of the newest context are cached, whichever thread asks."""
        parts = (context.features, context.states, context.extrinsics, context.actions)
        given = [part for part in parts if part is not None]
        values = checksums(given) if context.features.device.type == "cpu" else b""
        key = (predictor, values, *(version(part) for part in given))
        cached = self._cached
        if cached.context is not context or cached.key != key:
            cached = self._cached = _CachedPrefixes(context, key, {})
        part = (problems.start, problems.stop)
        if part not in cached.prefixes:
            cached.prefixes[part] = make_prefix(predictor, context, problems)
        return cached.prefixes[part]


class _Copied(NamedTuple):
    """A frozen copy, and checksums that detect changes of the predictor's weights."""

    predictor: CachedPredictor
    versions: tuple[Hashable, ...]
    checksums: bytes


class _CachedPrefixes(NamedTuple):
    """Prefixes of a context by their problems (first, end), for one copy and one version of the context's tensors."""

    context: Context | None
    key: tuple[Hashable, ...]
    prefixes: dict[tuple[int, int], Prefix]

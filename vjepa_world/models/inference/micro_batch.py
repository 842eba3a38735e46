"""How many samples of a rollout are computed together, by caches or by a GPU's memory."""

from __future__ import annotations

import torch

from vjepa_world.models.action_predictor import ActionPredictor

#: Share of a GPU's free memory that a micro-batch may take.
GPU_SHARE = 0.4

#: Size of a micro-batch's activations in one block, in second-level caches of all threads. Measured: with more samples
#: the threads gained nothing, with fewer they waited for each other at the end of each operation.
CACHES = 8.0

#: Second-level cache that is assumed where the processor does not report it [bytes].
USUAL_CACHE = 2**20


def samples_that_fit(
    predictor: ActionPredictor,
    dtype: torch.dtype,
    *,
    problems: int,
    frames: int,
    tokens: int,
    horizon: int,
) -> int:
    """Return how many samples of one problem a micro-batch may have, at least 1.

    Args:
        predictor: The predictor; its device counts.
        dtype: Number format.
        problems: B; the predictions for all of them are held at once (on a GPU, whose memory counts).
        frames: T, frames of the context.
        tokens: N, patch tokens per frame.
        horizon: K, steps of the rollout.
    """
    config = predictor.config
    step = tokens + predictor.condition_tokens
    attended = 1 if config.context_frames == 1 else frames + horizon - 1
    activations = step * (5 * config.embed_dim + round(config.embed_dim * config.mlp_ratio))
    device, size = predictor.predictor_norm.weight.device, torch.finfo(dtype).bits // 8
    if device.type == "cuda":
        cached = 0 if config.context_frames == 1 else 2 * config.depth * config.embed_dim * step * horizon
        # Predictions are stacked, and compared in float32.
        predictions = 3 * 4 * problems * horizon * tokens * predictor.predictor_proj.out_features
        free = torch.cuda.mem_get_info(device)[0]
        free += torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return max(1, int(GPU_SHARE * free) // (size * (activations + cached) + predictions))
    scores = step * step * attended  # of one head: attention takes as many heads at once as fit
    cache = torch.cpu.get_capabilities().get("l2_cache_size", USUAL_CACHE) * torch.get_num_threads()
    return max(1, int(CACHES * cache) // (size * (activations + scores)))

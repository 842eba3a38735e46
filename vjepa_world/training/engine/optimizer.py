"""AdamW, and its learning rate and weight decay at each step."""

from __future__ import annotations

import torch
from torch import nn

from vjepa_world.ops.schedules import cosine_schedule, warmup_constant_cooldown, warmup_cosine
from vjepa_world.training.engine.config import TrainerConfig


def build_optimizer(modules: nn.Module, config: TrainerConfig) -> torch.optim.AdamW:
    """Return the optimizer of all weights that require a gradient; weight decay is for matrices only."""
    trained = [p for p in modules.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "decays": True},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0, "decays": False},
    ]
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


def set_rates(optimizer: torch.optim.Optimizer, config: TrainerConfig, step: int) -> None:
    """Set the learning rate and the weight decay of a step."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(config, step)
        if group["decays"]:
            group["weight_decay"] = weight_decay(config, step)


def learning_rate(config: TrainerConfig, step: int) -> float:
    """Return the learning rate of a step."""
    ends = {"start": config.lr_start, "end": config.lr_end}
    if config.schedule == "cosine":
        return warmup_cosine(step, config.steps, config.lr, config.warmup, **ends)
    return warmup_constant_cooldown(
        step, config.steps, config.lr, config.warmup, config.cooldown, shape=config.cooldown_shape, **ends
    )


def weight_decay(config: TrainerConfig, step: int) -> float:
    """Return the weight decay of a step."""
    if config.weight_decay_end < 0:
        return config.weight_decay
    return cosine_schedule(step, config.steps, config.weight_decay, config.weight_decay_end)

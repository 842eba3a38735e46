"""Fast inference: rollouts with a KV cache and packed weights."""

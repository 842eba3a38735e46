"""What every training run shares: loop, checkpoints, data parallelism, optimizer, metrics."""

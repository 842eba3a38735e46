"""What every training shares: trainer, checkpoints, data parallelism, optimizer, EMA, metrics."""

"""Training: objectives, the loop they share, checkpoints and resume."""

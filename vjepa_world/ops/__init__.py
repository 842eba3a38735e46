"""Pure functions on tensors: rotary positions, masks, poses, schedules, pixels, statistics of features."""

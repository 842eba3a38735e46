"""Videos, clips and trajectories: reading, writing, describing. Imports nothing of the models."""

"""Masks of V-JEPA and I-JEPA pretraining: what is sampled, block masks, and the distances between tokens."""

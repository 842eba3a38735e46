"""Masks of pretraining: their settings, block masks (V-JEPA, I-JEPA), random masks (MAE), distances between tokens."""

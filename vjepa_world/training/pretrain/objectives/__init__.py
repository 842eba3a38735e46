"""Pretraining objectives: one module each, selected by `objective.kind`; `registry.py` registers more."""

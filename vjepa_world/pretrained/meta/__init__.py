"""Checkpoints as Meta releases them, read and written."""

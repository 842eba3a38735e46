"""Environments as the commands use them: the simulated arm, and any Gymnasium environment with an image."""

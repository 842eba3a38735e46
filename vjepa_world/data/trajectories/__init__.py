"""Trajectories, one file a format."""

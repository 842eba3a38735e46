"""Trajectories, one file per format."""

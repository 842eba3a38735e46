"""Checks that find mistakes in a trajectory dataset before training."""

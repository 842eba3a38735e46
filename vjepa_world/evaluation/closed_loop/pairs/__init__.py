"""Pairs of start and goal: how they are drawn, recorded and kept, and whether a training has seen them."""

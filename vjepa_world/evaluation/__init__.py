"""Figures and pictures of how well a model sees and plans."""

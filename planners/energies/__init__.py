"""Energies, the functions that planners minimise: distances to a goal and penalties of actions."""

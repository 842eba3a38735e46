"""Energies: how far an imagined future lies from the goal."""

"""Scripted policies that handle objects by contact; they read the simulation, not the images."""

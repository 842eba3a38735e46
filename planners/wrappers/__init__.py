"""Planners made from planners: receding horizon, background planning, sub-goals."""

"""Drawings: curves, pictures and interactive scenes, as SVG, pixels or HTML parts."""

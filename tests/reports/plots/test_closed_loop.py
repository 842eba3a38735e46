from __future__ import annotations

import re

import numpy as np

from vjepa_world.reports.plots.closed_loop import MAX_POINTS, Rate, plot_energy_over_distance, plot_rates


def test_rates_have_a_line_each_with_the_number_of_episodes() -> None:
    svg = plot_rates("light", [Rate("dim", 4, 0.5, 0.1, 0.9), Rate("bright", 12, 0.75, 0.4, 0.9)])
    assert all(text in svg for text in ("light", "dim (4)", "bright (12)", "success [%]"))


def test_energies_are_drawn_by_outcome_and_thinned() -> None:
    rng = np.random.default_rng(0)
    distances = rng.uniform(size=2 * MAX_POINTS)
    svg = plot_energy_over_distance(distances, 2 * distances, distances < 0.5, "distance [m]")
    assert len(re.findall("<use ", svg)) < MAX_POINTS + 100
    assert "reached" in svg and "missed" in svg and "distance [m]" in svg

"""The page of an evaluation of encoders: tables, energies over distances, frames, and what has no order."""

from __future__ import annotations

from itertools import pairwise

from tests.evaluation.encoder.known_features import PointReader, point_frames
from vjepa_world.evaluation.encoder.evaluate import evaluate_encoders
from vjepa_world.reports.pages.encoder import _energy_chart, encoder_report

FRAMES = [
    point_frames(scene, moved=moved, factors={"light": scene % 2 == 0})
    for scene in range(4)
    for moved in "ab"
]


def test_the_page_shows_every_kind_and_names_what_is_undefined() -> None:
    result = evaluate_encoders({"true": PointReader(), "constant": PointReader(gain=0.0)}, FRAMES)
    page = encoder_report(result, "true on points")
    assert "true on points: 160 frames of 4 scenes" in page
    assert page.count("<svg") == 2
    assert "all energies are equal in 4 sets of &#39;a, 25 cm&#39;" in page
    assert "Rank of true minus that of the others" in page and "By scene factor" in page
    assert page.count("data:image/png") == 2 * 7


def test_the_curve_of_a_perfect_encoder_rises() -> None:
    result = evaluate_encoders({"true": PointReader()}, FRAMES)
    chart = _energy_chart(result, "a, 25 cm")
    (points,) = chart.series.values()
    assert len(points) == 8
    assert all(first[0] < second[0] for first, second in pairwise(points))
    assert points[0][1] < 0.6 * points[-1][1]
    assert 0 < points[0][0] < points[-1][0] < 25

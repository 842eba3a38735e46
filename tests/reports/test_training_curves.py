"""Curves are drawn where their values are, in the right group, on an axis that shows them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from vjepa_world.reports.training_curves import (
    BOTTOM,
    HEIGHT,
    LEFT,
    MOST_POINTS,
    RIGHT,
    TOP,
    WIDTH,
    Chart,
    grouped,
    is_logarithmic,
    svg,
)


def polylines(drawing: str) -> list[list[tuple[float, float]]]:
    root = ElementTree.fromstring(drawing)
    lines = [element.attrib["points"].split() for element in root.iter("polyline")]
    return [[(float(x), float(y)) for x, y in (place.split(",") for place in line)] for line in lines]


def ticks(drawing: str, anchor: str) -> list[tuple[float, float, float]]:
    """Return (x, y, value) of the written values."""
    root = ElementTree.fromstring(drawing)
    texts = [text for text in root.iter("text") if text.attrib["text-anchor"] == anchor]
    return [
        (float(t.attrib["x"]), float(t.attrib["y"]), float((t.text or "").replace("\N{THIN SPACE}", "")))
        for t in texts
    ]


def test_figures_are_grouped_and_unknown_ones_have_their_own_charts() -> None:
    names = ["loss", "loss_mask_0", "val_error", "target_std", "untrained_std", "target_rank", "ema_distance"]
    names += [
        "probe_error",
        "probe_chance",
        "gradient_norm",
        "lr",
        "clips_per_s",
        "wait_fraction",
        "matrix_share",
        "odd",
    ]
    lines = [{"step": step} | dict.fromkeys(names, 1.0) for step in range(3)]
    found = {
        heading: [sorted(chart.series) for chart in charts] for heading, charts in grouped(lines).items()
    }
    assert found == {
        "Losses": [["loss", "loss_mask_0"], ["val_error"]],
        "Health of the features": [["target_std", "untrained_std"], ["target_rank"], ["ema_distance"]],
        "Online probe": [["probe_chance", "probe_error"]],
        "Optimisation": [["gradient_norm"], ["lr"]],
        "Speed": [["clips_per_s"], ["matrix_share", "wait_fraction"]],
        "Other figures": [["odd"]],
    }


def test_what_is_no_number_is_left_out() -> None:
    lines = [{"step": 0, "loss": 1.0}, {"step": 1, "loss": math.nan}, {"step": 2, "loss": math.inf}]
    assert grouped(lines)["Losses"][0].series == {"loss": [(0.0, 1.0)]}


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0, 1.5], [1e-3, 1.0, 1e3, 10.0]])
def test_points_stand_where_the_written_values_say(values: list[float]) -> None:
    chart = Chart("figure", {"a": [(100.0 * k, value) for k, value in enumerate(values)]})
    drawing = svg(chart)
    logarithmic = is_logarithmic(chart)
    assert logarithmic == (values[2] > 100)
    (line,) = polylines(drawing)
    rows = [(y - 3.5, math.log10(value) if logarithmic else value) for _, y, value in ticks(drawing, "end")]
    (y0, v0), (y1, v1) = rows[0], rows[-1]
    for (x, y), value in zip(line, values, strict=True):
        shown = math.log10(value) if logarithmic else value
        assert y == pytest.approx(y0 + (shown - v0) / (v1 - v0) * (y1 - y0), abs=0.4)
        assert LEFT <= x <= WIDTH - RIGHT and TOP <= y <= HEIGHT - BOTTOM
    columns = [(x, value) for x, _, value in ticks(drawing, "middle")]
    assert (columns[0][1], columns[-1][1]) == (0.0, 300.0)
    assert line[0][0] == pytest.approx(columns[0][0], abs=0.2)
    assert line[-1][0] == pytest.approx(columns[-1][0], abs=0.2)


def test_axes_with_few_round_values_and_all_of_them_inside() -> None:
    for low, high in [(0.0, 1.0), (-3.2, 7.7), (1e-7, 3e-7), (5.0, 5.0), (0.0, 0.0), (123456.0, 123999.0)]:
        written = ticks(svg(Chart("figure", {"a": [(0.0, low), (1.0, high)]})), "end")
        assert 1 <= len(written) <= 8
        assert all(TOP <= y - 3.5 <= HEIGHT - BOTTOM for _, y, _ in written)


def test_a_zero_or_a_negative_value_keeps_the_axis_linear() -> None:
    assert not is_logarithmic(Chart("lr", {"lr": [(0, 0.0), (1, 1e-5), (2, 1.0)]}))
    assert not is_logarithmic(Chart("lr", {"lr": [(0, -1.0), (1, 1e-5), (2, 100.0)]}))


def test_one_point_is_a_dot() -> None:
    root = ElementTree.fromstring(svg(Chart("loss", {"loss": [(5.0, 2.0)]})))
    (dot,) = root.iter("circle")
    assert (
        LEFT <= float(dot.attrib["cx"]) <= WIDTH - RIGHT and TOP <= float(dot.attrib["cy"]) <= HEIGHT - BOTTOM
    )


def test_a_long_series_keeps_its_spike_and_gets_a_mean_in_front() -> None:
    points = [(float(step), 1.0) for step in range(20_000)]
    points[12_345] = (12_345.0, 9.0)
    drawing = svg(Chart("loss", {"loss": points}))
    faint, front = polylines(drawing)
    assert len(faint) <= MOST_POINTS and len(front) <= MOST_POINTS
    top = min(faint, key=lambda point: point[1])
    assert top[0] == pytest.approx(LEFT + 12_345 / 19_999 * (WIDTH - LEFT - RIGHT), abs=0.2)
    assert min(y for _, y in front) > top[1] + 100  # of 800 neighbours the spike is nothing
    assert [x for x, _ in faint] == sorted(x for x, _ in faint)
    assert re.search(r'class="c0 faint".*class="c0"', drawing)


def test_the_mean_starts_and_ends_with_the_figures() -> None:
    points = [(float(step), float(step)) for step in range(100)]
    faint, front = polylines(svg(Chart("loss", {"loss": points})))
    assert front == faint  # the mean of a straight line is the line


def test_names_cannot_break_the_page() -> None:
    ElementTree.fromstring(svg(Chart('<b> & "x"', {"a<b": [(0, 1.0), (1, 2.0)]})))

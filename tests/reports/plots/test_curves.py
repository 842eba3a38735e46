"""Curves are drawn at their values, on an axis that contains them."""

from __future__ import annotations

import math
import re
from xml.etree import ElementTree

import pytest

from vjepa_world.reports.plots.curves import HEIGHT, MAX_POINTS, WIDTH, Chart

SVG = "{http://www.w3.org/2000/svg}"


def group(drawing: str, name: str) -> ElementTree.Element:
    root = ElementTree.fromstring(drawing)
    (found,) = (element for element in root.iter(f"{SVG}g") if element.get("class") == name)
    return found


def line(drawing: str, name: str) -> list[tuple[float, float]]:
    """Return the points of a curve: line-0 for the first, mean-0 for its running mean."""
    path = group(drawing, name).find(f"{SVG}path")
    assert path is not None
    return [(float(x), float(y)) for x, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", path.attrib["d"])]


def names(drawing: str) -> set[str]:
    return {element.get("class", "") for element in ElementTree.fromstring(drawing).iter(f"{SVG}g")}


def ticks(drawing: str, axis: int) -> list[tuple[float, float]]:
    """Return position and value of what is written at the x axis (1) or the y axis (2)."""
    marks = [
        g for g in group(drawing, f"matplotlib.axis_{axis}").iter(f"{SVG}g") if "tick" in g.get("class", "")
    ]
    texts = [text for mark in marks for text in mark.iter(f"{SVG}text")]
    # Text at the y axis is positioned by its base line, which lies below the tick by a constant.
    return [(float(t.attrib["x" if axis == 1 else "y"]), float(t.text or "")) for t in texts]


@pytest.mark.parametrize("values", [[1.0, 2.0, 3.0, 1.5], [1e-3, 1.0, 1e3, 10.0]])
def test_points_are_drawn_at_their_values(values: list[float]) -> None:
    chart = Chart("metric", {"a": [(100.0 * k, value) for k, value in enumerate(values)]})
    assert chart.is_logarithmic == (values[2] > 100)
    points = line(chart.svg, "line-0")
    rows = [(y, math.log10(v) if chart.is_logarithmic else v) for y, v in ticks(chart.svg, 2)]
    (y0, v0), (y1, v1) = rows[0], rows[-1]
    offsets = []
    for (x, y), value in zip(points, values, strict=True):
        shown = math.log10(value) if chart.is_logarithmic else value
        offsets.append(y0 + (shown - v0) / (v1 - v0) * (y1 - y0) - y)
        assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    assert max(offsets) - min(offsets) < 0.4 and 0 < offsets[0] < 8
    columns = ticks(chart.svg, 1)
    assert (columns[0][1], columns[-1][1]) == (0.0, 300.0)
    assert points[0][0] == pytest.approx(columns[0][0], abs=0.2)
    assert points[-1][0] == pytest.approx(columns[-1][0], abs=0.2)


def test_axes_have_few_round_ticks_and_contain_all_values() -> None:
    for low, high in [(0.0, 1.0), (-3.2, 7.7), (1e-7, 3e-7), (5.0, 5.0), (0.0, 0.0), (123456.0, 123999.0)]:
        drawing = Chart("metric", {"a": [(0.0, low), (1.0, high)]}).svg
        written = ticks(drawing, 2)
        assert 1 <= len(written) <= 8
        assert all(0 <= y <= HEIGHT for y, _ in written)


def test_a_zero_or_a_negative_value_keeps_the_axis_linear() -> None:
    assert not Chart("lr", {"lr": [(0, 0.0), (1, 1e-5), (2, 1.0)]}).is_logarithmic
    assert not Chart("lr", {"lr": [(0, -1.0), (1, 1e-5), (2, 100.0)]}).is_logarithmic


def test_one_point_is_a_dot() -> None:
    drawing = Chart("loss", {"loss": [(5.0, 2.0)]}).svg
    (dot,) = group(drawing, "line-0").iter(f"{SVG}use")
    assert 0 <= float(dot.attrib["x"]) <= WIDTH and 0 <= float(dot.attrib["y"]) <= HEIGHT


def test_a_long_series_shows_its_spikes_and_a_mean() -> None:
    points = [(float(step), 1.0) for step in range(20_000)]
    points[12_345] = (12_345.0, 9.0)
    drawing = Chart("loss", {"loss": points}).svg
    faint, front = line(drawing, "line-0"), line(drawing, "mean-0")
    assert len(faint) <= MAX_POINTS and len(front) <= MAX_POINTS
    top = min(faint, key=lambda point: point[1])
    (x0, step0), *_, (x1, step1) = ticks(drawing, 1)
    assert top[0] == pytest.approx(x0 + (12_345 - step0) / (step1 - step0) * (x1 - x0), abs=0.2)
    assert min(y for _, y in front) > top[1] + 100  # of 800 neighbours the spike is nothing
    assert [x for x, _ in faint] == sorted(x for x, _ in faint)
    assert drawing.index('class="line-0"') < drawing.index('class="mean-0"')
    assert "stroke-opacity: 0.28" in drawing


def test_the_mean_starts_and_ends_with_the_values() -> None:
    drawing = Chart("loss", {"loss": [(float(step), float(step)) for step in range(100)]}).svg
    faint, front = line(drawing, "line-0"), line(drawing, "mean-0")
    assert front[0] == faint[0] and front[-1] == faint[-1]  # the mean of a straight line is the line


def test_names_are_escaped() -> None:
    ElementTree.fromstring(Chart('<b> & "x" $y$', {"a<b": [(0, 1.0), (1, 2.0)]}).svg)


def test_values_that_are_not_finite_are_left_out_and_none_may_remain() -> None:
    nan = float("nan")
    drawn = Chart("a", {"line": [(0.0, 1.0), (1.0, nan), (2.0, 3.0)]}, {"line": [(0.0, nan, 1.0)]}).svg
    assert "nan" not in drawn
    assert len(line(drawn, "line-0")) == 2
    assert "band-0" not in names(drawn)
    assert Chart("b", {"line": []}).svg == ""
    assert Chart("c", {"line": [(0.0, nan)]}).svg == ""


def test_a_band_reaches_from_its_lows_to_its_highs() -> None:
    steps = [0.0, 1.0, 2.0]
    chart = Chart("a", {"x": [(s, 2.0) for s in steps]}, {"x": [(s, 1.0, 3.0) for s in steps]})
    band = group(chart.svg, "band-0").find(f".//{SVG}path")
    assert band is not None
    rows = [HEIGHT + float(y) for y in re.findall(r"[ML] [-\d.]+ ([-\d.]+)", band.attrib["d"])]
    [middle] = {y for _, y in line(chart.svg, "line-0")}
    assert middle == pytest.approx((min(rows) + max(rows)) / 2, abs=0.1)
    assert max(rows) - min(rows) > 50


def test_drawings_have_the_colours_of_the_page_and_a_label() -> None:
    drawing = Chart("loss", {"a": [(0.0, 1.0), (1.0, 2.0)]}).svg
    assert not re.search(r"#[0-9a-f]{6}", drawing)
    assert "var(--series-0)" in drawing and "var(--dim)" in drawing
    assert drawing.startswith('<svg role="img" aria-label="loss: a"')

"""A scene in space as a drawing that can be turned: SVG that is whole by itself, and a few lines of JavaScript.

The scene is a cube whose half-sides are `HALF` units long; what is drawn is rounded to whole units. Seen without
perspective, so that one scale holds everywhere. The page and the script draw it by the same rule: every shape is lines
through places, shown while the vectors of `facing` point to the right or to the viewer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from vjepa_world.reports.plot_panel import Span, colours, written

#: Half of the cube's side [units], the drawing's size and the length of a half-side in it [pixels].
HALF, WIDTH, HEIGHT, SCALE = 1000, 720, 520, 150

#: From where it is seen first, and the highest elevation [deg].
AZIMUTH_DEG, ELEVATION_DEG, HIGHEST_DEG = -56.0, 24.0, 88.0

#: Steps of the colour scale, and how much of it is used on white and on black paper: the lowest value stands out most.
STEPS, ON_WHITE, ON_BLACK = 8, (0.06, 0.88), (1.0, 0.22)

#: A scale bar is about as long [pixels].
BAR = 90

RIGHT, TOWARDS = 0, 2

Facing = tuple[tuple[int, ...], ...]
"""Directions of the view (RIGHT, TOWARDS) with the vector x, y, z that has to point there."""


@dataclass(frozen=True, eq=False)
class Shape:
    """Lines, dots or a word.

    Attributes:
        style: Classes of the style sheet.
        lines: Places `[L, 3]` of each line; a line of one place is a dot.
        word: Written at the first place, in place of lines.
        when: The scene's moment at which it is shown, from 1 on; 0 for always.
        facing: Shown while all of these hold.
    """

    style: str
    lines: Sequence[np.ndarray]
    word: str = ""
    when: int = 0
    facing: Facing = ()


@dataclass(frozen=True, eq=False)
class Scene:
    """What is drawn.

    Attributes:
        spans: The cube's axes x, y, z.
        shapes: Back to front.
        moments: What is written below the drawing while everything is shown, and at each moment.
        focus: The place that is enlarged, `[3]`.
        unit: What all axes are measured in, where they share a scale; else empty, and there is no scale bar.
    """

    spans: Sequence[Span]
    shapes: Sequence[Shape]
    moments: Sequence[str]
    focus: np.ndarray
    unit: str = ""

    def places(self, values: np.ndarray) -> np.ndarray:
        """Return values `[..., 3]` on the axes as places."""
        return to_places(values, self.spans)


def to_places(values: np.ndarray, spans: Sequence[Span]) -> np.ndarray:
    """Return values `[..., 3]` on three axes as places in the cube, int `[..., 3]`."""
    low, high = (np.array([getattr(span, end) for span in spans]) for end in ("low", "high"))
    return np.asarray(((values - low) / (high - low) * 2 - 1) * HALF).round().astype(int)


def turning_picture(scene: Scene, label: str) -> str:
    """Return the drawing with its controls, which appear where JavaScript runs; `label` says what is seen."""
    shapes = [*_cube(scene.spans), *scene.shapes]
    view = _view(AZIMUTH_DEG, ELEVATION_DEG)
    drawn = "".join(_drawn(shape, view) for shape in shapes)
    return (
        f'<div class="turning"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" tabindex="0" '
        f'aria-label="{escape(label)}"><g>{drawn}</g>{_bar(scene)}</svg>'
        f'<p class="moment">{escape(scene.moments[0])}</p>{_controls(len(scene.moments) - 1)}'
        f'<script type="application/json">{_data(scene, shapes)}</script><script>{_SCRIPT}</script></div>'
    )


def style_sheet() -> str:
    """Return the `<style>` of such drawings, with the colour scale as classes e0 (lowest) and up."""
    on_white, on_black = (_scale_classes(*ends) for ends in (ON_WHITE, ON_BLACK))
    return f"<style>{_STYLE}{on_white}@media (prefers-color-scheme: dark) {{ {on_black} }}</style>"


def scale_legend(low: float, high: float, what: str) -> str:
    """Return the colour scale with its ends as a legend."""
    swatches = "".join(f'<i class="e{step}"></i>' for step in range(STEPS))
    return f'<span class="scale">{escape(what)} {written(low)} {swatches} {written(high)}</span>'


def step_of(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the step of the colour scale of each value, int from 0 to STEPS - 1."""
    share = (values - low) / ((high - low) or 1.0)
    return np.asarray(np.clip(share * STEPS, 0, STEPS - 1).astype(int))


def _scale_classes(first: float, last: float) -> str:
    hues = colours(np.linspace(first, last, STEPS), 0.0, 1.0)
    rows = (f".turning .e{k} {{ color: #{bytes(hue).hex()} }}" for k, hue in enumerate(hues))
    return "".join(rows)


def _cube(spans: Sequence[Span]) -> Iterator[Shape]:
    """Yield the walls behind what is drawn, each with its grid, and the words at the edges in front."""
    ticks = [[(value, _along(value, span)) for value in span.ticks(5)] for span in spans]
    for axis in range(3):
        for side in (-1, 1):
            inwards = [0, 0, 0]
            inwards[axis] = -side
            yield Shape("wall", _wall(axis, side, ticks), facing=((TOWARDS, *inwards),))
    for axis in (0, 1):
        yield from _floor_words(axis, spans[axis], ticks[axis])
    yield from _upright_words(spans[2], ticks[2])


def _along(value: float, span: Span) -> int:
    return round(((value - span.low) / (span.high - span.low) * 2 - 1) * HALF)


def _wall(axis: int, side: int, ticks: Sequence[Sequence[tuple[float, int]]]) -> list[np.ndarray]:
    """Return the grid of one side of the cube, lines `[2, 3]`."""
    lines = []
    first, second = (other for other in range(3) if other != axis)
    for across, along in ((first, second), (second, first)):
        for at in (-HALF, *(place for _, place in ticks[across]), HALF):
            line = np.full((2, 3), side * HALF)
            line[:, across] = at
            line[:, along] = -HALF, HALF
            lines.append(line)
    return lines


def _floor_words(axis: int, span: Span, ticks: Sequence[tuple[float, int]]) -> Iterator[Shape]:
    """Yield the words along the floor's two edges in the direction of x or y; the nearer ones are shown."""
    across = 1 - axis
    for side in (-1, 1):
        outwards = [0, 0, 0]
        outwards[across] = side
        facing = ((TOWARDS, *outwards),)
        for word, along, away in [*((written(v), at, 1.13) for v, at in ticks), (span.label, 0, 1.45)]:
            place = np.array([along, along, -HALF])
            place[across] = round(side * away * HALF)
            yield Shape("word" if away < 1.3 else "name", [place[None]], word, facing=facing)


def _upright_words(span: Span, ticks: Sequence[tuple[float, int]]) -> Iterator[Shape]:
    """Yield the words along the four upright edges; those at the left are shown."""
    for x in (-1, 1):
        for y in (-1, 1):
            facing = ((RIGHT, -x, 0, 0), (RIGHT, 0, -y, 0))
            for word, up, away in [*((written(v), at, 1.1) for v, at in ticks), (span.label, HALF, 1.1)]:
                name = word == span.label
                place = np.array([x * away * HALF, y * away * HALF, 1.14 * up if name else up]).round()
                yield Shape("name" if name else "word", [place.astype(int)[None]], word, facing=facing)


def _view(azimuth_deg: float, elevation_deg: float) -> np.ndarray:
    """Return the directions to the right, upwards and to the viewer as rows `[3, 3]`."""
    a, e = math.radians(azimuth_deg), math.radians(elevation_deg)
    return np.array(
        [
            (-math.sin(a), math.cos(a), 0),
            (-math.sin(e) * math.cos(a), -math.sin(e) * math.sin(a), math.cos(e)),
            (math.cos(e) * math.cos(a), math.cos(e) * math.sin(a), math.sin(e)),
        ]
    )


def _drawn(shape: Shape, view: np.ndarray) -> str:
    seen = all(view[way] @ np.array(vector) >= 0 for way, *vector in shape.facing)
    hidden = "" if seen else ' style="display:none"'
    places = [[f"{x:.1f} {y:.1f}" for x, y in _on_paper(line, view)] for line in shape.lines]
    if shape.word:
        x, y = places[0][0].split()
        return f'<text class="{shape.style}" x="{x}" y="{y}" dy="4"{hidden}>{escape(shape.word)}</text>'
    way = "".join("M" + "L".join(line) + ("h0" if len(line) == 1 else "") for line in places)
    return f'<path class="{shape.style}" d="{way}"{hidden}/>'


def _on_paper(places: np.ndarray, view: np.ndarray) -> np.ndarray:
    """Return where places `[L, 3]` are drawn, `[L, 2]` pixels."""
    return np.array([WIDTH, HEIGHT]) / 2 + places @ view[:2].T * (SCALE / HALF) * np.array([1, -1])


def _bar(scene: Scene) -> str:
    """Return the scale bar, a round length."""
    if not scene.unit:
        return ""
    per_pixel = (scene.spans[0].high - scene.spans[0].low) / (2 * SCALE)
    length = round_length(BAR * per_pixel)
    y = HEIGHT - 14
    return (
        f'<g class="bar"><path class="scalebar" d="M16 {y - 4}v8m0 -4h{length / per_pixel:.1f}m0 -4v8"/>'
        f'<text x="16" y="{y - 10}">{written(length)} {escape(scene.unit)}</text></g>'
    )


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not longer."""
    power = 10.0 ** math.floor(math.log10(length))
    return float(f"{max(f for f in (1, 2, 5) if f * power <= length * (1 + 1e-9)) * power:.6g}")


def _controls(moments: int) -> str:
    """Return the sliders, hidden until the script shows them."""
    turn = f'<label>iteration <input type="range" name="when" min="0" max="{moments}" value="0"></label>'
    return (
        f'<p class="controls" hidden>{turn if moments > 1 else ""}'
        '<label>closer <input type="range" name="zoom" min="0" max="5" step="0.1" value="0"></label>'
        '<button type="button" name="reset">first view</button>'
        '<span class="dim">Drag the drawing, or use the arrow keys, to turn it.</span></p>'
    )


def _data(scene: Scene, shapes: Sequence[Shape]) -> str:
    """Return what the script draws, as JSON that is safe inside of HTML."""
    data = {
        "shapes": [[s.when, s.facing, [line.ravel().tolist() for line in s.lines]] for s in shapes],
        "moments": list(scene.moments),
        "focus": scene.focus.tolist(),
        "view": [AZIMUTH_DEG, ELEVATION_DEG, HIGHEST_DEG],
        "size": [WIDTH, HEIGHT, SCALE / HALF],
        "bar": [(scene.spans[0].high - scene.spans[0].low) / (2 * SCALE), BAR, scene.unit],
    }
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


_STYLE = """
.turning { max-width: 860px; background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: 6px 12px } .turning svg { cursor: grab; touch-action: pan-y; user-select: none; overflow: hidden }
.turning path { fill: none; stroke: currentColor; stroke-linecap: round; stroke-linejoin: round }
.turning .wall { color: var(--line) } .turning svg text { text-anchor: middle }
.turning svg .name { fill: var(--ink); font-size: 13px } .turning .bar text { text-anchor: start }
.turning .scalebar { color: var(--dim) } .turning .controls { display: flex; flex-wrap: wrap; gap: 4px 18px;
  align-items: center; font-size: 13px } .turning .controls[hidden] { display: none }
.turning .controls input { vertical-align: middle } .turning .moment { font-size: 13px; min-height: 1.5em }
.scale i { display: inline-block; width: 14px; height: 10px; margin: 0; border-radius: 0; background: currentColor }
"""

_SCRIPT = """
(() => {
  const home = document.currentScript.parentElement, svg = home.querySelector('svg');
  const data = JSON.parse(home.querySelector('script[type="application/json"]').textContent);
  const shapes = svg.querySelector('g').children, bar = svg.querySelector('.bar');
  const [when, zoom] = ['when', 'zoom'].map(name => home.querySelector(`input[name=${name}]`));
  const [wide, high, scale] = data.size;
  let [azimuth, elevation] = data.view;
  const dot = (a, x, y, z) => a[0] * x + a[1] * y + a[2] * z;
  function directions() {
    const [a, e] = [azimuth, elevation].map(angle => angle * Math.PI / 180);
    const [ca, sa, ce, se] = [Math.cos(a), Math.sin(a), Math.cos(e), Math.sin(e)];
    return [[-sa, ca, 0], [-se * ca, -se * sa, ce], [ce * ca, ce * sa, se]];
  }
  function draw() {
    const view = directions(), times = 2 ** zoom.value, now = when ? +when.value : 0;
    const [fx, fy, fz] = data.focus.map(at => at * (1 - 1 / times));
    const place = (l, k) => [0, 1].map(way =>
      ([wide, high][way] / 2 + (1 - 2 * way) * times * scale * dot(view[way], l[k] - fx, l[k + 1] - fy, l[k + 2] - fz))
      .toFixed(1));
    data.shapes.forEach(([moment, facing, lines], number) => {
      const shape = shapes[number];
      const seen = (!now || !moment || moment === now) &&
        facing.every(([way, ...vector]) => dot(view[way], ...vector) >= 0);
      shape.style.display = seen ? '' : 'none';
      if (!seen) return;
      if (shape.tagName === 'text') {
        const [x, y] = place(lines[0], 0);
        shape.setAttribute('x', x); shape.setAttribute('y', y);
      } else shape.setAttribute('d', lines.map(line => {
        let way = 'M';
        for (let k = 0; k < line.length; k += 3) way += (k ? 'L' : '') + place(line, k).join(' ');
        return line.length === 3 ? way + 'h0' : way;
      }).join(''));
    });
    home.querySelector('.moment').textContent = data.moments[now];
    if (bar) measure(data.bar[0] / times);
  }
  function measure(each) {
    const power = 10 ** Math.floor(Math.log10(data.bar[1] * each));
    const length = [5, 2, 1].find(factor => factor * power <= data.bar[1] * each * (1 + 1e-9)) * power;
    bar.querySelector('path').setAttribute('d', `M16 ${high - 18}v8m0 -4h${(length / each).toFixed(1)}m0 -4v8`);
    bar.querySelector('text').textContent = `${+length.toPrecision(3)} ${data.bar[2]}`;
  }
  function turn(right, up) {
    azimuth -= right; elevation = Math.min(Math.max(elevation + up, 0), data.view[2]); draw();
  }
  svg.addEventListener('pointerdown', event => svg.setPointerCapture(event.pointerId));
  svg.addEventListener('pointermove', event => {
    if (svg.hasPointerCapture(event.pointerId)) turn(event.movementX * 0.4, event.movementY * 0.4);
  });
  svg.addEventListener('keydown', event => {
    const by = {ArrowLeft: [-6, 0], ArrowRight: [6, 0], ArrowUp: [0, -6], ArrowDown: [0, 6]}[event.key];
    if (by) { event.preventDefault(); turn(...by); }
  });
  home.querySelectorAll('input').forEach(input => input.addEventListener('input', draw));
  home.querySelector('button').addEventListener('click', () => {
    [azimuth, elevation] = data.view; zoom.value = 0; if (when) when.value = 0; draw();
  });
  home.querySelector('.controls').hidden = false;
  draw();
})();
"""

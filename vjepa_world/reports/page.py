"""One HTML file with everything in it: text, tables, drawings and pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
from PIL import Image

from vjepa_world.reports.training_curves import COLOURS, Chart, grouped, is_logarithmic, svg

_HUES = ("#3b78c4", "#d9822b", "#3c9d63", "#b04a8c", "#8a6d3b", "#5b5fc7", "#c0392b", "#4a9aa8")

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2127; --dim: #68707c; --line: #dfe3e8; --paper: #fff; --card: #f7f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --dim: #98a1ad; --line: #343a43; --paper: #16181c; --card: #1e2126 } }
body { margin: 0 auto; max-width: 1180px; padding: 24px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 24px; margin: 0 0 4px } h2 { font-size: 18px; margin: 36px 0 10px } h3 { font-size: 14px; margin: 0 }
p { margin: 6px 0 } .dim { color: var(--dim) }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 14px }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 10px 12px }
.note, .alarm { border-left: 4px solid var(--line); padding: 6px 12px; margin: 8px 0; background: var(--card) }
.alarm { border-color: #c0392b } .good { border-color: #3c9d63 }
svg { width: 100%; height: auto; display: block } svg text { font-size: 11px; fill: var(--dim) }
svg .grid { stroke: var(--line); fill: none } svg polyline { fill: none; stroke-width: 1.8; stroke-linejoin: round }
svg .faint { stroke-opacity: .28; stroke-width: 1 } svg .band { stroke: none; fill-opacity: .18 }
.legend { font-size: 12px; color: var(--dim) }
.legend span { white-space: nowrap; margin-right: 12px } .legend i { display: inline-block; width: 10px; height: 10px;
  border-radius: 2px; margin-right: 5px } .legend b { color: var(--ink); font-weight: 600 }
img { max-width: 100%; height: auto; image-rendering: pixelated; background: #fff; border-radius: 3px }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13px }
td, th { text-align: left; padding: 2px 14px 2px 0; border-bottom: 1px solid var(--line); vertical-align: top }
td:first-child { font-family: ui-monospace, monospace; white-space: nowrap } summary { cursor: pointer }
"""


def paragraph(text: str, kind: str = "") -> str:
    """Return a paragraph; `kind` is a class of the page's style: dim, note, alarm, note good."""
    return f'<p class="{kind}">{escape(text)}</p>' if kind else f"<p>{escape(text)}</p>"


def picture(pixels: np.ndarray, caption: str) -> str:
    """Return a picture `[H, W, 3]` uint8, kept in the page itself, with what it shows."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    data = base64.b64encode(stream.getvalue()).decode()
    words = escape(caption)
    return (
        f'<p>{words}</p><div class="scroll"><img alt="{words}" src="data:image/png;base64,{data}" '
        f'width="{pixels.shape[1]}"></div>'
    )


def table(rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """Return a table of texts."""
    top = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table>{f"<tr>{top}</tr>" if top else ""}{body}</table></div>'


def folded(title: str, content: str) -> str:
    """Return content that opens when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def curves(lines: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Return the curves of a log, by heading."""
    return {heading: cards(charts) for heading, charts in grouped(lines).items()}


def cards(charts: Iterable[Chart], *, last_values: bool = True) -> str:
    """Return charts side by side, with the last value of each series in the legend where asked for."""
    return f'<div class="cards">{"".join(_card(chart, last_values) for chart in charts)}</div>'


def _card(chart: Chart, last_values: bool) -> str:
    last = {
        name: f" <b>{points[-1][1]:.4g}</b>" if last_values else "" for name, points in chart.series.items()
    }
    legend = "".join(
        f'<span><i style="background:{_HUES[number % COLOURS]}"></i>{escape(name)}{value}</span>'
        for number, (name, value) in enumerate(last.items())
    )
    scale = " (logarithmic)" if is_logarithmic(chart) else ""
    title = f"<h3>{escape(chart.title)}<span class='dim'>{scale}</span></h3>"
    return f'<div class="card">{title}{svg(chart)}<div class="legend">{legend}</div></div>'


def page(title: str, subtitle: str, sections: Mapping[str, str]) -> str:
    """Return the whole file.

    Args:
        title: Of the page.
        subtitle: A line below it.
        sections: HTML by heading, in order; empty ones are left out.
    """
    hues = "".join(
        f"svg .c{k} {{ stroke: {hue} }} svg .dot.c{k}, svg .band.c{k} {{ fill: {hue} }}"
        for k, hue in enumerate(_HUES)
    )
    body = "".join(f"<h2>{escape(heading)}</h2>{content}" for heading, content in sections.items() if content)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}{hues}</style></head><body>"
        f'<h1>{escape(title)}</h1><p class="dim">{escape(subtitle)}</p>{body}</body></html>\n'
    )

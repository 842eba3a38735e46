"""The look of all plots and pages: colours for light and dark, matplotlib's style, and a figure as SVG or pixels.

A figure is drawn with the light theme's colours. In its SVG each of these colours becomes a CSS variable, to which the
page gives a value for light and one for dark, so that one drawing serves both.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_world.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Colours by the name of their CSS variable: light and dark.
COLOURS = {
    "ink": ("#1d2127", "#e4e7eb"),
    "dim": ("#68707c", "#98a1ad"),
    "line": ("#dfe3e8", "#343a43"),
    "paper": ("#ffffff", "#16181c"),
    "card": ("#f7f8fa", "#1e2126"),
    "good": ("#2f8f57", "#4fb87c"),
    "alarm": ("#c0392b", "#e4574a"),
    "series-0": ("#3b78c4", "#5b97e0"),
    "series-1": ("#d9822b", "#e39a4d"),
    "series-2": ("#3c9d63", "#55b87c"),
    "series-3": ("#b04a8c", "#cc6ba9"),
    "series-4": ("#8a6d3b", "#b3935c"),
    "series-5": ("#5b5fc7", "#8286e6"),
    "series-6": ("#5f7d8c", "#86a5b4"),
    "series-7": ("#2a9d9d", "#4dbdbd"),
}

LIGHT = {name: light for name, (light, _) in COLOURS.items()}

#: Colours of curves, in order.
SERIES = tuple(colour for name, colour in LIGHT.items() if name.startswith("series-"))

#: Steps of the colour scale of energies, and the part of the colour map that it uses on light and on dark paper. The
#: lowest energy stands out most in both.
SCALE_STEPS, SCALE_LIGHT, SCALE_DARK = 8, (0.06, 0.88), (1.0, 0.22)

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": LIGHT["line"],
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": LIGHT["ink"],
    "axes.labelsize": 11,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": LIGHT["ink"],
    "axes.titlesize": 12,
    "axes.unicode_minus": False,
    "figure.facecolor": "none",
    "font.size": 11,
    "grid.color": LIGHT["line"],
    "image.cmap": "viridis",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "vjepa-world",
    "text.color": LIGHT["ink"],
    "text.parse_math": False,
    "xtick.color": LIGHT["line"],
    "xtick.labelcolor": LIGHT["dim"],
    "ytick.color": LIGHT["line"],
    "ytick.labelcolor": LIGHT["dim"],
}


#: Libraries of the extra `reports`. They are imported only where a plot or a page is made.
LIBRARIES = ("jinja2", "matplotlib", "plotly")


class MissingLibraryError(ConfigError):
    """A library of the extra `reports` is not installed."""


def require(*modules: str) -> None:
    """Check that libraries are installed, all of :data:`LIBRARIES` where none is named.

    Raises:
        MissingLibraryError: If one is missing.
    """
    for module in modules or LIBRARIES:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise MissingLibraryError(
                f"plots and pages need {module}, which is not installed ({error}). Install it with: "
                "pip install 'vjepa-world[reports]'"
            ) from error


@contextmanager
def style() -> Iterator[None]:
    """Apply the style to matplotlib figures that are made and drawn inside of the `with` block."""
    require("matplotlib")
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in pixels, whose axes are laid out without overlap."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width / 72, height / 72), dpi=72, layout="constrained")


def to_svg(figure: Figure, label: str) -> str:
    """Return a figure as an `<svg>` element that follows the page's light or dark theme.

    Args:
        figure: Made within :func:`style`, and converted within it.
        label: What it shows, for readers who do not see it.
    """
    stream = io.StringIO()
    figure.savefig(
        stream, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None}
    )
    text = stream.getvalue()
    # The page sets this style and the font once. Groups are named by class, since an id may stand in a page only once.
    text = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace('<g id="', '<g class="')
    text = re.sub(r" font-family: [^;]*;", "", text)
    text = re.sub(r"\s*\n\s*", " ", text).replace("> <", "><").strip()
    for name, colour in LIGHT.items():
        text = text.replace(colour, f"var(--{name})")
    return text.replace("<svg ", f'<svg role="img" aria-label="{escape(label)}" class="plot" ', 1)


def to_pixels(figure: Figure, scale: float = 1.0) -> np.ndarray:
    """Return a figure as an RGB picture `[H, W, 3]` uint8 on white, `scale` times its size in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_facecolor("white")
    figure.set_dpi(72 * scale)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def colour_map(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Return the colours of `values [...]` on a scale from `low` (dark) to `high` (bright), uint8 `[..., 3]`."""
    require("matplotlib")
    from matplotlib import colormaps

    share = (values - low) / ((high - low) or 1.0)
    return np.asarray(colormaps["viridis"](np.clip(share, 0.0, 1.0), bytes=True)[..., :3])


def css_variables(dark: bool) -> dict[str, str]:
    """Return the page's colours by CSS variable: those of :data:`COLOURS`, and the steps of the energy scale."""
    steps = np.linspace(*(SCALE_DARK if dark else SCALE_LIGHT), SCALE_STEPS)
    scale = {f"scale-{k}": f"#{bytes(colour).hex()}" for k, colour in enumerate(colour_map(steps, 0.0, 1.0))}
    return {name: pair[dark] for name, pair in COLOURS.items()} | scale

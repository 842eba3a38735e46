"""Pages: HTML files with everything in them, made from the templates in this folder."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from vjepa_world.reports.theme import colour_map, css_variables, require

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of a grid of images: an image and what it shows, or text alone.

    Attributes:
        text: What the image shows, or the text where there is none.
        pixels: `[H, W, 3]` uint8.
        is_map: Whether pixels are values of tokens, which are enlarged without smoothing.
    """

    text: str = ""
    pixels: np.ndarray | None = None
    is_map: bool = False


@dataclass(frozen=True, eq=False)
class ImageGrid:
    """Images in rows.

    Attributes:
        head: Text above each column.
        rows: Label and cells of each row.
        height: Height at which images are shown [pixels].
        caption: What is shown.
        scale: Values at the ends of the maps' colour scale; None without maps.
        scale_label: What the maps show.
    """

    head: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    height: int
    caption: str = ""
    scale: tuple[float, float] | None = None
    scale_label: str = ""


def render(template: str, **content: object) -> str:
    """Return the page that a template makes.

    Args:
        template: Name of a file in `templates`, without its ending.
        content: What the template shows. Text is escaped; drawings (`<svg>`) are marked as safe in the templates.
    """
    themes = {"light": css_variables(dark=False), "dark": css_variables(dark=True)}
    stops = [f"#{bytes(colour).hex()}" for colour in colour_map(np.linspace(0, 1, 9), 0, 1)]
    page = _environment().get_template(f"{template}.html.j2")
    return page.render(themes=themes, colour_map=stops, **content) + "\n"


@cache
def _environment() -> Environment:
    require("jinja2")
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("vjepa_world.reports.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"png": png_address, "number": number, "fixed": fixed}
    return environment


def png_address(pixels: np.ndarray) -> str:
    """Return a picture `[H, W, 3]` uint8 as the address of a PNG image that holds the image itself."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"


def number(value: Any) -> Any:
    """Return a float in four significant digits, anything else as it is."""
    return f"{value:.4g}" if isinstance(value, float) else value


def fixed(value: float, digits: int = 4, missing: str = "none") -> str:
    """Return a number with a fixed count of digits; `missing` where it is not finite."""
    return f"{value:.{digits}f}" if math.isfinite(value) else missing

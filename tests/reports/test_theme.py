"""Light and dark theme, and the message if a library is missing."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import run
from tests.data.conftest import make_writer
from vjepa_world.reports.theme import (
    COLOURS,
    LIBRARIES,
    LIGHT,
    MissingLibraryError,
    css_variables,
    new_figure,
    require,
    style,
    to_pixels,
    to_svg,
)

ADVICE = r"pip install 'vjepa-world\[reports\]'"


def luminance(colour: str) -> float:
    """Return the relative luminance of WCAG 2."""
    channels = np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255
    linear = np.where(channels <= 0.03928, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_curves_can_be_read_on_paper_and_cards(dark: bool) -> None:
    colours = css_variables(dark)
    for ground in ("paper", "card"):
        for name in colours:
            if name in ("ink", "dim") or name.startswith("series"):
                pair = sorted((luminance(colours[name]), luminance(colours[ground])))
                contrast = (pair[1] + 0.05) / (pair[0] + 0.05)
                assert contrast >= (4.5 if name in ("ink", "dim") else 2.5), (name, ground)


def test_each_colour_stands_for_one_variable() -> None:
    assert len(set(LIGHT.values())) == len(COLOURS)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) for pair in COLOURS.values() for colour in pair)


def test_a_drawing_has_text_as_text_and_no_id_twice() -> None:
    with style():
        figures = [new_figure(200, 100) for _ in range(2)]
        for figure in figures:
            figure.add_subplot(title="a < b $x$").plot([0, 1], [0, 1], label="x")
        drawings = [to_svg(figure, 'a "label"') for figure in figures]
    assert drawings[0] == drawings[1]  # nothing depends on when or how often it is drawn
    assert "a &lt; b $x$</text>" in drawings[0]
    assert 'aria-label="a &quot;label&quot;"' in drawings[0]
    names = re.findall(r' id="([^"]*)"', drawings[0])
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z][0-9a-f]{10}", name) for name in names)  # by content


def test_pixels_are_on_white() -> None:
    with style():
        pixels = to_pixels(new_figure(30, 20))
    assert pixels.shape == (20, 30, 3) and pixels.dtype == np.uint8
    assert (pixels == 255).all()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_missing_library_is_reported_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    require()
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibraryError, match=f"need {library}, which is not installed .*{ADVICE}"):
        require()


def test_commands_report_a_missing_library_before_they_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "plotly", None)
    for words in (
        ["report", "runs/pretrain/none"],
        ["evaluate-open-loop", "data.path=none"],
        ["plan", "--image", "none.png", "--goal", "none.png", "--state", "0", "--html", "page.html"],
    ):
        assert run(tmp_path, *words) == 2
        assert re.search(ADVICE, capsys.readouterr().err)


def test_inspect_describes_a_dataset_without_the_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = make_writer(tmp_path / "arm", image_shape=(32, 32, 3))
    with writer.shard(0) as out:
        frames = np.zeros((12, 32, 32, 3), np.uint8)
        out.add_episode(frames, np.zeros((12, 3), np.float32), np.zeros((11, 2), np.float32), task="rest")
    writer.finalize()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert run(tmp_path, "inspect", "arm") == 0
    printed = capsys.readouterr().out
    assert "1 episode" in printed
    assert re.search(f"no picture: plots and pages need matplotlib.*{ADVICE}", printed)

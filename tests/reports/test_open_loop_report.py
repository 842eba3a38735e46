from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from planners import CEM, GoalL1
from tests.evaluation.pose_world import TOKENS, PoseModel, pose_windows
from vjepa_world.evaluation.open_loop.assessment import assess, summary_table
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy
from vjepa_world.evaluation.open_loop.measurements import Measurements, measure
from vjepa_world.reports.open_loop.pictures import nearest_frames, shown_frames
from vjepa_world.reports.open_loop.report import open_loop_page
from vjepa_world.reports.open_loop.strips import Shown
from vjepa_world.reports.plot_panel import Span, colours

CONFIG = OpenLoopConfig(horizon=3, samples=24, points=9, pictures=2)
WINDOWS = pose_windows(count=16, horizon=3, share=0.6)


def judged(model: PoseModel) -> Measurements:
    planner = CEM(model, energy=GoalL1(), num_samples=64, num_iterations=8, num_elites=8, momentum_std=0.1)
    return measure(model, planner, GoalL1(), WINDOWS, CONFIG, seed=0)


@pytest.fixture(scope="module")
def exact() -> Measurements:
    return judged(PoseModel())


def answers(measured: Measurements) -> list[str]:
    return [assessment.answer for assessment in assess(measured.metrics)]


def test_an_exact_model_passes_every_question(exact: Measurements) -> None:
    assert answers(exact) == ["yes"] * 6
    assert exact.metrics["outside_bounds"] == 0
    assert exact.metrics["rank_correlation"]["position"]["value"] > 0.99
    assert abs(exact.metrics["camera_rotation"]["angle_deg"]) < 2


def test_a_model_that_ignores_actions_is_caught() -> None:
    by_question = {
        assessment.question: assessment for assessment in assess(judged(PoseModel(gain=0.0)).metrics)
    }
    assert by_question["Do its predictions depend on the actions?"].answer == "no"
    assert by_question["Does it foresee more than that nothing moves?"].answer == "no"
    assert by_question["Does the energy rise with the distance to the true action?"].answer == "no"
    assert by_question["Does the planner find the true motion?"].answer != "yes"


def test_a_turned_model_is_told_the_correction() -> None:
    last = assess(judged(PoseModel(turn_deg=40.0)).metrics)[-1]
    assert last.answer == "no"
    angle = float(re.search(r"camera_rotation_deg=(-?[\d.]+)", last.evidence)[1])  # type: ignore[index]
    assert angle == pytest.approx(40, abs=3)


def test_the_same_seed_gives_the_same_figures(exact: Measurements) -> None:
    assert judged(PoseModel()).metrics == exact.metrics


def test_the_summary_has_a_line_for_each_question(exact: Measurements) -> None:
    lines = summary_table(exact.metrics).splitlines()
    assert len(lines) == 6
    assert all(" yes " in line for line in lines)


def pictures_of(page: str) -> list[Image.Image]:
    return [
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"data:image/png;base64,([^\"]+)", page)
    ]


def material(decode: bool) -> Shown:
    return Shown(
        energy=WindowEnergy(PoseModel(), GoalL1()),
        windows=WINDOWS,
        places=[1, 9],
        grid=TOKENS,
        are_places=True,
        decode=(lambda features: torch.zeros(len(features), 3, 16, 16, dtype=torch.uint8))
        if decode
        else None,
        seconds=0.25,
    )


def test_the_page_shows_strips_landscapes_actions_and_directions(exact: Measurements) -> None:
    page = open_loop_page("Open loop", "a & b", exact, material(decode=False), ["A note."])
    assert len(pictures_of(page)) == 2 + 2 + 2 + 1
    assert "a &amp; b" in page
    assert "A note." in page
    assert "no pixel decoder" in page
    assert page.count('class="note good"') == 6
    assert page.count("polygon") == 2 * 5 + 7  # errors with three bands each, ratios with two; an axis one
    for heading in ("Assessment", "What it imagines", "Error by horizon", "Camera rotation"):
        assert f"<h2>{heading}</h2>" in page


def test_a_decoder_adds_two_rows_in_place_of_the_nearest_frames(exact: Measurements) -> None:
    without, with_ = (
        pictures_of(open_loop_page("", "", exact, material(decode)))[0] for decode in (False, True)
    )
    assert "no pixel decoder" not in open_loop_page("", "", exact, material(decode=True))
    assert with_.height > without.height
    assert with_.width == without.width


def test_the_nearest_frame_of_true_features_is_their_own() -> None:
    found = nearest_frames(WINDOWS.features[5, 1:], WINDOWS)
    assert torch.equal(found, WINDOWS.frames[5, 1:])


@pytest.mark.parametrize(("frames", "expected"), [(3, [0, 1, 2]), (9, list(range(9)))])
def test_few_frames_are_all_shown(frames: int, expected: list[int]) -> None:
    assert shown_frames(frames) == expected


def test_of_many_frames_the_first_and_last_are_shown() -> None:
    assert shown_frames(33) == [0, 4, 8, 12, 16, 20, 24, 28, 32]


def test_colours_rise_from_dark_to_bright() -> None:
    brightness = colours(np.linspace(0, 1, 9), 0, 1).astype(float).mean(axis=-1)
    assert (np.diff(brightness) > 0).all()
    assert (colours(np.array([-5.0, 0.0]), 0, 1)[0] == colours(np.array([-5.0, 0.0]), 0, 1)[1]).all()


def test_ticks_are_round_and_inside() -> None:
    assert Span(-7.5, 7.5, "x").ticks() == pytest.approx([-5, 0, 5])
    assert Span(0.1, 0.3, "x").ticks() == pytest.approx([0.1, 0.15, 0.2, 0.25, 0.3])

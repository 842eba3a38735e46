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
from vjepa_world.reports.pages.open_loop import open_loop_page
from vjepa_world.reports.plots.film_strips import MAX_FRAMES, OpenLoopSource, nearest_frames
from vjepa_world.reports.plots.images import evenly_spaced
from vjepa_world.reports.theme import colour_map

CONFIG = OpenLoopConfig(horizon=3, samples=24, points=9, pictures=2)
WINDOWS = pose_windows(count=16, horizon=3, share=0.6)


def evaluated(model: PoseModel) -> Measurements:
    planner = CEM(model, energy=GoalL1(), num_samples=64, num_iterations=8, num_elites=8, momentum_std=0.1)
    return measure(model, planner, GoalL1(), WINDOWS, CONFIG, seed=0)


@pytest.fixture(scope="module")
def exact() -> Measurements:
    return evaluated(PoseModel())


def answers(measured: Measurements) -> list[str]:
    return [assessment.answer for assessment in assess(measured.metrics)]


def test_an_exact_model_passes_every_question(exact: Measurements) -> None:
    assert answers(exact) == ["yes"] * 7
    assert exact.metrics["outside_bounds"] == 0
    assert exact.metrics["rank_correlation"]["position"]["value"] > 0.99
    assert abs(exact.metrics["camera_rotation"]["angle_deg"]) < 2


def test_a_model_that_ignores_actions_is_caught() -> None:
    by_question = {
        assessment.question: assessment for assessment in assess(evaluated(PoseModel(gain=0.0)).metrics)
    }
    assert by_question["Do its predictions depend on the actions?"].answer == "no"
    assert by_question["Does it predict better than copying the last frame?"].answer == "no"
    assert by_question["Does the energy rise with the distance to the true action?"].answer == "no"
    assert by_question["Does the planner find the true motion?"].answer != "yes"


def test_a_rotated_model_is_reported_with_the_correction() -> None:
    last = assess(evaluated(PoseModel(turn_deg=40.0)).metrics)[-1]
    assert last.answer == "no"
    angle = float(re.search(r"camera_rotation_deg=(-?[\d.]+)", last.evidence)[1])  # type: ignore[index]
    assert angle == pytest.approx(40, abs=3)


def test_the_same_seed_gives_the_same_metrics(exact: Measurements) -> None:
    assert evaluated(PoseModel()).metrics == exact.metrics


def test_the_summary_has_a_line_for_each_question(exact: Measurements) -> None:
    lines = summary_table(exact.metrics).splitlines()
    assert len(lines) == 7
    assert all(" yes " in line for line in lines)


def images_of(page: str) -> dict[str, Image.Image]:
    """Return the images of film strips by what they show; of several windows the last one's."""
    found = re.findall(r'<img alt="([^"]*)" src="data:image/png;base64,([^"]+)"', page)
    return {name: Image.open(io.BytesIO(base64.b64decode(data))) for name, data in found}


def source(decode: bool) -> OpenLoopSource:
    return OpenLoopSource(
        energy=WindowEnergy(PoseModel(), GoalL1()),
        windows=WINDOWS,
        drawn=[1, 9],
        grid=TOKENS,
        is_spatial=True,
        decode=(lambda features: torch.zeros(len(features), 3, 16, 16, dtype=torch.uint8))
        if decode
        else None,
        seconds=0.25,
    )


def test_the_page_shows_strips_energies_actions_and_directions(exact: Measurements) -> None:
    page = open_loop_page("Open loop", "a & b", exact, source(decode=False), ["A note."])
    for kind, count in (("plane", 2 * 2), ("actions", 2 * 3), ("directions", 1)):
        assert page.count(f'<figure class="card {kind}"><svg') == count
    assert page.count('<table class="images">') == 2
    assert "a &amp; b" in page
    assert "A note." in page
    assert "no pixel decoder" in page
    assert page.count('class="note good"') == 7
    # Errors have three bands each, ratios two; an axis and a group of windows have one.
    assert len(re.findall(r'<g class="band-\d"', page)) == 2 * 5 + 7 + 1
    for heading in ("Assessment", "What it imagines", "Error by horizon", "Camera rotation"):
        assert f"<h2>{heading}</h2>" in page


def test_film_strips_show_real_frames_and_errors_at_their_times(exact: Measurements) -> None:
    images = images_of(open_loop_page("", "", exact, source(decode=False)))
    times = ("0.00 s", "0.25 s", "0.50 s", "0.75 s")
    assert [name for name in images if name.startswith("real")] == [f"real, {time}" for time in times]
    frame = np.asarray(images["real, 0.50 s"])
    expected = Image.fromarray(WINDOWS.frames[9, 2].permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(frame, expected.resize(frame.shape[1::-1], Image.Resampling.BICUBIC))
    assert images["error, model, 0.75 s"].size == TOKENS
    brightness = [np.asarray(images[f"error, copy of first, {time}"]).mean() for time in times[1:]]
    assert brightness == sorted(brightness)  # the arm moves away from the first frame


def test_a_decoder_adds_two_rows_in_place_of_the_nearest_frames(exact: Measurements) -> None:
    without, with_ = (open_loop_page("", "", exact, source(decode)) for decode in (False, True))
    assert "no pixel decoder" not in with_
    rows, more_rows = (set(re.findall(r'<th scope="row">([^<]*)</th>', page)) for page in (without, with_))
    assert rows - more_rows == {"imagined: nearest real frame"}
    assert more_rows - rows == {"real, decoded", "imagined, decoded"}
    columns, same_columns = (re.findall(r'<th scope="col">([^<]*)</th>', page) for page in (without, with_))
    assert columns == same_columns


def test_the_nearest_frame_of_true_features_is_their_own() -> None:
    found = nearest_frames(WINDOWS.features[5, 1:], WINDOWS)
    assert torch.equal(found, WINDOWS.frames[5, 1:])


@pytest.mark.parametrize(("frames", "expected"), [(3, [0, 1, 2]), (9, list(range(9)))])
def test_few_frames_are_all_shown(frames: int, expected: list[int]) -> None:
    assert evenly_spaced(frames, MAX_FRAMES) == expected


def test_of_many_frames_the_first_and_last_are_shown() -> None:
    assert evenly_spaced(33, MAX_FRAMES) == [0, 4, 8, 12, 16, 20, 24, 28, 32]


def test_colours_rise_from_dark_to_bright() -> None:
    brightness = colour_map(np.linspace(0, 1, 9), 0, 1).astype(float).mean(axis=-1)
    assert (np.diff(brightness) > 0).all()
    assert (colour_map(np.array([-5.0, 0.0]), 0, 1)[0] == colour_map(np.array([-5.0, 0.0]), 0, 1)[1]).all()

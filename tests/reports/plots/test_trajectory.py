"""The plot of an episode: frames above their times, curves at their values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.data.arm_motion import arm_episodes, make_trajectory
from vjepa_world.ops.convention import PLAIN, Convention
from vjepa_world.reports.plots.trajectory import (
    FRAMES,
    LEFT,
    PANEL,
    RIGHT,
    WIDTH,
    Panel,
    draw_panel,
    trajectory_picture,
)
from vjepa_world.reports.theme import SERIES, new_figure, style, to_pixels

COLOUR = tuple(bytes.fromhex(SERIES[0][1:]))


def near(picture: np.ndarray, colour: tuple[int, ...], slack: int = 40) -> tuple[np.ndarray, ...]:
    return (np.abs(picture.astype(int) - colour).max(axis=-1) <= slack).nonzero()


def panel(values: np.ndarray, **changes: object) -> Panel:
    settings: dict[str, object] = {
        "title": "a",
        "unit": "m",
        "names": ["x"],
        "times_s": np.arange(len(values)) * 0.5,
        "values": values[:, None],
    }
    return Panel(**(settings | changes))  # type: ignore[arg-type]


def drawn(panel: Panel, end_s: float) -> np.ndarray:
    """Return the picture of a panel whose time axis goes from pixel 50 to pixel 450."""
    with style():
        figure = new_figure(600, 200)
        figure.set_layout_engine("none")
        draw_panel(figure.add_axes((50 / 600, 0.1, 400 / 600, 0.8)), panel, end_s)
        return to_pixels(figure)[:, :455]


def column(time_s: float, end_s: float) -> float:
    return 50 + 400 * time_s / end_s


def test_a_curve_is_drawn_at_its_values() -> None:
    rows, columns = near(drawn(panel(np.array([0.0, 1.0, 0.0, 1.0, 0.0])), 2.0), COLOUR)
    top, bottom = rows.min(), rows.max()
    for time, place in ((0.0, bottom), (0.5, top), (1.0, bottom), (1.5, top), (2.0, bottom)):
        there = rows[np.abs(columns - column(time, 2.0)) <= 1]
        assert np.abs(there - place).min() <= 4
    halfway = rows[np.abs(columns - column(0.25, 2.0)) <= 0.6]
    assert abs(halfway.mean() - (top + bottom) / 2) < 4


def test_an_action_holds_until_the_next() -> None:
    rows, columns = near(drawn(panel(np.array([0.0, 1.0, 0.0]), is_held=True), 1.5), COLOUR)
    for time, high in ((0.25, False), (0.75, True), (1.25, False)):
        there = rows[np.abs(columns - column(time, 1.5)) <= 1].mean()
        assert abs(there - (rows.min() if high else rows.max())) < 5


@pytest.mark.parametrize("value", [0.0, 3.2, -1e-7, 5e6])
def test_a_constant_is_a_line_in_the_middle(value: float) -> None:
    rows, columns = near(drawn(panel(np.full(5, value)), 2.0)[:, 60:440], COLOUR)
    assert np.ptp(rows) < 6
    assert abs(rows.mean() - 100) < 6
    assert len(set(columns.tolist())) > 370


def coloured(index: int) -> np.ndarray:
    frames = np.zeros((40, 3, 24, 32), np.uint8)
    frames[:, index] = np.arange(40, dtype=np.uint8)[:, None, None] * 5 + 50
    return frames


def test_frames_are_drawn_above_their_times() -> None:
    [episode] = arm_episodes(Convention(), count=1, rows=40)
    episode = make_trajectory(
        3, episode.states, episode.actions, frames={"left": coloured(0), "right": coloured(1)}
    )
    picture = trajectory_picture(episode, Convention(), title="arm")
    assert picture.dtype == np.uint8
    assert picture.shape[1:] == (WIDTH, 3)
    slot = (WIDTH - LEFT - RIGHT) / FRAMES
    for channel in (0, 1):
        others = [c for c in range(3) if c != channel]
        strip = (picture[..., channel] >= 50) & (picture[..., others] == 0).all(axis=-1)
        for place in range(FRAMES):
            column = int(LEFT + (place + 0.5) * slot)
            shown = picture[strip[:, column], column, channel]
            expected_row = round(39 * (place + 0.5) / FRAMES)
            assert len(shown) > 60
            assert abs(int(np.median(shown)) - (50 + 5 * expected_row)) <= 5


def test_numbers_of_no_known_meaning_are_drawn_as_they_are() -> None:
    rng = np.random.default_rng(0)
    many = make_trajectory(0, rng.normal(size=(20, 30)), rng.normal(size=(19, 2)))
    few = make_trajectory(0, rng.normal(size=(20, 3)), rng.normal(size=(19, 2)))
    tall, low = (trajectory_picture(episode, PLAIN) for episode in (many, few))
    assert tall.shape[0] - low.shape[0] == 2 * PANEL  # three panels of states, and one
    wrong = Convention(position_at=(40, 41, 42))
    assert np.array_equal(trajectory_picture(few, wrong), low)


def test_an_unreadable_camera_is_reported() -> None:
    [episode] = arm_episodes(Convention(), count=1, rows=40)
    short = make_trajectory(0, episode.states, episode.actions, frames={"main": coloured(0)[:10]})
    picture = trajectory_picture(short, Convention())
    whole = trajectory_picture(replace(short, cameras=()), Convention())
    assert 0 < picture.shape[0] - whole.shape[0] < 60  # a line of text, and no strip


def test_one_row_can_be_shown() -> None:
    episode = make_trajectory(0, np.zeros((1, 7)), np.zeros((0, 7)), frames={"main": coloured(0)[:1]})
    assert trajectory_picture(episode, Convention()).shape[1] == WIDTH

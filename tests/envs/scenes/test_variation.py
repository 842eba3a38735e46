from __future__ import annotations

import colorsys
import dataclasses
from typing import Any

import numpy as np
import pytest

from envs import EnvError, Scene, Variation, sample
from envs.arm.limits import WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.arm.model import MAX_CLUTTER_HALF_SIZE_M
from envs.scenes.editor import table_texture

SCENES = 1000


def draw(variation: Variation, count: int = SCENES) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [sample(variation, rng) for _ in range(count)]


@pytest.fixture(scope="module")
def train() -> list[Scene]:
    return draw(Variation.train())


@pytest.fixture(scope="module")
def test() -> list[Scene]:
    return draw(Variation.test())


def hues(scenes: list[Scene]) -> np.ndarray:
    colours = [
        rgb
        for scene in scenes
        for rgb in (scene.table_rgb, scene.wall_rgb, scene.arm_rgb, *(item.rgb for item in scene.clutter))
    ]
    # Arm tints of almost no saturation have no hue worth the name.
    return np.array([colorsys.rgb_to_hsv(*rgb)[0] for rgb in colours if max(rgb) - min(rgb) > 1e-3])


def gap(first: np.ndarray, second: np.ndarray, period: float) -> float:
    """Return the smallest distance around the circle between an element of one and one of the other."""
    around = np.concatenate([np.sort(second % period) + turn for turn in (-period, 0.0, period)])
    above = np.searchsorted(around, first % period)
    nearest = np.minimum(around[above] - first % period, first % period - around[above - 1])
    return float(nearest.min())


def test_no_hue_is_shared(train: list[Scene], test: list[Scene]) -> None:
    assert gap(hues(train), hues(test), 1.0) > 0.02


def test_hues_go_all_around_the_circle(train: list[Scene], test: list[Scene]) -> None:
    for scenes in (train, test):
        filled = np.histogram(hues(scenes), 6, (0.0, 1.0))[0]
        assert (filled > 0).all()


def test_no_light_direction_is_shared(train: list[Scene], test: list[Scene]) -> None:
    azimuths = [np.array([scene.light_azimuth_rad for scene in scenes]) for scenes in (train, test)]
    assert gap(azimuths[0], azimuths[1], 2 * np.pi) > 0.05


def test_no_texture_is_shared(train: list[Scene], test: list[Scene]) -> None:
    assert not {scene.texture_kind for scene in train} & {scene.texture_kind for scene in test}
    assert not {scene.texture_seed for scene in train} & {scene.texture_seed for scene in test}


def test_no_camera_is_shared_and_tests_stay_near(train: list[Scene], test: list[Scene]) -> None:
    box = np.array([np.deg2rad(4), np.deg2rad(3), 0.04])
    inside, outside = (
        np.array([np.abs(np.array(scene.camera_offset) / box).max() for scene in scenes])
        for scenes in (train, test)
    )
    assert inside.max() <= 1.0
    assert outside.min() >= 1.05
    assert outside.max() <= 1.5


def test_starts_come_from_the_whole_workspace_in_both(train: list[Scene], test: list[Scene]) -> None:
    size = WORKSPACE_HIGH_M - WORKSPACE_LOW_M
    for scenes in (train, test):
        starts = (np.array([scene.start_position_m for scene in scenes]) - WORKSPACE_LOW_M) / size
        assert starts.min() >= 0.0
        assert starts.max() <= 1.0
        for axis in range(3):
            assert np.histogram(starts[:, axis], 5, (0, 1))[0].min() > SCENES / 10


def test_clutter_keeps_apart_fits_and_stays_below_the_fingers(train: list[Scene], test: list[Scene]) -> None:
    counts = set()
    for scene in train + test:
        counts.add(len(scene.clutter))
        for index, item in enumerate(scene.clutter):
            assert max(item.half_size_m) <= MAX_CLUTTER_HALF_SIZE_M
            x, y = item.position_m
            under = abs(y) < WORKSPACE_HIGH_M[1] + 0.1 and WORKSPACE_LOW_M[0] - 0.05 < x
            assert not under or 2 * item.half_size_m[2] < WORKSPACE_LOW_M[2] - 0.01
            for other in scene.clutter[:index]:
                assert np.hypot(x - other.position_m[0], y - other.position_m[1]) > 0.1
    assert counts == {0, 1, 2, 3, 4}


def test_same_generator_draws_the_same_scene() -> None:
    assert draw(Variation.train(), 20) == draw(Variation.train(), 20)


def test_variation_none_draws_one_scene_and_one_start() -> None:
    scenes = draw(Variation.none(), 20)
    assert all(scene == scenes[0] for scene in scenes)


def test_every_texture_is_a_different_picture(train: list[Scene], test: list[Scene]) -> None:
    one_each = {scene.texture_kind: scene for scene in train + test}
    assert len(one_each) == 8
    grey = [
        dataclasses.replace(scene, table_rgb=(0.5, 0.5, 0.5), texture_contrast=0.2, texture_seed=7)
        for scene in one_each.values()
    ]
    pictures = [table_texture(scene).astype(float) for scene in grey]
    for index, picture in enumerate(pictures):
        assert picture.shape == (64, 64, 3)
        for other in pictures[:index]:
            assert np.abs(picture - other).mean() > 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hue_bands": ((0.6, 0.4),)}, "hue_bands .* is empty or reversed"),
        ({"hue_bands": ((0.9, 1.1),)}, "hue_bands .* must lie within 0 to 1"),
        ({"camera_shell": (1.0, 1.0)}, "camera_shell .* give 0 <= inner < outer"),
        ({"clutter_count": (0, 9)}, "clutter_count .* fewest <= most <= 4"),
        ({"texture_kinds": ("marble",)}, "texture_kinds .* must be some of .*checker"),
        ({"texture_seeds": (5, 5)}, "texture_seeds .* is empty"),
        ({"start_high_m": (0.9, 0.3, 0.4)}, "start box .* is not within the workspace"),
    ],
)
def test_wrong_ranges_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(EnvError, match=message):
        dataclasses.replace(Variation.train(), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"camera_scale": None},
        {"camera_scale": (0.1, 0.1)},
        {"camera_shell": (0.0, float("inf"))},
        {"look_at_m": float("nan")},
        {"look_at_m": "x"},
        {"light_intensity": (float("nan"), 1.0)},
        {"hue_bands": ((0.1, 0.2, 0.3),)},
        {"hue_bands": 0.5},
        {"texture_kinds": (1,)},
        {"clutter_count": (0.0, 2.5)},
        {"texture_seeds": (-1, 3)},
        {"start_low_m": (0.4, 0.0, 1j)},
        {"name": 3},
    ],
)
def test_values_of_a_wrong_type_are_refused_by_name(change: dict[str, Any]) -> None:
    with pytest.raises(EnvError, match=next(iter(change))):
        Variation(**change)


def test_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        EnvError, match=r"variation 'tset' is unknown: use one of \['none', 'test', 'train'\]"
    ):
        Variation.named("tset")

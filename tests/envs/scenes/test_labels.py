from __future__ import annotations

from dataclasses import replace

import numpy as np

from envs import Variation, sample
from envs.scenes.labels import labels
from envs.scenes.sampling import sample_object
from envs.scenes.scene import Scene


def scenes(variation: Variation, count: int = 200) -> list[Scene]:
    rng = np.random.default_rng(0)
    return [replace(sample(variation, rng), object=sample_object(variation, rng)) for _ in range(count)]


def test_nothing_of_training_is_called_unseen() -> None:
    for scene in scenes(Variation.train()):
        found = labels(scene)
        assert not any(found[name] for name in found if name.startswith("unseen_") or name == "camera_moved")
        assert found["clutter"] is (len(scene.clutter) > 0)


def test_tests_have_unseen_looks_and_a_mixture_of_objects() -> None:
    found = [labels(scene) for scene in scenes(Variation.test())]
    assert all(entry["camera_moved"] and entry["unseen_light"] and entry["unseen_texture"] for entry in found)
    for name in ("unseen_object", "unseen_colour"):
        share = np.mean([bool(entry[name]) for entry in found])
        assert 0.2 < share < 0.7, name
    assert {entry["object_shape"] for entry in found} == {"box", "cylinder", "ball", "cup", "bar"}


def test_a_bar_is_held_out_whatever_its_size() -> None:
    bars = [scene for scene in scenes(Variation.test()) if scene.object and scene.object.shape == "bar"]
    assert all(labels(scene)["unseen_object"] for scene in bars)
    drawn = {scene.object.shape for scene in scenes(Variation.train()) if scene.object}
    assert drawn == {"box", "cylinder", "ball", "cup"}


def test_a_scene_without_an_object_has_no_labels_of_one() -> None:
    scene = sample(Variation.train(), np.random.default_rng(0))
    assert "object_shape" not in labels(scene)

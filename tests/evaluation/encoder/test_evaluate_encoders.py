"""Rank correlations of encoders: known answers, undefined ones, paired differences, breakdowns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from planners import GoalCosine, GoalL1
from tests.evaluation.encoder.known_features import FarFirst, PointReader, point_frames
from vjepa_world.evaluation.encoder.evaluate import evaluate_encoders
from vjepa_world.evaluation.encoder.frames import GoalFrames
from vjepa_world.evaluation.encoder.scores import score
from vjepa_world.evaluation.encoder.table import table
from vjepa_world.evaluation.rank_correlation import share_in_order
from vjepa_world.evaluation.statistics import EvaluationError

FRAMES = [point_frames(scene) for scene in range(6)]


def test_the_true_position_ranks_perfectly_and_its_reverse_the_other_way() -> None:
    found = evaluate_encoders({"true": PointReader(), "reverse": FarFirst()}, FRAMES, energy=GoalL1())
    true, reverse = (row["kinds"]["arm, 25 cm"] for row in found.metrics()["encoders"])
    assert true["rank"]["value"] > 0.995 and true["in_order"]["value"] > 0.98
    assert reverse["rank"]["value"] == -1 and reverse["in_order"]["value"] == 0
    nearest = np.mean([float(entry.distances.min()) for entry in FRAMES])
    furthest = np.mean([float(entry.distances.max()) for entry in FRAMES])
    assert true["lowest"]["value"] == pytest.approx(nearest)
    assert reverse["lowest"]["value"] == pytest.approx(furthest)
    assert found.metrics()["kinds"]["arm, 25 cm"]["nearest"] == pytest.approx(nearest)


def test_positions_with_noise_rank_in_between() -> None:
    readers = {"true": PointReader(), "noisy": PointReader(noise=40.0), "noise": PointReader(0.0, 40.0)}
    true, noisy, noise = (row["all"] for row in evaluate_encoders(readers, FRAMES).metrics()["encoders"])
    assert noise["value"] < 0.25 < noisy["value"] < true["value"] - 0.05
    low, high = noise["interval"]
    assert low < noise["value"] < high and low < 0.1


def test_constant_features_have_no_order_and_the_output_says_so() -> None:
    result = evaluate_encoders({"true": PointReader(), "constant": PointReader(gain=0.0)}, FRAMES)
    constant = result.metrics()["encoders"][1]
    assert constant["all"]["value"] is None
    kind = constant["kinds"]["arm, 25 cm"]
    assert kind["undefined"] == 6 and kind["rank"]["value"] is None and kind["difference"]["value"] is None
    text = table(result.metrics())
    assert "constant, 4 tokens: all energies are equal in 6 sets of 'arm, 25 cm', which are left out" in text
    assert "undefined" in text


def test_differences_are_paired_with_the_first_encoder() -> None:
    readers = {"true": PointReader(), "noisy": PointReader(noise=40.0)}
    result = evaluate_encoders(readers, FRAMES)
    first, other = result.metrics()["encoders"]
    assert "difference" not in first and other["to_tokens"] == 4
    per_scene = [a.rank - b.rank for a, b in zip(*result.scores, strict=True)]
    assert other["difference"]["value"] == pytest.approx(np.mean(per_scene))
    low, high = other["difference"]["interval"]
    assert 0 < low < other["difference"]["value"] < high
    assert f"to noisy, 4 tokens  +{np.mean(per_scene):.2f}" in " ".join(
        table(result.metrics()).split()
    ).replace("tokens +", "tokens  +")


def test_kinds_goals_and_factors_are_told_apart() -> None:
    frames = [
        point_frames(scene, moved=moved, goal=goal, factors={"camera_moved": scene % 2 == 0, "shape": "ball"})
        for scene in range(6)
        for moved, goal in (("arm", "above"), ("arm", "lifted"), ("object", "above"))
    ]
    row = evaluate_encoders({"true": PointReader()}, frames).metrics()["encoders"][0]
    assert list(row["kinds"]) == ["arm, 25 cm", "object, 25 cm"]
    assert list(row["kinds"]["arm, 25 cm"]["goals"]) == ["above", "lifted"]
    assert row["kinds"]["object, 25 cm"]["goals"] == {}
    factors = row["kinds"]["arm, 25 cm"]["factors"]
    assert list(factors) == ["camera_moved"]
    assert {label: group["scenes"] for label, group in factors["camera_moved"].items()} == {"no": 3, "yes": 3}
    assert factors["camera_moved"]["yes"]["value"] > 0.99
    assert "camera_moved: yes" in table(evaluate_encoders({"true": PointReader()}, frames).metrics())


def test_the_energy_is_the_planners() -> None:
    entry = FRAMES[0]
    reader = PointReader()
    views = torch.cat([entry.goal_views[0][None], entry.views[0]])
    tokens = reader([views])[0]
    for energy in (GoalL1(), GoalCosine()):
        result = evaluate_encoders({"true": reader}, [entry, FRAMES[1]], energy=energy)
        one_by_one = [
            float(energy(tokens[None, None, None, k], tokens[:1], torch.zeros(1, 1, 1, 7)))
            for k in range(1, 21)
        ]
        torch.testing.assert_close(result.energies[0][0], torch.tensor(one_by_one).double())


def test_a_result_of_one_scene_has_no_interval() -> None:
    found = evaluate_encoders({"true": PointReader()}, FRAMES[:1])
    assert found.metrics()["encoders"][0]["all"]["interval"] == [None, None]
    assert "±" not in table(found.metrics()).splitlines()[2]


def test_pairs_in_order_by_hand() -> None:
    distances = torch.tensor([1.0, 2.0, 3.0])
    assert share_in_order(torch.tensor([1.0, 2.0, 3.0]), distances) == 1
    assert share_in_order(torch.tensor([2.0, 1.0, 3.0]), distances) == pytest.approx(2 / 3)
    assert share_in_order(torch.tensor([1.0, 1.0, 3.0]), distances) == pytest.approx(2.5 / 3)
    assert share_in_order(torch.tensor([1.0, 5.0, 3.0]), torch.tensor([1.0, 1.0, 2.0])) == 0.5
    assert math.isnan(score(torch.ones(3), distances).rank)
    assert score(torch.tensor([3.0, 1.0, 2.0]), distances).lowest == 2


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(
        EvaluationError, match="got 0 encoders and 6 sets of frames; give at least one of each"
    ):
        evaluate_encoders({}, FRAMES)
    with pytest.raises(EvaluationError, match=r"energies of arm, 25 cm in scene 0 are not finite"):
        evaluate_encoders({"broken": PointReader(gain=math.inf)}, FRAMES)
    entry = FRAMES[0]
    with pytest.raises(EvaluationError, match="has 2 distances, .* at least 3"):
        GoalFrames(
            scene=0,
            goal="",
            moved="arm",
            within=0.1,
            unit="m",
            goal_views=entry.goal_views,
            views=(entry.views[0][:2],),
            distances=entry.distances[:2],
        )

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from vjepa_world.data.training_record import (
    UsedEpisodes,
    hash_number,
    other_environments,
    pack,
    training_record,
    unpack,
)
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import DataError


class Recorded:
    def __init__(self, about: dict[str, Any]) -> None:
        self.about = about


def used(about: dict[str, Any], trained: dict[int, str], held_out: dict[int, str]) -> UsedEpisodes:
    return UsedEpisodes(cast(TrajectoryDataset, Recorded(about)), trained, held_out)


@pytest.mark.parametrize("numbers", [set(), {0}, {2**64 - 1, 0, 5}, set(range(1000, 4000, 7))])
def test_numbers_come_back(numbers: set[int]) -> None:
    assert unpack(pack(numbers)) == numbers


def test_tens_of_thousands_of_seeds_and_hashes_are_compact() -> None:
    rng = np.random.default_rng(0)
    seeds = set(rng.integers(2**32, size=40_000).tolist())
    hashes = set(rng.integers(2**63, size=40_000).tolist())
    assert unpack(pack(seeds)) == seeds
    assert len(pack(seeds)) < 4.5 * 40_000
    assert len(pack(hashes)) < 10 * 40_000


def test_a_record_has_hashes_of_all_and_seeds_of_recorded_environments() -> None:
    about = {"environment": {"id": "Push-v0", "variation": "train"}, "episode_seeds": [7, 8, 2**40]}
    record = training_record(
        [used(about, {0: "0a", 2: "0b"}, {1: "0c"}), used({}, {0: "0c", 1: ""}, {1: "0d"})]
    )
    assert {use: unpack(packed) for use, packed in record["episodes"].items()} == {
        "trained": {10, 11, 12},
        "held_out": {13},  # 0c was trained on in the other dataset
    }
    [environment] = record["environments"]
    assert (environment["id"], environment["variation"]) == ("Push-v0", "train")
    assert (unpack(environment["trained"]), unpack(environment["held_out"])) == ({7, 2**40}, {8})


def test_older_lists_are_read_and_damage_is_reported() -> None:
    assert unpack(["0a", "ff"]) == {10, 255}
    assert (hash_number("ff"), hash_number("")) == (255, None)
    with pytest.raises(DataError, match="record of its training episodes is damaged"):
        unpack(pack({1, 2, 3})[:-3])


def test_environments_that_were_not_trained_in_are_told_from_those_that_are_not_recorded() -> None:
    entries = [{"id": name, "trained": "", "held_out": ""} for name in ("my_module:Push-v0", "Grasp-v0")]
    assert other_environments({"environments": entries}, "Reach-v0") == ["Grasp-v0", "Push-v0"]
    assert other_environments({"environments": entries}, "other_module:Push-v0") == []
    assert other_environments({"environments": []}, "Reach-v0") == []
    assert other_environments({}, "Reach-v0") == []

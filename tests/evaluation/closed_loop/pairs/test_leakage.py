from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pytest

from vjepa_world.data.training_record import pack
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.pairs.leakage import find_leakage

PAIRS = [Pair(seed) for seed in range(10)]


def provenance(
    *, trained: Collection[int], held_out: Collection[int] = (), hashes: Collection[int] = (), **more: Any
) -> dict[str, Any]:
    entry = {"id": "Push-v0", "variation": "train", "trained": pack(trained), "held_out": pack(held_out)}
    episodes = {"trained": pack(hashes), "held_out": pack(())}
    return {"verb": "finetune", "environments": [entry], "episodes": episodes, **more}


def test_seeds_of_training_and_tuning_are_found_and_named() -> None:
    found = find_leakage(provenance(trained={3, 4, 50}, held_out={7}), "Push-v0", PAIRS)
    assert found.indices == (3, 4, 7)
    assert [(part.command, part.use, part.pairs) for part in found.seen] == [
        ("finetune", "trained", (3, 4)),
        ("finetune", "held_out", (7,)),
    ]
    assert found.text.startswith(
        "LEAKAGE: 3 of 10 pairs are known to the checkpoint (finetune was trained on 2; finetune held out to tune 1). "
    )
    assert found.as_json()["leaks"] is True


def test_a_clean_evaluation_is_not_marked() -> None:
    found = find_leakage(provenance(trained={30, 31}, hashes={1, 2, 3}), "Push-v0", PAIRS)
    assert (found.seen, found.as_json()["leaks"]) == ((), False)
    assert found.text == "No pair was seen in training (recorded: finetune 3 episodes)."


@pytest.mark.parametrize(("name", "leaks"), [("my_module:Push-v0", True), ("Grasp-v0", False)])
def test_seeds_count_in_the_same_environment_only(name: str, leaks: bool) -> None:
    assert bool(find_leakage(provenance(trained={3}), name, PAIRS).seen) == leaks


def test_recorded_episodes_are_known_by_their_content() -> None:
    pairs = [Pair(1, episode="ff"), Pair(2, episode="0a"), Pair(3)]
    assert find_leakage(provenance(trained=set(), hashes={255}), "Reach-v0", pairs).indices == (0,)


def test_an_encoder_of_another_world_model_is_counted_by_itself() -> None:
    pretrained = provenance(trained={5}) | {"verb": "pretrain"}
    world_model = provenance(trained={7}, hashes={1, 2, 3}, encoder=pretrained)
    found = find_leakage(provenance(trained={30, 31}, encoder=world_model), "Push-v0", PAIRS)
    assert found.checked == {"finetune": 2, "the encoder's finetune": 3, "pretrain": 1}
    assert [(part.command, part.pairs) for part in found.seen] == [
        ("the encoder's finetune", (7,)),
        ("pretrain", (5,)),
    ]


def test_the_data_of_the_encoder_counts_too_and_what_is_not_recorded_is_said() -> None:
    encoder = provenance(trained={5}) | {"verb": "pretrain"}
    found = find_leakage(provenance(trained=set(), encoder=encoder), "Push-v0", PAIRS)
    assert [(part.command, part.pairs) for part in found.seen] == [("pretrain", (5,))]
    found = find_leakage(provenance(trained=set(), encoder={"verb": "pretrain"}), "Push-v0", PAIRS)
    assert found.text == (
        "No pair was seen in training (recorded: finetune 0 episodes). Not known: the episodes of pretrain, which the "
        "checkpoint does not record."
    )
    assert find_leakage({}, "Push-v0", PAIRS).text == "Leakage could not be checked."

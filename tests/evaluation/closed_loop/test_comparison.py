from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from vjepa_world.evaluation.closed_loop.comparison import (
    compare_evaluations,
    comparison_table,
    is_evaluation,
    read_evaluation,
)
from vjepa_world.evaluation.closed_loop.episode_log import EpisodeLog
from vjepa_world.evaluation.closed_loop.evaluate import POLICY, RANDOM
from vjepa_world.evaluation.closed_loop.pairs.drawing import draw_pairs
from vjepa_world.evaluation.closed_loop.pairs.manifest import MANIFEST_FILE, Manifest
from vjepa_world.evaluation.closed_loop.rollout import rollouts
from vjepa_world.evaluation.statistics import EvaluationError, paired_difference
from vjepa_world.planning.policy import Policy, RandomPolicy

N = 30


def write(folder: Path, policy: Policy, *, seed: int = 0, count: int = N, env_id: str = "Box-v0") -> Path:
    folder.mkdir()
    pairs = draw_pairs(BoxEnv(), seed, N)
    Manifest({"id": env_id}, pairs, seed=seed).write(folder / MANIFEST_FILE)
    log = EpisodeLog(folder)
    for name, actor in ((POLICY, policy), (RANDOM, CentroidPolicy())):
        for recording in rollouts([BoxEnv()], actor, pairs.pairs[:count], max_actions=20):
            log.add(name, recording.episode)
    log.close()
    return folder


def test_evaluations_are_compared_with_the_first_pair_by_pair(tmp_path: Path) -> None:
    random = RandomPolicy(BoxEnv.action_low, BoxEnv.action_high)
    folders = [write(tmp_path / "random", random), write(tmp_path / "solver", CentroidPolicy())]
    assert all(map(is_evaluation, folders)) and not is_evaluation(tmp_path)
    found = [read_evaluation(folder) for folder in folders]
    first, second = compare_evaluations(found)
    outcomes = [np.array([episode.success for episode in entry.episodes]) for entry in found]
    assert outcomes[1].all() and 0 < outcomes[0].sum() < N
    assert second["difference"] == paired_difference(outcomes[1], outcomes[0]).as_json()
    assert (second["only_here"], second["only_first"]) == (N - outcomes[0].sum(), 0)
    off = [
        b.final_distance - a.final_distance for a, b in zip(*(entry.episodes for entry in found), strict=True)
    ]
    assert second["distance_difference"]["value"] == np.median(off) < 0
    assert second["held_difference"]["value"] == 1.0 - first["held"]["success_rate"]
    assert "difference" not in first
    table = comparison_table([first, second])
    assert (
        f"solver: {second['only_here']} solved here alone, 0 by the first alone; better than the first"
        in table
    )
    [_, same] = compare_evaluations([found[0], found[0]])
    assert "the interval includes 0" in comparison_table([first, same])


def test_other_pairs_other_environments_and_stopped_runs_are_refused(tmp_path: Path) -> None:
    first = read_evaluation(write(tmp_path / "a", CentroidPolicy()))
    other = read_evaluation(write(tmp_path / "b", CentroidPolicy(), seed=1))
    with pytest.raises(
        EvaluationError,
        match=r"cannot be compared pair by pair: their pairs differ \(30 and 30\). .*manifest=.*a",
    ):
        compare_evaluations([first, other])
    task = read_evaluation(write(tmp_path / "c", CentroidPolicy(), env_id="Push-v0"))
    with pytest.raises(EvaluationError, match="env.id is 'Box-v0' in the first and 'Push-v0' in the second"):
        compare_evaluations([first, task])
    with pytest.raises(EvaluationError, match="has 3 episodes of 30 pairs: it was stopped. Run it again"):
        read_evaluation(write(tmp_path / "d", CentroidPolicy(), count=3))
    with pytest.raises(EvaluationError, match="1 evaluation given; allowed are two or more"):
        compare_evaluations([first])

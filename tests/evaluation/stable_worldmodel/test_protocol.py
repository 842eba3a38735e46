"""Recording and evaluation by stable-worldmodel's own code, where it is installed."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.errors import ConfigError, DataError, InstallationError
from vjepa_world.evaluation.stable_worldmodel import worlds
from vjepa_world.evaluation.stable_worldmodel.policy import WorldPolicy
from vjepa_world.evaluation.stable_worldmodel.protocol import choose_pairs, evaluate_world
from vjepa_world.evaluation.stable_worldmodel.recording import WorldRecording, record_world
from vjepa_world.evaluation.stable_worldmodel.worlds import WORLDS, world_spec
from vjepa_world.planning.policy import RandomPolicy

SIZE = 32


def test_pairs_are_distinct_and_have_a_goal() -> None:
    episodes, starts = choose_pairs([30, 10, 27], 7, goal_steps=25, seed=42)
    assert sorted(zip(episodes, starts, strict=True)) == [*((0, step) for step in range(5)), (2, 0), (2, 1)]
    with pytest.raises(DataError, match="has 7 starts with a goal 25 steps later, and 8 are needed"):
        choose_pairs([30, 10, 27], 8, goal_steps=25, seed=42)


def test_an_unknown_world_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'push_t'"):
        world_spec("pusht")


def test_a_missing_package_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(worlds, "importlib", SimpleNamespace(import_module=missing))
    with pytest.raises(InstallationError, match="install it: pip install --no-deps stable-worldmodel"):
        worlds.package()


@pytest.fixture(scope="module", params=["two_room", "push_t", "reacher"])
def recorded(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, WorldRecording]:
    pytest.importorskip("stable_worldmodel")
    folder = tmp_path_factory.mktemp("worlds") / request.param
    found = record_world(
        world_spec(request.param), folder, episodes=3, steps=34, seed=0, image_size=SIZE, envs=2
    )
    return request.param, found


def random_policy(name: str) -> RandomPolicy:
    made = world_spec(name).make(1, SIZE, 10, recording=False)
    space = made.envs.single_action_space
    made.close()
    return RandomPolicy(space.low, space.high)


def test_a_recording_is_a_dataset_to_train_on(recorded: tuple[str, WorldRecording]) -> None:
    name, recording = recorded
    ours, own = open_trajectories(recording.lerobot), worlds.package().data.load_dataset(str(recording.own))
    assert ours.num_episodes == len(own.lengths) == 3
    first, theirs = ours.episode(0), own.load_episode(0)
    assert len(first) == len(theirs["pixels"]) and first.frames([0]).shape == (1, 3, SIZE, SIZE)
    assert np.allclose(first.actions, np.asarray(theirs["action"])[:-1])
    states = [np.asarray(theirs[column]) for column in world_spec(name).state]
    assert np.allclose(first.states, np.concatenate(states, axis=1))


def test_both_criteria_are_of_the_same_episodes_as_the_worlds_own_evaluation(
    recorded: tuple[str, WorldRecording],
) -> None:
    name, recording = recorded
    spec, policy = world_spec(name), random_policy(name)
    steps = {"goal_steps": 4, "budget": 12}
    found = evaluate_world(
        spec, recording.own, policy, episodes=4, image_size=SIZE, seed=7, together=2, **steps
    )
    assert len(found.success) == len(found.strict) == 4
    assert (
        not (found.strict & ~found.success).any() or name != "push_t"
    )  # the tighter criterion implies the other
    own = worlds.package().data.load_dataset(str(recording.own))
    episodes, starts = choose_pairs(list(own.lengths), 4, goal_steps=4, seed=7)
    untouched = spec.make(4, SIZE, 24, recording=False)
    untouched.set_policy(WorldPolicy(policy, spec.state, seed=7))
    result = untouched.evaluate(
        dataset=own,
        episodes_idx=episodes,
        start_steps=starts,
        goal_offset=4,
        eval_budget=12,
        callables=list(spec.callables),
    )
    untouched.close()
    assert result["episode_successes"].tolist() == found.success.tolist()


def test_every_world_has_columns_for_its_criterion() -> None:
    for spec in WORLDS.values():
        assert spec.columns and spec.state and spec.criterion.steps >= 1

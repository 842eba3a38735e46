from __future__ import annotations

import numpy as np
import pytest

from envs import ArmEnv, Explorer
from envs.arm.limits import WORKSPACE_HIGH_M, WORKSPACE_LOW_M

SIZE_M = WORKSPACE_HIGH_M - WORKSPACE_LOW_M


@pytest.fixture(scope="module")
def wandering(env: ArmEnv) -> tuple[np.ndarray, np.ndarray]:
    """Positions in units of the workspace and actions, of ideal arms that reach every commanded position."""
    positions, actions = [], []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        explorer = Explorer(rng, env.action_space)
        position = rng.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        for _ in range(40):
            action = explorer.act({"state": np.concatenate([position, np.zeros(4)])})
            position = np.clip(position + action[:3], WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
            positions.append((position - WORKSPACE_LOW_M) / SIZE_M)
            actions.append(action)
    return np.array(positions), np.array(actions)


def test_the_whole_workspace_is_visited_almost_evenly(wandering: tuple[np.ndarray, np.ndarray]) -> None:
    positions, _ = wandering
    cells = np.histogramdd(positions, bins=(4, 4, 4), range=[(0, 1)] * 3)[0]
    share = cells / cells.sum() * 64
    assert share.min() > 0.4
    assert share.max() < 2.2
    corners = share[np.ix_([0, 3], [0, 3], [0, 3])]
    assert corners.min() > 0.4


def test_exploration_actions_use_their_range_and_persist(wandering: tuple[np.ndarray, np.ndarray]) -> None:
    _, actions = wandering
    moves = actions[:, :3].reshape(150, 40, 3)
    assert np.abs(moves).max() == pytest.approx(0.075)
    assert (np.abs(moves) > 0.07).mean() > 0.15
    assert (np.abs(moves) < 0.02).mean() > 0.15
    now, following = moves[:, :-1].ravel(), moves[:, 1:].ravel()
    assert 0.3 < np.corrcoef(now, following)[0, 1] < 0.8


def test_exploration_moves_only_xyz_by_default(env: ArmEnv, wandering: tuple[np.ndarray, np.ndarray]) -> None:
    _, actions = wandering
    assert not actions[:, 3:].any()
    explorer = Explorer(np.random.default_rng(0), env.action_space, rotation_scale=0.5, closure_scale=1.0)
    state = {"state": np.array([0.47, 0.0, 0.25, np.pi, 0.0, 0.0, 0.0])}
    turned = np.array([explorer.act(state) for _ in range(100)])
    assert 0.1 < np.abs(turned[:, 3:6]).max() <= 0.15
    assert np.abs(turned[:, 6]).max() > 0.8


def test_same_seed_same_actions_within_bounds(env: ArmEnv) -> None:
    def episode(explorer: Explorer) -> np.ndarray:
        observation, _ = env.reset(seed=4)
        actions = []
        for _ in range(10):
            action = explorer.act(observation)
            assert action.dtype == np.float32
            assert env.action_space.contains(action)
            actions.append(action)
            observation, *_ = env.step(action)
        return np.array(actions)

    explorer = Explorer(np.random.default_rng(1), env.action_space)
    first = episode(explorer)
    explorer.reset(np.random.default_rng(1))
    np.testing.assert_array_equal(episode(explorer), first)

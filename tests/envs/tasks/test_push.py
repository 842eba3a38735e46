"""Push: the expert knows how far a long object reaches."""

from __future__ import annotations

from envs import ArmEnv


def test_the_expert_pushes_bars_in_any_direction() -> None:
    env = ArmEnv("push", image_size=16)
    bar = {"variation": {"object.shape": "bar"}}
    assert [env.reset(seed=seed, options=bar)[1]["redrawn_scenes"] for seed in range(60)] == [0] * 60
    env.close()

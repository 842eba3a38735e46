from __future__ import annotations

from collections.abc import Iterator

import pytest

from envs import ArmEnv


@pytest.fixture(scope="module")
def env() -> Iterator[ArmEnv]:
    made = ArmEnv("reach", render_mode="rgb_array", max_steps=10_000)
    yield made
    made.close()

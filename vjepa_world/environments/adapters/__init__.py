"""Environments of other packages, with goal images, for `env=fetch_reach` and its like.

Importing this package registers their ids; the packages are imported when an environment is made.
"""

from __future__ import annotations

import gymnasium

_HERE = "vjepa_world.environments.adapters"

#: Class and arguments of each id.
ADAPTERS: dict[str, tuple[str, dict[str, str]]] = {
    "adapters/FetchReach-v0": ("fetch:FetchEnv", {"task": "Reach"}),
    "adapters/FetchPush-v0": ("fetch:FetchEnv", {"task": "Push"}),
    "adapters/FetchPickAndPlace-v0": ("fetch:FetchEnv", {"task": "PickAndPlace"}),
    "adapters/DMControlReacher-v0": ("dmc_reacher:ReacherEnv", {}),
    "adapters/OGBenchCube-v0": ("ogbench_cube:CubeEnv", {}),
    "adapters/PushT-v0": ("pusht:PushTEnv", {}),
}

for _id, (_class, _arguments) in ADAPTERS.items():
    gymnasium.register(_id, entry_point=f"{_HERE}.{_class}", kwargs=_arguments)

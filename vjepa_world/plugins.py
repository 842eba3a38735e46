"""Packages of users that add formats, tasks, planners, energies, objectives and encoders to the command line.

A plugin is a module that registers something when it is imported. It is found in two ways:

- `VJEPA_WORLD_PLUGINS=my_module,other_package` names modules that can be imported, also from the current folder;
- an installed package declares an entry point of the group `vjepa_world.plugins`:

    [project.entry-points."vjepa_world.plugins"]
    mine = "my_package.registrations"
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from types import ModuleType

from vjepa_world.errors import InstallationError

#: The environment variable that names modules.
VARIABLE = "VJEPA_WORLD_PLUGINS"

#: The group of entry points.
GROUP = "vjepa_world.plugins"


@functools.cache
def load_plugins() -> tuple[str, ...]:
    """Import all plugins once and return the names of their modules.

    Raises:
        InstallationError: If one cannot be imported.
    """
    from importlib.metadata import entry_points

    named = [name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip()]
    if named:
        _search_here()
    declared = [point.value for point in entry_points(group=GROUP)]
    for source, names in ((f"{VARIABLE} names", named), ("an installed package declares", declared)):
        for name in names:
            _load(name, source)
    return (*named, *declared)


def _load(name: str, source: str) -> None:
    try:
        importlib.import_module(name.partition(":")[0])
    except Exception as error:  # of a foreign module: any
        raise InstallationError(
            f"{source} the plugin '{name}', which cannot be imported ({type(error).__name__}: {error}); correct the "
            "name, install the package, or repair it."
        ) from error


def import_module_here(name: str) -> ModuleType:
    """Import a module that a user named, also from the current folder, which is searched last."""
    _search_here()
    return importlib.import_module(name)


def _search_here() -> None:
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())

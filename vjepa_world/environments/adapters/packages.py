"""Imports the packages that adapters are for."""

from __future__ import annotations

import importlib
from types import ModuleType

from vjepa_world.errors import InstallationError


def import_package(name: str, extra: str) -> ModuleType:
    """Import a module of an optional package.

    Args:
        name: The module.
        extra: The extra of vjepa-world that installs its package.

    Raises:
        InstallationError: If it cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InstallationError(
            f"this environment needs the package {name.partition('.')[0]}, which cannot be imported "
            f"({type(error).__name__}: {error}); install it: pip install 'vjepa-world[{extra}]'"
        ) from error

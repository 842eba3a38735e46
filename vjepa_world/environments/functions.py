"""Functions of users, named `module:function` on the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from vjepa_world.errors import ConfigError, described, nearest
from vjepa_world.plugins import import_module_here


def is_function_name(text: str) -> bool:
    """Return whether a text has the form `module:function`."""
    module, colon, name = text.partition(":")
    return bool(colon) and name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def load_function(text: str, key: str) -> Callable[..., Any]:
    """Return the function `module:function`; modules of the current folder are found too.

    Args:
        text: The name.
        key: The key that it was given to, for errors.

    Raises:
        ConfigError: If the module cannot be imported, or has no such function.
    """
    module_name, _, name = text.partition(":")
    module = import_user_module(module_name, key, text)
    function = getattr(module, name, None)
    if not callable(function):
        functions = [entry for entry, value in vars(module).items() if callable(value) and entry[0] != "_"]
        raise ConfigError(f"{key}={text}: {module_name} has no function '{name}'; {nearest(name, functions)}")
    found: Callable[..., Any] = function
    return found


def import_user_module(module: str, key: str, text: str) -> Any:
    """Import a module that a key names.

    Raises:
        ConfigError: If it cannot be imported.
    """
    try:
        return import_module_here(module)
    except Exception as error:  # of a foreign module: any
        raise ConfigError(
            f"{key}={text}: the module '{module}' cannot be imported ({described(error)}); give a module of the "
            "current folder, of PYTHONPATH or of an installed package."
        ) from error

"""Errors of the environments."""


class EnvError(Exception):
    """Root of every error that `envs` raises on purpose.

    The message says what was got, what was allowed, and what to do.
    """

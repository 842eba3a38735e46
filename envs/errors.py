"""Errors of the environments."""


class EnvError(Exception):
    """Root of every error that `envs` raises on purpose.

    The message states the value, what is allowed, and what to do.
    """

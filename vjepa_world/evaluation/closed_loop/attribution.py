"""Whose errors are whose: an environment that fails during an evaluation is reported with its pair and policy."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vjepa_world.errors import VJEPAWorldError
from vjepa_world.evaluation.statistics import EvaluationError


@contextmanager
def environment_errors(where: str) -> Iterator[None]:
    """Report what an environment raises with the place in the evaluation.

    Args:
        where: Pair, seed and policy, in words.

    Raises:
        EvaluationError: If the environment raised anything; the original error is its cause.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, VJEPAWorldError):  # says it in words already
            raise EvaluationError(f"{where}: {error}") from error
        last = traceback.extract_tb(error.__traceback__)[-1]
        raise EvaluationError(
            f"{where}: the environment raised {type(error).__name__}: {error} "
            f"(line {last.lineno} of {Path(last.filename).name}). Fix the environment, or repeat it alone with "
            "env.reset(seed=, options=) of this pair."
        ) from error

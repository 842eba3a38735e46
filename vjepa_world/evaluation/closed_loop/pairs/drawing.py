"""Draws pairs of start and goal, and checks that an environment still reproduces given ones."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vjepa_world.errors import counted
from vjepa_world.evaluation.closed_loop.environment import Environment, Pair
from vjepa_world.evaluation.closed_loop.pairs.appearance import Appearance
from vjepa_world.evaluation.statistics import EvaluationError

logger = logging.getLogger(__name__)

MAX_DRAWS_PER_EPISODE = 10
"""Candidates tried per pair before a task counts as solved from the start."""

_REPEATS = 5
"""Repeated candidates in a row, for each pair found, after which no others are expected; e^-5 is the chance of one."""


@dataclass(frozen=True)
class Pairs:
    """Pairs of start and goal that are not solved at the reset.

    Attributes:
        pairs: Starts and goals.
        appearances: What each looks like.
        solved_at_reset: Candidates that were left out because they are solved at the reset.
        refused: Candidates that were left out because the environment refuses their start or goal.
        repeated: Candidates that were left out because they have the start and goal of another one.
    """

    pairs: Sequence[Pair]
    appearances: Sequence[Appearance]
    solved_at_reset: int = 0
    refused: int = 0
    repeated: int = 0


def draw_pairs(
    env: Environment, seed: int, n: int, *, on_reset: Callable[[], object] = lambda: None
) -> Pairs:
    """Return `n` different pairs that are not solved at the reset, or fewer, which is warned of, if there are no more.

    There may be fewer where an environment takes its goals from a finite number, such as recorded episodes.
    Candidates are the words of `np.random.SeedSequence(seed).generate_state`, in order: a longer list begins with the
    shorter one.

    Args:
        env: The environment.
        seed: Seed of the list.
        n: Number of pairs, at least 1.
        on_reset: Called for each pair that is found.

    Raises:
        EvaluationError: If `n` is below 1, or nearly all candidates begin solved.
    """
    if n < 1:
        raise EvaluationError(f"{n} episodes were requested; allowed is at least 1. Request more episodes.")
    candidates = np.random.SeedSequence(seed).generate_state(MAX_DRAWS_PER_EPISODE * n).tolist()
    found = unsolved(env, [Pair(candidate) for candidate in candidates], n, on_reset=on_reset)
    if found.pairs and found.repeated and len(found.pairs) < n:
        logger.warning(
            "%s requested, and there are only %s of start and goal: %s drawn again, and left out; give more recorded "
            "episodes to draw them from",
            counted(n, "pair"),
            counted(len(found.pairs), "different one"),
            counted(found.repeated, "pair"),
        )
    elif len(found.pairs) < n:
        raise EvaluationError(
            f"only {len(found.pairs)} of {len(candidates)} seeds drawn from seed {seed} begin unsolved, {n} were "
            "requested; a task has to be unsolved at reset. Place its goals farther away."
        )
    return found


def unsolved(
    env: Environment,
    candidates: Sequence[Pair],
    n: int,
    *,
    skips: tuple[type[Exception], ...] = (),
    check: Callable[[Pair, Any, Mapping[str, Any]], object] = lambda pair, observation, info: None,
    on_reset: Callable[[], object] = lambda: None,
) -> Pairs:
    """Return the first `n` candidates that are not solved at the reset, or fewer if there are not so many.

    Args:
        env: The environment. If it reports `info["options"]` after a reset, which repeat what was drawn, these become
            part of the pair. Another pair with the same ones that looks the same is left out.
        candidates: Pairs.
        n: Number of pairs.
        skips: Errors of a reset for which a candidate is left out and counted, such as of a pose out of reach.
        check: Called with each candidate, the observation and the info of its reset.
        on_reset: Called for each pair that is found.

    Raises:
        EvaluationError: If the environment's `info` lacks a key, or it refuses all candidates.
    """
    pairs, appearances, solved, refused = list[Pair](), list[Appearance](), 0, 0
    seen, repeated, in_a_row = set[str](), 0, 0
    for pair in candidates:
        try:
            observation, info = pair.reset(env, "success", "goal_image")
        except skips as error:
            refused += 1
            if refused == len(candidates):
                raise EvaluationError(
                    f"all {refused} pairs were refused, the last because: {error}"
                ) from error
            continue
        check(pair, observation, info)
        if info["success"]:
            solved += 1
            continue
        drawn = replace(pair, options={**pair.options, **info.get("options", {})})
        looks = Appearance.of(observation, info["goal_image"])
        key = start_and_goal(drawn, looks)
        if info.get("options") and key in seen:
            repeated, in_a_row = repeated + 1, in_a_row + 1
            if in_a_row > _REPEATS * (len(pairs) + 1):
                break  # all have most likely been drawn
            continue
        seen.add(key)
        in_a_row = 0
        pairs.append(drawn)
        appearances.append(looks)
        on_reset()
        if len(pairs) == n:
            break
    return Pairs(pairs, appearances, solved, refused, repeated)


def start_and_goal(pair: Pair, looks: Appearance) -> str:
    """Return a text that two pairs share if they have the same options and look the same, whatever their seeds."""
    return f"{looks.digest} {json.dumps(dict(pair.options), sort_keys=True)}"


def check_reproduced(
    env: Environment, pairs: Pairs, *, on_reset: Callable[[], object] = lambda: None
) -> bool:
    """Check that an environment reproduces pairs, and return whether it does bit for bit.

    Differences as small as those between graphics drivers are accepted.

    Raises:
        EvaluationError: If a start or goal looks different, or begins solved.
    """
    exact = True
    for index, (pair, expected) in enumerate(zip(pairs.pairs, pairs.appearances, strict=True)):
        observation, info = pair.reset(env, "success", "goal_image")
        found = Appearance.of(observation, info["goal_image"])
        differences = expected.differences(found)
        if info["success"]:
            differences.append("it is solved at the reset")
        if differences:
            raise EvaluationError(
                f"pair {index} of {counted(len(pairs.pairs), 'pair')} (seed {pair.seed}) is not reproduced: "
                f"{'; '.join(differences)}. The environment has changed since the manifest was written: evaluate with "
                "its earlier version, or draw new pairs without manifest=."
            )
        exact = exact and found.digest == expected.digest
        on_reset()
    return exact

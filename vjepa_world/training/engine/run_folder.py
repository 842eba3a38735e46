"""The run folder of a training, which one process opens for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch.distributed as dist

from vjepa_world.errors import VJEPAWorldError
from vjepa_world.pretrained.native import checkpoint_steps
from vjepa_world.runs import RunConfig, RunError, open_run, resume_words
from vjepa_world.training.engine.distributed import Ranks

logger = logging.getLogger(__name__)

#: Settings that may differ when a training is resumed: how, how long and where, but not what is trained on what.
MAY_CHANGE = ("trainer.", "device", "probe.", "features.", "data.max_bad_fraction", "data.timeout_s")


@contextmanager
def shared_run(
    command: str,
    config: RunConfig,
    ranks: Ranks,
    *,
    folder: str | Path | None = None,
    may_change: Sequence[str] = MAY_CHANGE,
) -> Iterator[Path]:
    """Yield the run folder, which the main process opens and locks for all of them; see `open_run`.

    Raises:
        RunError: In every process, if the run exists already, is to be resumed and does not exist, or is in use.
    """
    with ExitStack() as opened:
        shared: list[Path | str] = [""]
        if ranks.is_main:
            try:
                shared = [
                    opened.enter_context(open_run(command, config, folder=folder, may_change=may_change))
                ]
            except (VJEPAWorldError, OSError) as error:
                shared = [str(error)]
                if ranks.world_size == 1:
                    raise
        if ranks.world_size > 1:
            dist.broadcast_object_list(shared)
        if isinstance(shared[0], str):
            raise RunError(shared[0])
        if ranks.is_main:
            logger.info("run folder: %s", shared[0])
        try:
            yield shared[0]
        except KeyboardInterrupt:
            if ranks.is_main and not checkpoint_steps(shared[0]):
                logger.info("no checkpoint is written yet; start again with %s", resume_words(shared[0]))
            raise

"""What several commands share. Free of heavy imports, so that help is quick."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vjepa_world.runs import RunConfig


def refuse_taken_run(command: str, config: RunConfig) -> None:
    """Refuse at once a run that is not free, in a job of one process; of several, one holds it for the others.

    Raises:
        RunError: If it exists already, or is to be resumed and does not, or is in use.
    """
    from vjepa_world.runs import refuse_taken

    if os.environ.get("WORLD_SIZE", "1") == "1":
        refuse_taken(command, config)

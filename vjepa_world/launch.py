"""`python -m vjepa_world.launch VERB -m ...`: a job, or a sweep of jobs, through one of Hydra's launchers.

The command line itself composes one configuration and has no launchers. Here Hydra reads the words, multiplies those
with several values, and gives each combination to a launcher (this machine, or Slurm through submitit), which runs it
as `vjepa-world VERB` does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from vjepa_world.cli import PROGRAM, VERBS, main
from vjepa_world.config import default_config_dir
from vjepa_world.config.values import defaults_of
from vjepa_world.errors import ConfigError, TrainingError, nearest


def launch(verb: str, words: Sequence[str]) -> None:
    """Run `verb` with Hydra's command line `words`.

    Raises:
        ConfigError: If it is not a verb with keys.
    """
    import hydra
    from hydra.core.config_store import ConfigStore

    jobs = [name for name, about in VERBS.items() if about.kind == "job"]
    if verb not in jobs:
        raise ConfigError(f"got '{verb}', expected a verb with key=value words; {nearest(verb, jobs)}")
    keys = defaults_of(importlib.import_module(f"vjepa_world.verbs.{verb}").Config)
    store, groups = ConfigStore.instance(), default_config_dir() / f"{verb}.yaml"
    store.store(name="keys", node=keys)
    parts = ["keys", *([verb] if groups.is_file() else []), "_self_"]
    store.store(name="launch", node={"defaults": parts, "hydra": {"job": {"name": verb}}})
    sys.argv[1:] = words
    hydra.main(config_path=str(default_config_dir()), config_name="launch", version_base="1.3")(Job(verb))()


class Job:
    """What a launcher runs, in its own process: the verb, with one combination of the words."""

    def __init__(self, verb: str) -> None:
        self.verb = verb

    def __call__(self, composed: object) -> None:
        """Run the verb; the words are composed again, by the verb's own rules.

        Raises:
            TrainingError: If it ended with an error, which it said.
        """
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig
        from hydra.core.singleton import Singleton

        job = HydraConfig.get()
        # Hydra wants a '+' before keys that are new to it, such as data.sources.NAME.path.
        words = [word.lstrip("+") for word in job.overrides.task]
        if "SUBMITIT_EXECUTOR" in os.environ:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        words = self._named(words, Path(job.runtime.output_dir))
        state = Singleton.get_state()
        GlobalHydra.instance().clear()  # the verb composes by itself
        try:
            code = main([self.verb, *words])
        finally:
            Singleton.set_state(state)
        if code:
            raise TrainingError(f"{PROGRAM} {self.verb} {' '.join(words)} ended with {code}")

    def _named(self, words: list[str], place: Path) -> list[str]:
        """Return the words with a name of the job's own, and `resume=true` where Slurm began the job again."""
        given = dict(word.split("=", 1) for word in words)
        name = given.get("name") or "_".join(place.parts[-3:])
        again = int(os.environ.get("SLURM_RESTART_COUNT", "0")) and Path("runs", self.verb, name).is_dir()
        return [*words, f"name={name}", *(["resume=true"] if again else [])]


if __name__ == "__main__":
    launch(sys.argv[1] if len(sys.argv) > 1 else "", sys.argv[2:])

"""Where the YAML files of the configured commands lie."""

from __future__ import annotations

from pathlib import Path

from vjepa_world.errors import InstallationError


def config_root() -> Path:
    """Return the folder of the YAML files.

    The wheel ships the repository's folder `configs` as `vjepa_world/configs`; a clone and an editable install have it
    next to the package.

    Raises:
        InstallationError: If neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    folders = [package / "configs", package.parent / "configs"]
    for folder in folders:
        if (folder / "pretrain.yaml").is_file():
            return folder
    raise InstallationError(
        f"found no configuration files in {folders[0]} or {folders[1]}: install vjepa-world again"
    )

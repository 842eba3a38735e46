"""Hugging Face hub ids: from the name of a repository to a local folder."""

from __future__ import annotations

from pathlib import Path

from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained.weight_files import WEIGHT_FILES

PATTERNS = ("*.json", "*.safetensors")


def resolve_hub(source: str) -> Path:
    """Return the local folder of a hub repository; files that are not cached are downloaded.

    Without a connection, or with `HF_HUB_OFFLINE=1`, only the cache is used.

    Args:
        source: `OWNER/NAME`, for example `facebook/vjepa2-vitl-fpc64-256`.

    Raises:
        CheckpointError: If the repository is not available; the message says what to download and where to put it.
    """
    try:
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HFValidationError, HTTPError, LocalEntryNotFoundError
    except ImportError as error:
        raise CheckpointError(
            f"{source} is not a file or folder, and hub ids need huggingface_hub: "
            "pip install 'vjepa-world[huggingface]', or give the path of a checkpoint."
        ) from error
    cache = Path(constants.HF_HUB_CACHE) / f"models--{source.replace('/', '--')}"
    try:
        folder = Path(snapshot_download(source, allow_patterns=list(PATTERNS)))
    except HFValidationError as error:
        raise CheckpointError(
            f"{source} is not a file or folder, and not a hub id either ({error}); expected OWNER/NAME."
        ) from error
    except LocalEntryNotFoundError as error:
        reason = "offline mode is on" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise CheckpointError(_instructions(source, cache, reason)) from error
    except (HTTPError, OSError) as error:  # the connection's and the hub's errors, and a full disk
        raise CheckpointError(_instructions(source, cache, _first_line(error))) from error
    if not (folder / "config.json").is_file() or not any((folder / name).is_file() for name in WEIGHT_FILES):
        reason = f"its folder {folder} lacks config.json or the safetensors"
        raise CheckpointError(_instructions(source, cache, reason))
    return folder


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _instructions(source: str, cache: Path, reason: str) -> str:
    name = source.split("/")[-1]
    return (
        f"{source} is not a file or folder, and could not be downloaded from the Hugging Face hub: {reason}. "
        f"On a machine with a connection run `hf download {source} --include '*.json' '*.safetensors' "
        f"--local-dir {name}` (required: config.json, and model.safetensors or its index with all parts); "
        f"copy the folder {name} to this machine and give its path. Or copy its cache to {cache}."
    )

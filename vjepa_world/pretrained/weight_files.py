"""The weight files of a folder in transformers' layout: one or several, safetensors or pickles, memory-mapped."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from vjepa_world.errors import CheckpointError
from vjepa_world.files.validation import read_json_object
from vjepa_world.pretrained.folder import check_intact
from vjepa_world.pretrained.torch_file import BROKEN, load_torch_file

#: In the order of preference.
WEIGHT_FILES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)


@dataclass(frozen=True)
class WeightFiles:
    """The file and shape of each tensor of a folder.

    Attributes:
        shapes: Shape of each tensor, by its name in the files.
        files: File of each tensor.
    """

    shapes: Mapping[str, tuple[int, ...]]
    files: Mapping[str, Path]

    def fetch(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return tensors, of their `shapes`, from a new memory mapping; its memory is released with its last tensor.

        Raises:
            CheckpointError: If a file is broken.
        """
        by_file: dict[Path, list[str]] = {}
        for name in names:
            by_file.setdefault(self.files[name], []).append(name)
        tensors: dict[str, Tensor] = {}
        for file, wanted in by_file.items():
            tensors |= _tensors(file, wanted)
        return tensors


def open_weights(folder: Path) -> WeightFiles:
    """Find the weights of a folder.

    Raises:
        CheckpointError: If there are no weights, a file is missing or broken, or a pickle holds more than tensors.
    """
    found = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{folder} holds no weights; expected one of {', '.join(WEIGHT_FILES)}. "
            "Download or copy the complete folder again."
        )
    if found.suffix != ".json":
        shapes = _shapes(found)
        return WeightFiles(shapes, dict.fromkeys(shapes, found))
    index = _read_index(found)
    shapes = {}
    files = {}
    for shard in sorted(set(index.values())):
        if not (folder / shard).is_file():
            raise CheckpointError(
                f"{found} names {shard}, which does not exist; download or copy the complete folder again."
            )
        for name, shape in _shapes(folder / shard).items():
            shapes[name], files[name] = shape, folder / shard
    absent = [name for name in index if name not in shapes]
    if absent:
        raise CheckpointError(
            f"{found} names {len(absent)} tensors that its files lack: {', '.join(absent[:10])}; "
            "download or copy the complete folder again."
        )
    return WeightFiles(shapes, files)


def _read_index(path: Path) -> dict[str, str]:
    content = read_json_object(
        path, again="It is not an index of weights; download it again.", error=CheckpointError
    )
    index = content.get("weight_map")
    if not isinstance(index, dict) or not all(isinstance(shard, str) for shard in index.values()):
        raise CheckpointError(f"{path} has no weight_map from tensors to files; download it again.")
    outside = [shard for shard in index.values() if Path(shard).name != shard]
    if outside:
        raise CheckpointError(
            f"{path} names {outside[0]!r}; only files inside the folder are allowed. Do not trust this folder."
        )
    return index


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    if path.suffix != ".safetensors":
        return {name: tuple(tensor.shape) for name, tensor in _unpickled(path).items()}
    try:
        with safe_open(path, framework="pt") as file:
            check_intact(path)
            names = list(file.keys())
            return {name: tuple(file.get_slice(name).get_shape()) for name in names}
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from error


def _tensors(path: Path, names: list[str]) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        state = _unpickled(path)
        return {name: state[name] for name in names}
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in names}
    except (OSError, SafetensorError) as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{path} cannot be read ({error}); it is truncated or not a safetensors file, download or make it again."
    )


def _unpickled(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a pickle without executing any of its code."""
    try:
        state = load_torch_file(path)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is not a pickle of tensors only, and is refused: unpickling can run any code ({error}). "
            "Convert it to safetensors if you trust it."
        ) from error
    except BROKEN as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); it is truncated or not a PyTorch file, download it again."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path} is not a dictionary of tensors; expected a model's state dict.")
    return state

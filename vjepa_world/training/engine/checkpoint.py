"""Training checkpoints: `checkpoints/step_N/`, written atomically in the background.

A folder holds what users load (`model.safetensors`, `config.json`) and `state/`, the tensors that a resumed run needs,
in the format of torch.distributed.checkpoint, so that any number of processes can resume.
"""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path, PurePath
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.tensor import DTensor

from vjepa_world.errors import CheckpointError
from vjepa_world.files.checksums import file_checksum
from vjepa_world.files.validation import read_json_object
from vjepa_world.pretrained.folder import write_files
from vjepa_world.pretrained.native import checkpoint_steps, find_checkpoint
from vjepa_world.training.engine.distributed import any_process, ranks

STATE = "state"

#: The checksums of the other files of the training state.
CHECKSUMS = f"{STATE}/checksums.json"

#: The training state of releases before 0.1.
OLD_STATE = "training.pt"


_RESUME_WITH = "Resume with the model and the objective that the run was started with, or give another name=."


class Checkpoints:
    """Writes the checkpoints of a run.

    A save copies the tensors at once and writes them in the background; the next save, or :meth:`wait`, waits for it.

    Args:
        run: Run folder.
        keep_last: Number of the newest checkpoints that stay.
        keep_every: Checkpoints at multiples of this many steps stay too; 0 for none.
    """

    def __init__(self, run: Path, keep_last: int = 2, keep_every: int = 0) -> None:
        self.run, self.keep_last, self.keep_every = run, keep_last, keep_every
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None
        self._stager = BlockingAsyncStager()
        # Its own group: the collectives of a save and of the training must not meet.
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None

    def save(self, step: int, files: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Begin to write a checkpoint.

        Args:
            step: Optimizer steps done.
            files: The files that users load, by name; the main process writes them.
            tensors: The tensors that a resumed run needs, of any shape, with the same names in every process.

        Raises:
            CheckpointError: If the previous checkpoint could not be written; earlier ones stay.
        """
        self.wait()
        staged = cast("dict[str, Tensor]", self._stager.stage(tensors))
        self._pending = self._writer.submit(self._write, step, _copied(files), staged)

    @property
    def failed(self) -> bool:
        """Whether the current write is known to have failed; :meth:`wait` raises the reason."""
        return self._pending is not None and self._pending.done() and self._pending.exception() is not None

    def wait(self) -> None:
        """Wait until the current checkpoint is written.

        Raises:
            CheckpointError: If it cannot be written (in any process).
        """
        if self._pending is None:
            return
        pending, self._pending = self._pending, None
        error = pending.exception()
        if error is not None and not isinstance(error, _FAILURES):
            raise error
        if any_process(error is not None):
            raise CheckpointError(
                f"could not write a checkpoint of {self.run}: {_reason(error)}. Training stopped; the earlier "
                "checkpoints are complete. Free some disk space and continue with resume=true."
            ) from error

    def close(self) -> None:
        """End the writing thread."""
        self._writer.shutdown()

    def _write(self, step: int, files: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        hidden = self.run / "checkpoints" / f".step_{step:08d}"
        try:
            self._together(lambda: _begin(hidden, files))
            with _quiet():
                dcp.save(
                    tensors,
                    storage_writer=dcp.FileSystemWriter(hidden / STATE),
                    process_group=self._group,
                    no_dist=self._group is None,
                )
            # The coordinator's save returns once every process has written its share.
            if ranks().is_main:
                _note_checksums(hidden)
                _publish(hidden, hidden.parent / f"step_{step:08d}")
                self._prune()
        except BaseException:
            if ranks().is_main:
                shutil.rmtree(hidden, ignore_errors=True)  # it would fill the disk further
            raise

    def _together(self, work: Callable[[], None]) -> None:
        """Run `work` in the main process while the others wait; if it fails, raise in all of them."""
        error: BaseException | None = None
        if ranks().is_main:
            try:
                work()
            except _FAILURES as failure:
                error = failure
        if self._group is not None:
            flag = torch.tensor(int(error is not None))
            dist.all_reduce(flag, dist.ReduceOp.MAX, group=self._group)
            if flag and error is None:
                error = RuntimeError("the main process failed")
        if error is not None:
            raise error

    def _prune(self) -> None:
        """Remove old checkpoints; each is renamed first, so that no partly removed one is found."""
        for old in checkpoint_steps(self.run)[: -self.keep_last]:
            if not (self.keep_every and _step_of(old) % self.keep_every == 0):
                shutil.rmtree(old.rename(old.with_name(f".{old.name}")))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the library's warning about a single process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*in a single process", category=UserWarning)
        yield


def _begin(hidden: Path, files: dict[str, Any]) -> None:
    for half in hidden.parent.glob(".step_*"):  # written, or removed, by a process that was killed
        shutil.rmtree(half)
    hidden.mkdir(parents=True)
    write_files(hidden, files)


def _note_checksums(folder: Path) -> None:
    """Write the checksums of the training state's files, which have none of their own that is checked."""
    found = {path.name: file_checksum(path) for path in sorted((folder / STATE).iterdir())}
    write_files(folder, {CHECKSUMS: found})


def _check_state(folder: Path) -> None:
    """Refuse a training state whose files do not match their checksums; an older release wrote none.

    Raises:
        CheckpointError: In every process, if a file changed.
    """
    reason = ""
    if ranks().is_main and (folder / CHECKSUMS).is_file():
        try:
            noted = read_json_object(folder / CHECKSUMS, again="", error=CheckpointError)
            changed = [
                name
                for name, checksum in noted.items()
                if file_checksum(folder / STATE / PurePath(name).name) != checksum
            ]
            reason = f"{', '.join(changed)} changed since it was written" if changed else ""
        except (CheckpointError, OSError) as error:
            reason = str(error)
    if any_process(bool(reason)):
        raise CheckpointError(_broken(folder, RuntimeError(reason or "another process found it changed")))


def _publish(hidden: Path, folder: Path) -> None:
    """Make a checkpoint visible; its name must not reach the disk before its content."""
    _flush_folder(hidden / STATE)
    _flush_folder(hidden)
    hidden.rename(folder)
    _flush_folder(folder.parent)


#: Errors of a failing disk, or of another process.
_FAILURES = (OSError, RuntimeError, SafetensorError, CheckpointException)


def training_tensors(modules: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors that a resumed run needs, of any shape, by name (as shards where they are sharded).

    Those of the optimizer are called `optimizer.PARAMETER.STATE`; a parameter that never had a gradient has none.
    """
    found: dict[str, Tensor] = {f"modules.{name}": tensor for name, tensor in modules.state_dict().items()}
    for name, parameter in modules.named_parameters():
        for word, tensor in optimizer.state.get(parameter, {}).items():
            found[f"optimizer.{name}.{word}"] = tensor
    return found


def restore_training(run: Path, modules: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the newest checkpoint into the modules and the optimizer.

    Returns:
        Optimizer steps done; 0 if the run has no checkpoint yet.

    Raises:
        CheckpointError: If it is broken, or of another architecture.
    """
    folders = checkpoint_steps(run)
    if not folders:
        return 0
    known = tensor_shapes(folders[-1])
    tensors: dict[str, Tensor] = {f"modules.{name}": tensor for name, tensor in modules.state_dict().items()}
    for name, parameter in modules.named_parameters():
        words = [key.rpartition(".")[2] for key in known if key.rpartition(".")[0] == f"optimizer.{name}"]
        # AdamW's words are a count of steps, and averages of the parameter's shape; others are refused below.
        words = [w for w in words if known[f"optimizer.{name}.{w}"] in ((), tuple(parameter.shape))]
        state = {word: _empty(parameter, known[f"optimizer.{name}.{word}"]) for word in words}
        if state:
            optimizer.state[parameter] = state
        tensors |= {f"optimizer.{name}.{word}": tensor for word, tensor in state.items()}
    ours = {name for name in known if name.startswith(("modules.", "optimizer."))}
    unread = sorted(ours - tensors.keys())
    if unread:
        raise CheckpointError(
            f"{folders[-1]} is of another architecture: it has {unread[0]}, which this run has not ({len(unread)} such "
            f"tensors). {_RESUME_WITH}"
        )
    load_tensors(folders[-1], tensors)
    return _step_of(folders[-1])


def _empty(parameter: Tensor, shape: tuple[int, ...]) -> Tensor:
    if shape == tuple(parameter.shape):
        return torch.zeros_like(parameter)
    return torch.zeros(shape, device=parameter.device)


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a checkpoint's training state.

    Raises:
        CheckpointError: If it is broken.
    """
    return {name: tuple(entry.size) for name, entry in _entries(folder).items()}


def _entries(folder: Path) -> dict[str, TensorStorageMetadata]:
    """Return the index entry of each tensor.

    Raises:
        CheckpointError: If the index is broken, or declares more bytes than the files have.
    """
    known = _open(folder).read_metadata().state_dict_metadata
    found = {name: entry for name, entry in known.items() if isinstance(entry, TensorStorageMetadata)}
    stored = sum(path.stat().st_size for path in (folder / STATE).iterdir())
    try:
        declared = sum(math.prod(entry.size) * entry.properties.dtype.itemsize for entry in found.values())
    except (AttributeError, TypeError) as error:
        raise CheckpointError(_broken(folder, error)) from error
    if not 0 <= declared <= stored:
        reason = f"its index declares tensors of {declared} bytes, and its files have {stored}"
        raise CheckpointError(_broken(folder, RuntimeError(reason)))
    return found


def load_tensors(folder: Path, into: dict[str, Tensor]) -> None:
    """Load a checkpoint's tensors into the given ones, of the same shapes, in place; it must have all of them.

    Raises:
        CheckpointError: If the checkpoint is broken, or a tensor is missing or of another shape.
    """
    reader, shapes = _open(folder), tensor_shapes(folder)
    wrong = [name for name, tensor in into.items() if shapes.get(name) != tuple(tensor.shape)]
    if wrong:
        name = wrong[0]
        raise CheckpointError(
            f"{folder} is of another architecture: {len(wrong)} tensors differ, {name} is "
            f"{shapes.get(name, 'missing')} there and {tuple(into[name].shape)} here. {_RESUME_WITH}"
        )
    _check_state(folder)
    try:
        with _quiet():
            dcp.load(into, storage_reader=reader, no_dist=not dist.is_initialized())
    except _FAILURES as error:
        raise CheckpointError(_broken(folder, error)) from error


def load_modules(source: str | Path) -> dict[str, Tensor]:
    """Return the weights, of any shape, of all modules of a pretraining run: encoder, predictor, target.

    Args:
        source: A run folder, whose newest checkpoint is read, or a checkpoint folder.

    Raises:
        CheckpointError: If there is no checkpoint, or it is broken.
    """
    folder = find_checkpoint(source)
    tensors = {
        name: torch.empty(tuple(entry.size), dtype=entry.properties.dtype)
        for name, entry in _entries(folder).items()
        if name.startswith("modules.")
    }
    load_tensors(folder, tensors)
    return _under("modules.", tensors)


def _open(folder: Path) -> dcp.FileSystemReader:
    if (folder / OLD_STATE).is_file():
        raise CheckpointError(
            f"{folder} is of a release before 0.1, whose training state cannot be read; its weights can be: start a "
            "new run with another name=."
        )
    reader = _TensorReader(folder / STATE)
    try:
        reader.read_metadata()
    except (
        OSError,
        EOFError,
        pickle.UnpicklingError,
        AttributeError,
        ValueError,
        LookupError,
        TypeError,
        MemoryError,
        RecursionError,
        ImportError,
    ) as error:
        raise CheckpointError(_broken(folder, error)) from error
    return reader


def _broken(folder: Path, error: BaseException | None) -> str:
    return (
        f"the training state in {folder} cannot be read ({_reason(error)}); remove that folder to resume from the "
        "checkpoint before it."
    )


class _TensorReader(dcp.FileSystemReader):
    """Reads tensors only: the index is unpickled into the few classes that it consists of."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> dcp.Metadata:
        with open(Path(self.path) / ".metadata", "rb") as stream:
            metadata: dcp.Metadata = _IndexUnpickler(stream).load()
        if metadata.storage_meta is not None:
            metadata.storage_meta.load_id = self.load_id
        return metadata


_INDEX = "torch.distributed.checkpoint.metadata"

#: All classes and functions of an index by exact name; allowing modules would allow whatever they import.
_ALLOWED = {
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
    (_INDEX, "BytesStorageMetadata"),
    (_INDEX, "ChunkStorageMetadata"),
    (_INDEX, "Metadata"),
    (_INDEX, "MetadataIndex"),
    (_INDEX, "StorageMeta"),
    (_INDEX, "TensorProperties"),
    (_INDEX, "TensorStorageMetadata"),
    (_INDEX, "_MEM_FORMAT_ENCODING"),
}


class _IndexUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = "pathlib" if module == "pathlib._local" else module  # Python 3.13's name of it
        is_dtype = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if is_dtype or (module, name) in _ALLOWED:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"its index asks for {module}.{name}")


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _copied(files: dict[str, Any]) -> dict[str, Any]:
    """Return the files' contents with copied, unsharded tensors, which training does not change."""
    return {name: {k: _own(v) for k, v in content.items()} for name, content in files.items()}


def _own(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.detach().to("cpu", copy=True)


def _step_of(folder: Path) -> int:
    return int(folder.name.removeprefix("step_"))


def _reason(error: BaseException | None) -> str:
    if isinstance(error, CheckpointException):
        error = next(iter(error.failures.values()))[0]
    text = str(error or "another process failed").strip().splitlines()
    return text[0] if text else type(error).__name__


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Broken checkpoints are reported; a save that fails or is killed keeps the previous one."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from tests.paths import REPO
from tests.pretrained.models import tiny_encoder, tiny_world_model
from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained import load_encoder, load_world_model, read_checkpoint, save_pretrained
from vjepa_world.pretrained.folder import write_folder


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_pretrained(tiny_world_model(), tmp_path / "model")
    return tmp_path / "model"


def edit_config(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    description = json.loads((folder / "config.json").read_text())
    edit(description)
    (folder / "config.json").write_text(json.dumps(description))


def edit_weights(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / "model.safetensors").items()}
    edit(tensors)
    save_file(tensors, folder / "model.safetensors")


def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere does not exist; expected a run folder"):
        load_encoder(tmp_path / "nowhere")
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"run holds no model.safetensors with a config.json"):
        load_world_model(tmp_path / "run")


@pytest.mark.parametrize("size", [0, 5, 200, -10])
def test_truncated_weights_are_reported(saved: Path, size: int) -> None:
    content = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(content[:size])
    with pytest.raises(
        CheckpointError, match=r"model/model.safetensors cannot be read .*truncated or not a safetens"
    ):
        load_world_model(saved)


def test_a_text_in_place_of_weights_is_reported(saved: Path) -> None:
    (saved / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n" * 4)
    with pytest.raises(CheckpointError, match=r"model.safetensors cannot be read"):
        load_encoder(saved)


@pytest.mark.parametrize("text", ["", '{"kind": "world_m', "\ufffd{"])
def test_broken_json_is_reported(saved: Path, text: str) -> None:
    (saved / "config.json").write_text(text, encoding="utf-16" if "\ufffd" in text else "utf-8")
    with pytest.raises(CheckpointError, match=r"model/config.json is not readable JSON .*create it again"):
        load_world_model(saved)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda d: d.update(kind="world-model"),
            r"describes kind 'world-model'; did you mean 'world_model'\?",
        ),
        (
            lambda d: d.pop("kind"),
            "describes kind None; .*Allowed: classifier, encoder, pretraining, probe, world_model",
        ),
        (lambda d: d.update(kind="encoder"), "config.json has the unknown key 'encoder'; .*Allowed: depth, "),
        (
            lambda d: d.update(format_version=3),
            "has format_version 3; of kind world_model, this release reads 2. Use the release that",
        ),
        (
            lambda d: d.update(format_version=1),
            "has format_version 1; of kind world_model, .*create the checkpoint again .a world model: `vjepa",
        ),
        (lambda d: d.pop("config"), "config.json has no 'config' object"),
        (lambda d: d["config"].pop("encoder"), "config.json does not describe EncoderConfig"),
        (lambda d: d["config"].update(predictor=[1]), "config.json does not describe ActionPredictorConfig"),
        (lambda d: d["config"].update(vies=2), r"has the unknown key 'vies'; did you mean 'views'\?"),
        (lambda d: d["config"].pop("latents"), "config.json does not describe LatentsConfig"),
        (lambda d: d["config"].pop("embodiments"), "config.json lists no embodiments"),
        (
            lambda d: d["config"]["embodiments"][0].update(action_dims=2),
            r"has the unknown key 'action_dims'; did you mean 'action_dim'\?",
        ),
        (
            lambda d: d["config"]["encoder"].update(dept=2),
            r"has the unknown key 'dept'; did you mean 'depth'\?",
        ),
        (
            lambda d: d["config"]["encoder"].update(depth="two"),
            "config.json does not describe a valid EncoderConfig: depth is 'two'; it must be a whole number",
        ),
    ],
)
def test_a_wrong_description_is_reported(
    saved: Path, edit: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit_config(saved, edit)
    with pytest.raises(CheckpointError, match=message):
        load_world_model(saved)


def test_a_description_without_provenance_loads(saved: Path) -> None:
    edit_config(saved, lambda d: d.pop("provenance"))
    assert read_checkpoint(saved).details == {"provenance": {}}
    load_world_model(saved)


def test_tensors_that_do_not_fit_are_reported_with_their_shapes(saved: Path) -> None:
    def edit(tensors: dict[str, torch.Tensor]) -> None:
        del tensors["predictor.embodiments.default.action_low"]
        tensors["extra.weight"] = torch.zeros(2, 3)
        tensors["predictor.embodiments.default.action_mean"] = torch.zeros(4)

    edit_weights(saved, edit)
    with pytest.raises(CheckpointError) as caught:
        load_world_model(saved)
    for part in (
        "does not fit its architecture in 3 tensors",
        "missing predictor.embodiments.default.action_low [3]",
        "unexpected extra.weight [2, 3]",
        "predictor.embodiments.default.action_mean: file [4], model [3]",
    ):
        assert part in str(caught.value)


def test_at_most_ten_differences_are_reported(saved: Path) -> None:
    edit_config(saved, lambda d: d["config"]["encoder"].update(depth=5))
    with pytest.raises(CheckpointError, match="in 36 tensors") as caught:
        load_encoder(saved)
    assert str(caught.value).count("missing blocks.") == 10


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Limit files to `size` bytes, which simulates a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same_file(left: Path, right: Path) -> None:
    assert left.read_bytes() == right.read_bytes()


@pytest.mark.parametrize(
    "files",
    [
        {"model.safetensors": {"a": torch.zeros(100_000)}, "config.json": {}},
        {"config.json": {"text": "x" * 400_000}},
        {"config.json": {}, "training.pt": {"a": torch.zeros(100_000)}},
    ],
    ids=["safetensors", "json", "pt"],
)
def test_a_full_disk_leaves_only_the_older_checkpoint(
    tmp_path: Path, saved: Path, files: dict[str, Any]
) -> None:
    shutil.copytree(saved, tmp_path / "copy")
    with files_of_at_most(50_000), pytest.raises(CheckpointError) as caught:
        write_folder(saved, files)
    message = f"could not write the checkpoint {saved}: "
    assert str(caught.value).startswith(message)
    assert "Free some disk space or choose another path; no partial checkpoint was left behind." in str(
        caught.value
    )
    with files_of_at_most(50_000), pytest.raises(CheckpointError, match="could not write the checkpoint"):
        write_folder(tmp_path / "new", files)
    assert names(tmp_path) == ["copy", "model"]
    for name in ("model.safetensors", "config.json"):
        assert_same_file(saved / name, tmp_path / "copy" / name)
    load_world_model(saved)


def test_an_impossible_destination_is_reported(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match=r"could not write the checkpoint .*file/below"):
        save_pretrained(tiny_encoder(), tmp_path / "file" / "below")
    with pytest.raises(CheckpointError, match=r"file is a file; a checkpoint is a folder"):
        save_pretrained(tiny_encoder(), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path) == ["file", "model"]


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path, saved: Path) -> None:
    (saved / "thesis.txt").write_text("mine")
    with pytest.raises(
        CheckpointError, match=r"holds more than a checkpoint \(thesis.txt\).*choose a new folder"
    ):
        save_pretrained(tiny_encoder(), saved)
    assert names(saved) == ["config.json", "model.safetensors", "thesis.txt"]
    assert names(tmp_path) == ["model"]


class Interrupts:
    """An object whose pickling is interrupted by Ctrl-C."""

    def __reduce__(self) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return (int, ())


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """A shell that runs a command in the background lets it ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_saving_leaves_no_partial_checkpoint(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_folder(saved, {"model.safetensors": {"a": torch.zeros(3)}, "training.pt": Interrupts()})
    assert names(tmp_path) == ["model"]
    load_world_model(saved)


KILLED_WHILE_SAVING = """
import sys, time
from pathlib import Path
import torch
from vjepa_world.pretrained.folder import write_folder

class Slow:
    def __reduce__(self):
        print("writing", flush=True)
        time.sleep(600)

write_folder(Path(sys.argv[1]), {"model.safetensors": {"a": torch.zeros(1000)}, "config.json": {}, "state.pt": Slow()})
"""


@pytest.mark.parametrize("replaces", [True, False])
def test_a_killed_save_is_not_found_as_a_checkpoint(tmp_path: Path, saved: Path, replaces: bool) -> None:
    folder = saved if replaces else tmp_path / "checkpoints" / "step_00000001"
    program = subprocess.Popen(
        [sys.executable, "-c", KILLED_WHILE_SAVING, str(folder)],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "writing\n"
        program.kill()
    load_world_model(saved)
    visible = [path for path in folder.parent.iterdir() if not path.name.startswith(".")]
    assert visible == ([saved] if replaces else [])
    if not replaces:
        with pytest.raises(CheckpointError, match="holds no model.safetensors"):
            load_encoder(tmp_path)
    save_pretrained(tiny_encoder(), folder)
    assert isinstance(load_encoder(folder), nn.Module)

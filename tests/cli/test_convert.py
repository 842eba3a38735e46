"""`convert` and `inspect` on the command line: bit-exact round trips of every kind of checkpoint, in little memory."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.cli.commands import run
from tests.data.v21_files import write_v21
from tests.pretrained import meta_files
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.pretrained import read_checkpoint
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.native import write_native

#: What each kind is in words, and the formats that can hold all of it.
KINDS = {
    "V-JEPA 2": ("V-JEPA 2 training file", ("native", "huggingface", "meta")),
    "V-JEPA 2-AC": ("V-JEPA 2-AC training file", ("native", "meta")),
    "V-JEPA 2.1": ("V-JEPA 2.1 training file", ("native", "meta")),
    "V-JEPA 2.1 distilled": ("V-JEPA 2.1 training file", ("native", "meta")),
    "V-JEPA 1": ("V-JEPA 1 training file", ("native", "meta")),
    "I-JEPA": ("I-JEPA training file", ("native", "huggingface", "meta")),
    "probe": ("attentive probe file", ("native", "meta")),
}


def write(home: Path, kind: str) -> str:
    meta_files.save(meta_files.FILES[kind](), home / "released.pt")
    return "released.pt"


def numbers(path: Path) -> dict[str, Tensor]:
    parts = read_checkpoint(path).tensors
    return {f"{part}.{name}": tensor for part, inside in parts.items() for name, tensor in inside.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_round_trips_of_every_kind_are_bit_exact(kind: str, tmp_path: Path) -> None:
    formats = KINDS[kind][1]
    source = original = write(tmp_path, kind)
    for number, format_name in enumerate((*formats, "native")):
        target = f"copy_{number}" + (".pt" if format_name == "meta" else "")
        assert run(tmp_path, "convert", source, target, "--to", format_name) == 0
        source = target
    found, expected = numbers(tmp_path / source), numbers(tmp_path / original)
    assert found.keys() == expected.keys() and len(expected) > 5
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []


@pytest.mark.parametrize("kind", KINDS)
def test_inspect_prints_kind_architecture_parameters_and_unused_tensors(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, kind)
    assert run(tmp_path, "inspect", "released.pt") == 0
    text = capsys.readouterr().out
    millions = sum(tensor.numel() for tensor in numbers(tmp_path / "released.pt").values()) / 1e6
    assert f"released.pt: {KINDS[kind][0]}, {millions:.2f} M parameters (float32)" in text
    assert "embed_dim=" in text and len(text.splitlines()) < 20
    assert "\nunused tensors: opt" in text
    assert ("target_encoder" in text.split("unused tensors:")[1]) == (kind == "V-JEPA 2-AC")
    assert run(tmp_path, "inspect", "released.pt", "--details") == 0
    details = capsys.readouterr().out
    assert "architecture of the " in details and "norm_eps" in details
    assert details.splitlines()[0] == text.splitlines()[0]


def test_which_encoder_is_converted_is_the_callers_choice(tmp_path: Path) -> None:
    source = write(tmp_path, "V-JEPA 2")
    assert run(tmp_path, "convert", source, "online", "--to", "native", "--weights", "encoder") == 0
    written = torch.load(tmp_path / source, weights_only=True)["encoder"]
    found = read_checkpoint(tmp_path / "online").tensors["encoder"]
    assert torch.equal(found["norm.weight"], written["module.backbone.norm.weight"])


def test_missing_information_can_be_given_as_options(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = meta_files.training(
        meta_files.vjepa2_encoder(48), meta_files.vjepa2_predictor(48, 24), meta_files.BACKBONE
    )
    meta_files.save(content, tmp_path / "mine.pt")
    assert run(tmp_path, "inspect", "mine.pt") == 2
    assert (
        "its heads cannot be inferred from the tensors; give config={'num_heads': ...}"
        in capsys.readouterr().err
    )
    (tmp_path / "videos").mkdir()
    assert run(tmp_path, "inspect", "videos", "--weights", "encoder") == 2
    assert "weights is about a checkpoint, and videos holds none" in capsys.readouterr().err
    words = ["--encoder", "num_heads=2", "image_size=64", "predictor.num_heads=3"]
    assert run(tmp_path, "inspect", "mine.pt", *words) == 0
    assert run(tmp_path, "convert", "mine.pt", "mine", "--to", "native", *words) == 0
    checkpoint = read_checkpoint(tmp_path / "mine")
    assert checkpoint.encoder is not None and checkpoint.masked_predictor is not None
    assert (checkpoint.encoder.num_heads, checkpoint.encoder.image_size) == (2, 64)
    assert checkpoint.masked_predictor.num_heads == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["released.pt", "new", "--to", "native", "--encoder", "depth"],
            "--encoder is given without a value; give --encoder NAME=VALUE",
        ),
        (["released.pt", "new", "--to", "native", "--encoder", "dept=3"], "did you mean 'depth'?"),
        (
            ["released.pt", "new", "--to", "native", "probe.depth=3"],
            "unknown key 'probe.depth'",
        ),
        (["released.pt", "released.pt", "--to", "meta"], "released.pt exists; give a new name"),
        (["nothing.pt", "new", "--to", "native"], "nothing.pt"),
        (["released.pt", "new", "--to", "huggingface"], "transformers cannot hold released.pt"),
        (
            ["released.pt", "new", "--to", "native", "--weights", "ema_encoder"],
            "there are no weights 'ema_encoder' in this file; there are: encoder, target_encoder",
        ),
    ],
)
def test_impossible_conversions_are_reported_and_write_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "V-JEPA 2.1")
    before = (tmp_path / "released.pt").read_bytes()
    assert run(tmp_path, "convert", *words) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["released.pt"]
    assert (tmp_path / "released.pt").read_bytes() == before


MEASURE = """
import sys, threading, time
from vjepa_world.cli.main import main

def resident():
    return 1024 * int(open("/proc/self/status").read().split("VmRSS:")[1].split()[0])

small, *words = sys.argv[1:]
target = f"{small}_converted{'.pt' if words[-1] == 'meta' else words[-1]}"
assert main(["convert", small, target, *words[2:]]) == 0  # loads the libraries
before, peak, done = resident(), 0, False

def watch():
    global peak
    while not done:
        peak = max(peak, resident())
        time.sleep(0.001)

watcher = threading.Thread(target=watch, daemon=True)
watcher.start()
code = main(["convert", *words])
done = True
watcher.join()
print(peak - before)
sys.exit(code)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_converting_takes_at_most_a_tenth_more_memory_than_the_file(tmp_path: Path) -> None:
    def save(path: Path, config: EncoderConfig) -> Path:
        encoder = untrained_encoder(config, seed=0)
        return meta_files.save({"target_encoder": encoder.state_dict(), "epoch": 1}, path)

    source = save(tmp_path / "0.pt", EncoderConfig(embed_dim=768, depth=8, num_heads=12))
    small = save(tmp_path / "small.pt", EncoderConfig(embed_dim=192, depth=1, num_heads=3))
    for number, format_name in enumerate(("native", "huggingface", "meta"), start=1):
        target = tmp_path / f"{number}{'.pt' if format_name == 'meta' else ''}"
        words = [str(small), str(source), str(target), "--to", format_name]
        done = subprocess.run([sys.executable, "-c", MEASURE, *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        weights = source / "model.safetensors" if source.is_dir() else source
        assert int(done.stdout.splitlines()[-1]) <= 1.1 * weights.stat().st_size
        source = target


def test_trajectories_are_recognised_by_their_content(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_v21(tmp_path / "old", (4, 3))
    words = ["convert", "old", "new", "--workers", "1"]
    convention = ["position_at=[0,1,2]", "position_unit=mm", "rotation=none", "gripper_at=[3]"]
    assert run(tmp_path, *words, "--convention", *convention) == 0
    assert "2 episodes, 7 frames in new" in capsys.readouterr().out
    dataset = LeRobotDataset(tmp_path / "new")
    assert dataset.convention.position_unit == "mm" and dataset.convention.gripper_at == (3,)
    assert dataset.episode(1).states.dtype == "float64"
    assert run(tmp_path, *words) == 2
    assert "new is a finished dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["old", "--to", "native"], "to=native is a format of checkpoints, and old holds trajectories"),
        (["old", "--convention", "rotatoin=XYZ"], "did you mean 'rotation'?"),
        (
            ["old", "--convention", "XYZ"],
            "--convention is given without a value; give --convention NAME=VALUE",
        ),
        (["old", "--crf", "60"], "'crf' got 60, expected a number from 0 to 51"),
        (["old", "--max-bad-fraction", "1"], "max_bad_fraction is 1; allowed is 0 to below 1"),
        (
            ["notes.txt"],
            "notes.txt holds no trajectories of a known format; for a checkpoint say what to write: to=native",
        ),
        (["nowhere"], "nowhere does not exist"),
    ],
)
def test_trajectories_that_cannot_be_converted(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_v21(tmp_path / "old", (3,))
    (tmp_path / "notes.txt").write_text("no dataset")
    assert run(tmp_path, "convert", words[0], "new", *words[1:]) == 2
    assert message in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "old"]


def test_a_checkpoint_that_does_not_read_back_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, "V-JEPA 2")

    def loses_one(checkpoint: Checkpoint, folder: Path) -> None:
        tensors = dict(checkpoint.tensors["encoder"])
        assert tensors["norm.weight"].dtype == torch.float32
        tensors["norm.weight"] = tensors["norm.weight"].half()
        write_native(replace(checkpoint, tensors={**checkpoint.tensors, "encoder": tensors}), folder)

    monkeypatch.setattr("vjepa_world.pretrained.native.write_native", loses_one)
    assert run(tmp_path, "convert", source, "new", "--to", "native") == 2
    message = capsys.readouterr().err
    assert "does not read back as it should, and is removed" in message
    assert "encoder.norm.weight: it is torch.float16 [192], expected torch.float32 [192]" in message
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    assert run(tmp_path, "convert", source, "new", "--to", "native") == 0


def test_a_dangling_link_is_not_a_free_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, "V-JEPA 2")
    (tmp_path / "new").symlink_to("nowhere")
    assert run(tmp_path, "convert", source, "new", "--to", "native") == 2
    assert "new exists; give a new name" in capsys.readouterr().err

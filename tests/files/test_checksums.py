"""A flipped bit in a file that we wrote is detected on reading."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from xxhash import xxh3_64_hexdigest

from tests.pretrained.models import tiny_encoder, tiny_world_model
from vjepa_world.data.features.shards import ShardContent, map_shard, read_content, write_shard
from vjepa_world.errors import CheckpointError, DataError
from vjepa_world.files.checksums import MODEL_METADATA, file_checksum, is_damaged, seal
from vjepa_world.pretrained import load_encoder, load_world_model, save_pretrained

TENSORS = {"a": torch.arange(5000.0), "b": torch.zeros(3, dtype=torch.float16)}


def flip(path: Path, at: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def sealed(path: Path) -> Path:
    save_file(TENSORS, path, metadata=MODEL_METADATA)
    seal(path)
    return path


def test_the_checksum_is_xxh3(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(bytes(range(256)) * 50_000)
    assert file_checksum(tmp_path / "a") == xxh3_64_hexdigest(bytes(range(256)) * 50_000)


def test_a_sealed_file_loads_and_is_deterministic(tmp_path: Path) -> None:
    path = sealed(tmp_path / "a")
    assert not is_damaged(path)
    assert all(torch.equal(load_file(path)[name], tensor) for name, tensor in TENSORS.items())
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["format"] == "pt"
    assert b'{"__metadata__":{"checksum":"xxh3=' in path.read_bytes()[:60]
    with pytest.raises(ValueError, match="has no xxh3=0000000000000000 in its metadata"):
        seal(path)


def test_a_change_of_any_byte_is_detected(tmp_path: Path) -> None:
    path = sealed(tmp_path / "a")
    data = path.read_bytes()
    start = data.index(b"xxh3=")
    for at in (*range(8, start), *range(start + 5, 300), *range(301, len(data), 997), len(data) - 1):
        flip(path, at, at % 8)
        assert is_damaged(path), at
        path.write_bytes(data)
    assert not is_damaged(path)


def test_files_of_other_programs_have_no_checksum(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a")
    flip(tmp_path / "a", -1)
    assert not is_damaged(tmp_path / "a")


@pytest.mark.parametrize("kind", ["encoder", "world model"])
def test_weights_with_a_flipped_bit_are_refused(tmp_path: Path, kind: str) -> None:
    model = tiny_encoder() if kind == "encoder" else tiny_world_model()
    load = load_encoder if kind == "encoder" else load_world_model
    save_pretrained(model, tmp_path / "a")
    load(tmp_path / "a")
    flip(tmp_path / "a" / "model.safetensors", -5, 3)
    with pytest.raises(
        CheckpointError, match=r"a/model\.safetensors has changed since it was written: its checksum"
    ):
        load(tmp_path / "a")


def test_weights_that_another_program_saved_again_load(tmp_path: Path) -> None:
    save_pretrained(tiny_encoder(), tmp_path / "a")
    file = tmp_path / "a" / "model.safetensors"
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    load_encoder(tmp_path / "a")


def test_a_feature_shard_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shard-00000.safetensors"
    content = ShardContent(((0, 5),), {1: "why"})
    features = torch.randn(5, 2, 3).bfloat16()
    write_shard(path, {"features.left": features}, content)
    assert torch.equal(map_shard(path, ["features.left"])["features.left"], features)
    assert read_content(path) == content
    flip(path, -1)
    with pytest.raises(DataError, match=r"shard-00000.safetensors has changed since .*Remove it and build"):
        map_shard(path, ["features.left"])

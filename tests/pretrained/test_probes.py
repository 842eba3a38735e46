"""Probes are saved and loaded with the meaning of their outputs; other files are refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from tests.models.reference import randomise
from tests.pretrained.models import tiny_encoder
from vjepa_world.errors import CheckpointError
from vjepa_world.models.config import ProbeConfig
from vjepa_world.models.probe import build_probe
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.pretrained import read_checkpoint, save_pretrained
from vjepa_world.pretrained.folder import write_folder
from vjepa_world.pretrained.probes import (
    CLASSIFICATION,
    REGRESSION,
    SavedProbe,
    load_probe,
    probe_files,
    weights_digest,
)

SHOWN = ClipInput(frames=4, fps=5.0, crop=0.875, image_size=32)


def saved(kind: str = "attentive", labels: tuple[str, ...] = ("a", "b", "c")) -> SavedProbe:
    probe = build_probe(ProbeConfig(kind=kind, embed_dim=16, num_heads=2, depth=2, num_outputs=3))
    randomise(probe, seed=0)
    return SavedProbe(
        probe=probe,
        task=REGRESSION,
        labels=labels,
        encoder="runs/pretrain/first",
        encoder_digest="d1",
        shown=SHOWN,
        clips=3,
    )


@pytest.mark.parametrize("kind", ["attentive", "linear"])
def test_a_probe_survives_a_round_trip(tmp_path: Path, kind: str) -> None:
    before = saved(kind)
    write_folder(tmp_path / "probe", probe_files(before, {"verb": "probe"}))
    after = load_probe(tmp_path / "probe")
    assert after.probe.config == before.probe.config
    ours, theirs = before.probe.state_dict(), after.probe.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert not any(parameter.requires_grad for parameter in after.probe.parameters())
    names = ("task", "labels", "encoder", "encoder_digest", "shown", "clips")
    assert [getattr(after, name) for name in names] == [getattr(before, name) for name in names]
    checkpoint = read_checkpoint(tmp_path / "probe")
    assert (checkpoint.name, checkpoint.details["provenance"]) == ("probe", {"verb": "probe"})
    assert list(checkpoint.details["labels"]) == ["a", "b", "c"]


def test_a_probe_without_names_has_indices_as_labels(tmp_path: Path) -> None:
    write_folder(tmp_path / "probe", probe_files(saved(), {}))
    config = tmp_path / "probe" / "config.json"
    description = json.loads(config.read_text())
    for key in ("labels", "task", "encoder", "encoder_digest", "shown", "clips"):
        del description[key]
    config.write_text(json.dumps(description))
    found = load_probe(tmp_path / "probe")
    assert (found.task, found.labels, found.encoder, found.shown) == (
        CLASSIFICATION,
        ("0", "1", "2"),
        "",
        None,
    )


def test_files_that_are_not_matching_probes_are_refused(tmp_path: Path) -> None:
    save_pretrained(tiny_encoder(), tmp_path / "encoder")
    with pytest.raises(
        CheckpointError, match="is of kind transformers VJEPA2Model, but a probe is required; train one with"
    ):
        load_probe(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match="the probe has 3 outputs and 2 labels"):
        saved(labels=("a", "b"))
    with pytest.raises(CheckpointError, match="reads features of width 16, but the encoder big gives 24"):
        saved().check_fit(24, "big")
    write_folder(tmp_path / "probe", probe_files(saved(), {}))
    config = tmp_path / "probe" / "config.json"
    whole = config.read_text()
    config.write_text(whole.replace('"depth": 2', '"depth": 3'))
    with pytest.raises(
        CheckpointError, match="does not fit its architecture(.|\n)*pooler.blocks.1.norm1.weight"
    ):
        load_probe(tmp_path / "probe")
    for wrong in ('"frame": 4', '"frames": 0'):
        config.write_text(whole.replace('"frames": 4', wrong))
        with pytest.raises(CheckpointError, match="has a wrong description of its encoder's input"):
            load_probe(tmp_path / "probe")


def test_the_digest_depends_on_every_bit() -> None:
    encoder = tiny_encoder()
    first = weights_digest(encoder)
    assert weights_digest(tiny_encoder()) == first
    with torch.no_grad():
        encoder.norm.bias[3] += 1e-7
    changed = weights_digest(encoder)
    assert changed != first
    assert weights_digest(encoder.half()) not in (first, changed)

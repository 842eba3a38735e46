"""The public API: documented completely, typed, and without effects on global generators."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest
import torch

import vjepa_world as vw
from tests.paths import REPO

TINY = vw.EncoderConfig(image_size=32, patch_size=16, num_frames=2, embed_dim=24, depth=1, num_heads=2)


def test_docs_api_lists_every_public_name_and_no_other() -> None:
    code = re.findall(r"`([^`\n]+)`", (REPO / "docs" / "api.md").read_text(encoding="utf-8"))
    assert set(vw.__all__) - {"__version__"} <= set(re.findall(r"\w+", " ".join(code)))
    documented = {re.match(r"\w*", span)[0] for span in code}  # type: ignore[index]
    planners = importlib.import_module("planners")
    known = {*vw.__all__, *planners.__all__, "planners", "envs", "examples", "seed"}
    assert {name for name in documented if name[:1].isupper() or "_" in name} - known == {"Checkpoint"}


def test_every_public_name_has_a_docstring() -> None:
    assert [
        name for name in vw.__all__ if name != "__version__" and not inspect.getdoc(getattr(vw, name))
    ] == []


def test_new_models_follow_their_seed_and_leave_the_global_generators_alone() -> None:
    before = torch.random.get_rng_state()
    first, again, other = (vw.build_encoder(TINY, seed=seed).state_dict() for seed in (3, 3, 4))
    config = vw.WorldModelConfig(encoder=TINY, latents=vw.LatentsConfig(kind="none"))
    model = vw.build_world_model(config, seed=3)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items())
    assert model.action_low.shape == (7,)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_no_module_seeds_a_global_generator() -> None:
    seeding = re.compile(r"torch\.manual_seed\(|np\.random\.seed\(|random\.seed\(|cuda\.manual_seed")
    sources = [
        path for top in ("vjepa_world", "planners", "envs", "examples") for path in (REPO / top).rglob("*.py")
    ]
    assert [str(path.relative_to(REPO)) for path in sources if seeding.search(path.read_text())] == []


@pytest.mark.parametrize("name", ["pretrain", "finetune", "train_probe", "evaluate", "rollout", "embed"])
def test_functions_are_typed(name: str) -> None:
    signature = inspect.signature(getattr(vw, name))
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(entry.annotation is not inspect.Parameter.empty for entry in signature.parameters.values())

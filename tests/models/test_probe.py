"""Probes against a slow derivation, with the names and initialisation of released probes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.models import reference
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import ProbeConfig
from vjepa_world.models.probe import AttentiveProbe, LinearProbe, build_probe


def attentive(depth: int, eps: float = 1e-5) -> AttentiveProbe:
    config = ProbeConfig(embed_dim=16, num_heads=2, depth=depth, mlp_ratio=2.0, num_outputs=3, norm_eps=eps)
    probe = AttentiveProbe(config).eval().requires_grad_(False)
    reference.randomise(probe, seed=depth)
    return probe


def tokens(scale: float = 1.0) -> Tensor:
    return scale * torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(0))


def slow(probe: AttentiveProbe, features: Tensor) -> Tensor:
    weights, config = reference.float64_weights(probe), probe.config
    return torch.stack(
        [
            reference.attentive_probe(
                list(clip.double()),
                weights,
                depth=config.depth,
                heads=config.num_heads,
                eps=config.norm_eps,
            )
            for clip in features
        ]
    )


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_the_attentive_probe_equals_the_reference(depth: int) -> None:
    probe, features = attentive(depth), tokens()
    torch.testing.assert_close(probe(features).double(), slow(probe, features), atol=1e-5, rtol=1e-5)


def test_the_eps_of_its_norms_is_the_configured_one() -> None:
    """Tokens this small have a variance near eps."""
    probe, features = attentive(2, eps=1e-5), tokens(scale=1e-3)
    torch.testing.assert_close(probe(features).double(), slow(probe, features), atol=1e-5, rtol=1e-5)
    other = attentive(2, eps=1e-6)
    assert (other(features).double() - slow(probe, features)).abs().max() > 1e-3  # a hundred tolerances


def test_tokens_have_no_order() -> None:
    probe, features = attentive(3), tokens()
    order = torch.randperm(7, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(probe(features[:, order]), probe(features), atol=1e-5, rtol=1e-5)


def test_names_and_shapes_are_those_of_released_probes() -> None:
    block = {
        "norm1.weight": [16],
        "norm1.bias": [16],
        "norm2.weight": [16],
        "norm2.bias": [16],
        "mlp.fc1.weight": [32, 16],
        "mlp.fc1.bias": [32],
        "mlp.fc2.weight": [16, 32],
        "mlp.fc2.bias": [16],
    }
    alone = {
        "attn.qkv.weight": [48, 16],
        "attn.qkv.bias": [48],
        "attn.proj.weight": [16, 16],
        "attn.proj.bias": [16],
    }
    across = {
        "xattn.q.weight": [16, 16],
        "xattn.q.bias": [16],
        "xattn.kv.weight": [32, 16],
        "xattn.kv.bias": [32],
    }
    expected = {"pooler.query_tokens": [1, 1, 16], "linear.weight": [3, 16], "linear.bias": [3]}
    for layer in range(2):
        expected |= {f"pooler.blocks.{layer}.{name}": shape for name, shape in (block | alone).items()}
    expected |= {f"pooler.cross_attention_block.{name}": shape for name, shape in (block | across).items()}
    assert {name: list(tensor.shape) for name, tensor in attentive(3).state_dict().items()} == expected


def test_the_probe_is_initialised_as_published() -> None:
    torch.manual_seed(0)
    weights = AttentiveProbe(ProbeConfig(embed_dim=128, num_heads=2, depth=4)).state_dict()
    std = {name: tensor.std().item() for name, tensor in weights.items() if tensor.ndim > 1}
    for layer in (1, 2, 3):
        for name in ("attn.proj", "mlp.fc2"):
            written = std[f"pooler.blocks.{layer - 1}.{name}.weight"]
            assert written == pytest.approx(0.02 / math.sqrt(2 * layer), rel=0.03)
        assert std[f"pooler.blocks.{layer - 1}.attn.qkv.weight"] == pytest.approx(0.02, rel=0.03)
    across = "pooler.cross_attention_block"
    assert std[f"{across}.mlp.fc2.weight"] == pytest.approx(0.02 / math.sqrt(6), rel=0.03)
    assert std[f"{across}.xattn.kv.weight"] == pytest.approx(0.02, rel=0.03)
    assert std["pooler.query_tokens"] == pytest.approx(0.02, rel=0.3)
    assert all(not tensor.any() for name, tensor in weights.items() if name.endswith(".bias"))


def test_without_self_attention_blocks_cross_attention_comes_first() -> None:
    torch.manual_seed(0)
    probe = AttentiveProbe(ProbeConfig(embed_dim=128, num_heads=2, depth=1))
    std = probe.pooler.cross_attention_block.mlp.fc2.weight.std().item()
    assert std == pytest.approx(0.02 / math.sqrt(2), rel=0.03)


def test_the_linear_probe_is_one_matrix_on_the_standardised_mean() -> None:
    probe = LinearProbe(ProbeConfig(kind="linear", embed_dim=16, num_outputs=3)).eval().requires_grad_(False)
    reference.randomise(probe, seed=0)
    seen = torch.randn(50, 16, generator=torch.Generator().manual_seed(2)) * 3 + 5
    seen[:, 4] = 2.0
    probe.set_statistics(seen)
    features = tokens()
    spread = (seen - seen.mean(dim=0)).square().mean(dim=0).sqrt()
    spread[4] = 1.0  # never varied: its own scale
    standard = (features.mean(dim=1) - seen.mean(dim=0)) / spread
    expected = standard @ probe.linear.weight.T + probe.linear.bias
    torch.testing.assert_close(probe(features), expected, atol=1e-5, rtol=1e-5)
    assert {"feature_mean", "feature_std"} < set(probe.state_dict())


def test_a_probe_is_built_by_its_kind() -> None:
    assert isinstance(build_probe(ProbeConfig(kind="attentive")), AttentiveProbe)
    linear = ProbeConfig(kind="linear")
    assert isinstance(build_probe(linear), LinearProbe)
    with pytest.raises(ConfigError, match="kind 'attentive', its config says 'linear'; use build_probe"):
        AttentiveProbe(linear)

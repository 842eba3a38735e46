"""The preprocessing of frozen encoders, against Pillow and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.models.encoders.backbones import images
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.ops.pixels import normalize_video, resize_frames

FILTERS = {name: Image.Resampling[name.upper()] for name in ("nearest", "bilinear", "bicubic")}


@pytest.mark.parametrize("interpolation", sorted(FILTERS))
@pytest.mark.parametrize(("height", "width"), [(90, 131), (131, 90)])
def test_the_shorter_side_is_resized_and_the_centre_cut_out(
    interpolation: str, height: int, width: int
) -> None:
    picture = images(1, height, width)
    fitted = Preprocessing(size=32, resize=40, keep_aspect=True, interpolation=interpolation).fit(picture)  # type: ignore[arg-type]
    longer = 40 * 131 // 90
    size = (40, longer) if height > width else (longer, 40)  # Pillow: width, height
    by_hand = Image.fromarray(picture[0].permute(1, 2, 0).numpy()).resize(size, FILTERS[interpolation])
    left, top = ((side - 32) // 2 for side in size)
    expected = np.asarray(by_hand.crop((left, top, left + 32, top + 32)), dtype=int)
    difference = np.abs(fitted[0].permute(1, 2, 0).numpy().astype(int) - expected)
    assert fitted.dtype == torch.uint8
    assert (difference > 1).mean() < (0.1 if interpolation == "nearest" else 0.001)


def test_a_frame_of_the_encoders_size_stays_as_it_is() -> None:
    preprocessing = Preprocessing(size=32, resize=40, keep_aspect=True)
    fitted = preprocessing.fit(images(2))
    assert torch.equal(preprocessing.fit(fitted), fitted)
    assert preprocessing.crop == 0.8


def test_colours_are_normalised() -> None:
    picture = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    found = Preprocessing(size=1, mean=(0.5, 0.1, 0.0), std=(0.5, 0.1, 2.0)).normalize(picture)
    torch.testing.assert_close(found.flatten(), torch.tensor([-1.0, 1.0, 0.5]))


def test_our_encoders_have_the_preprocessing_that_they_had() -> None:
    encoder = VideoEncoder(EncoderConfig(image_size=32, embed_dim=24, depth=1, num_heads=2))
    pictures = images(2)
    assert torch.equal(encoder.preprocessing(pictures), normalize_video(resize_frames(pictures, 32)))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"size": 0}, "size of an encoder's preprocessing is 0; give pixels, from 1 to"),
        ({"size": 10**9}, "is 1000000000; give pixels"),
        ({"size": 32, "resize": 16}, "resizes to 16 pixels and cuts out 32; resize to at least as many"),
        ({"size": 32, "interpolation": "lanczos"}, "'lanczos'; allowed: nearest, bilinear, bicubic"),
        ({"size": 32, "keep_aspect": 1}, "keep_aspect .* is 1; give true or false"),
        ({"size": 32, "std": (0.5, 0.0, 0.5)}, "give numbers above 0"),
        ({"size": 32, "mean": [0.5, 0.5]}, "mean .* give three numbers"),
        ({"size": 32, "mean": [0.5, float("nan"), 0.5]}, "mean .* give three numbers"),
    ],
)
def test_values_out_of_range_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Preprocessing(**values)  # type: ignore[arg-type]

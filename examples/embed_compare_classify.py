"""Embed, compare and classify images or videos with a frozen encoder: V-JEPA 2, V-JEPA 2.1, V-JEPA or I-JEPA."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

import vjepa_world as vw

IMAGES = (".jpg", ".jpeg", ".png", ".webp")

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("encoder", help="a run, a checkpoint folder, a file in Meta's format, or a hub id")
parser.add_argument("data", type=Path, help="a folder with one sub-folder of images or videos for each class")
parser.add_argument(
    "--run", type=Path, default=Path("runs/probe/example"), help="the new run folder of the probe"
)
parser.add_argument("--steps", type=int, default=500)
arguments = parser.parse_args()

encoder = vw.load_encoder(arguments.encoder)


def load(path: Path) -> Tensor:
    """Return an image `[3, H, W]` or a clip `[T, 3, H, W]`, uint8."""
    if path.suffix.lower() in IMAGES:
        return vw.load_image(path)
    return vw.load_video(path, frames=encoder.config.num_frames)


# 1. Embed. `embed` resizes, normalises and encodes; all files must give as many tokens.
files = sorted(path for path in arguments.data.glob("*/*") if path.is_file())
features = torch.stack([vw.embed(encoder, load(path)) for path in files])
print(f"{len(files)} files -> features {list(features.shape)} [files, tokens, width]")

# 2. Compare: the cosine similarity of the mean features.
means = features.mean(dim=1)
similarity = cosine_similarity(means[:1], means)
for index in similarity.argsort(descending=True).tolist():
    print(f"{similarity[index]:6.3f}  {files[index]}")

# 3. Classify: train an attentive probe on the features. Part of the files chooses its settings, part tests it.
data = vw.probe_data(
    features, [path.parent.name for path in files], val_fraction=0.2, test_fraction=0.2, seed=0
)
config = vw.ProbeRunConfig(
    seed=0,
    probe=vw.ProbeShape(kind="attentive", depth=1, num_heads=encoder.config.num_heads),
    trainer=vw.ProbeTrainerConfig(steps=arguments.steps, batch_size=16),
)
result = vw.train_probe(config, data=data, folder=arguments.run)
test = result.metrics["test"]
print(
    f"accuracy on {test['videos']} test files: {test['accuracy']:.0%}, {test['baseline']['what']}: "
    f"{test['baseline']['accuracy']:.0%}"
)

classifier = vw.load_classifier(result.folder, arguments.encoder)
for label, probability in classifier.classify(load(files[0]), top=2):
    print(f"{files[0]}: {probability:.0%} {label}")

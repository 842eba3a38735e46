"""Open a released checkpoint (Meta's V-JEPA 2, 2.1, V-JEPA or I-JEPA file), look at it, and store it as a folder.

Files of Meta do not contain their complete architecture; the rest is known for the released sizes, or can be given.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

import vjepa_world as vw

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument(
    "source",
    help="a Meta .pt file, a transformers folder, or a hub id such as facebook/vjepa2-vitl-fpc64-256",
)
parser.add_argument("destination", type=Path, help="the new checkpoint folder")
parser.add_argument(
    "--config",
    type=json.loads,
    default={},
    help='settings that the file does not contain: {"image_size": 384}',
)
arguments = parser.parse_args()

# What kind of checkpoint is it? Nothing is built yet.
checkpoint = vw.read_checkpoint(arguments.source, encoder=arguments.config)
print(f"{checkpoint.source}: {checkpoint.format}, {checkpoint.name}")

# The frozen encoder maps normalised videos [B, T, 3, H, W] to features [B, N, D]; `embed` takes bytes of any size.
encoder = vw.load_encoder(arguments.source, arguments.config)
size = encoder.config.image_size
print(f"{sum(p.numel() for p in encoder.parameters()):,} weights, {encoder.config}")
video = torch.randint(
    256,
    (encoder.config.num_frames, 3, size, size),
    dtype=torch.uint8,
    generator=torch.Generator().manual_seed(0),
)
features = vw.embed(encoder, video)
print(f"{len(video)} frames of {size} pixels -> {features.shape[0]} tokens of width {features.shape[1]}")

# V-JEPA 2-AC files hold a world model too; plan with it as in `plan_in_own_environment.py`.
if checkpoint.world_model is not None:
    model = vw.load_world_model(arguments.source)
    print(
        f"actions of {len(model.action_low)} numbers, from {model.action_low.tolist()} to {model.action_high.tolist()}"
    )

# Store it: in transformers' layout where transformers has the architecture, else in ours.
vw.save_pretrained(encoder, arguments.destination)
again = vw.load_encoder(arguments.destination)
assert torch.equal(vw.embed(again, video), features)
print(f"stored in {arguments.destination}: the same features")

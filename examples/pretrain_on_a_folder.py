"""Pretrain a video encoder on a folder of videos, then compute the features of one of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import vjepa_world as vw

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("videos", type=Path, help="a folder of videos; sub-folders are searched too")
parser.add_argument("--run", type=Path, default=Path("runs/pretrain/example"), help="the new run folder")
parser.add_argument("--fps", type=float, default=4.0, help="frames per second of the clips")
parser.add_argument("--steps", type=int, default=2000)
parser.add_argument("--batch-size", type=int, default=24)
arguments = parser.parse_args()

# A small ViT for clips of 16 frames. See docs/pretraining.md for the sizes of V-JEPA 2.
config = vw.PretrainConfig(
    seed=0,  # all randomness comes from here
    data=vw.VideoDataConfig(path=str(arguments.videos), fps=arguments.fps),
    model=vw.EncoderConfig(image_size=64, patch_size=8, num_frames=16, embed_dim=192, depth=6, num_heads=4),
    predictor=vw.MaskedPredictorConfig(embed_dim=96, depth=4, num_heads=3),
    trainer=vw.TrainerConfig(steps=arguments.steps, batch_size=arguments.batch_size, lr=1e-3),
)
result = vw.pretrain(config, folder=arguments.run)
print(f"loss {result.metrics()[-1]['loss']:.3f} after {arguments.steps} steps, run folder {result.folder}")

# The encoder can be used at once, or loaded again with `vw.load_encoder(result.folder)`.
video = next(path for path in sorted(arguments.videos.rglob("*.mp4")))
features = vw.embed(result.encoder, vw.load_video(video, fps=arguments.fps, frames=16))
print(f"{video.name}: {features.shape[0]} tokens of width {features.shape[1]}")

"""A small corpus and the arguments of a small pretraining on it, for each objective."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vjepa_world.data.video.writer import write_video

#: Words of a `pretrain` command that takes a fraction of a second a step.
SMALL = [
    "device=cpu",
    "data.path=videos",
    "model.image_size=64",
    "model.patch_size=8",
    "model.num_frames=4",
    *(f"{part}.{word}" for part in ("model", "predictor") for word in ("embed_dim=24", "num_heads=2")),
    "model.depth=2",
    "predictor.depth=1",
    "trainer.precision=float32",
    "trainer.threads=1",
    "trainer.workers=0",
    "trainer.log_every=1",
]

#: Words that choose an objective; each is tested with one process and with two.
OBJECTIVES: dict[str, list[str]] = {
    "vjepa2": ["objective=vjepa2", "objective.image_fraction=0.5", "predictor.num_mask_tokens=2"],
    "pairs": ["objective.pair_fraction=0.5"],
    "vjepa2_1": [
        "objective=vjepa2_1",
        "objective.context_ramp=[0,0]",
        "objective.image_fraction=0.5",
        "model.levels=[0,1]",
        "predictor.input_levels=2",
        "model.image_embed=true",
        "predictor.image_embed=true",
    ],
    "vjepa1": ["objective=vjepa1"],
    "ijepa": ["objective=ijepa", "objective.image_fraction=1.0"],
    "vicreg": ["objective=vicreg"],
    "sigreg": ["objective=sigreg"],
    "mae": ["objective=mae"],
    "simclr": ["objective=simclr"],
}


def write_corpus(home: Path, videos: int = 3) -> None:
    """Write moving squares of 64 pixels, two seconds each, to `home/videos`."""
    for number in range(videos):
        rng = np.random.default_rng(number)
        frames = np.full((48, 64, 64, 3), rng.integers(20, 120, 3), dtype=np.uint8)
        position, speed, colour = rng.uniform(8, 40, 2), rng.uniform(-1.5, 1.5, 2), rng.integers(120, 256, 3)
        for index, frame in enumerate(frames):
            y, x = np.clip(position + index * speed, 0, 47).astype(int)
            frame[y : y + 16, x : x + 16] = colour
        (home / "videos").mkdir(exist_ok=True)
        write_video(home / "videos" / f"{number}.mp4", frames, fps=24.0)

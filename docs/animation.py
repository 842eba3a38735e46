"""Makes the README's animation from the videos that `make demo` wrote: `make animation`.

The first episodes are shown in order, none left out; each holds its last frame until the longest has ended.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from vjepa_world import load_video

FPS = 4
HOLD_FRAMES = 8  # at the end, so that the outcome can be read


def frames_of(video: Path) -> list[Image.Image]:
    """Return all frames of a video."""
    return [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in load_video(video)]


def tile(panels: list[Image.Image], columns: int, width: int) -> Image.Image:
    """Return panels of one size in rows, scaled so that the whole is `width` pixels wide."""
    size = width // columns, round(panels[0].height * width / columns / panels[0].width)
    rows = -(-len(panels) // columns)
    whole = Image.new("RGB", (columns * size[0], rows * size[1]))
    for index, panel in enumerate(panels):
        row, column = divmod(index, columns)
        whole.paste(panel.resize(size, Image.Resampling.LANCZOS), (column * size[0], row * size[1]))
    return whole


def main() -> None:
    """Read the episodes' videos, and write one looping GIF."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, default=Path("runs/demo/videos"))
    parser.add_argument("--output", type=Path, default=Path("docs/images/reach.gif"))
    parser.add_argument("--episodes", type=int, default=6)
    parser.add_argument("--width", type=int, default=960)
    options = parser.parse_args()

    videos = sorted(options.videos.glob("*.mp4"))[: options.episodes]
    if not videos:
        parser.error(f"{options.videos} holds no MP4 files; run `make demo` first, or give --videos FOLDER")
    episodes = [frames_of(video) for video in videos]
    longest = max(map(len, episodes))
    padded = [episode + [episode[-1]] * (longest - len(episode) + HOLD_FRAMES) for episode in episodes]
    pictures = [tile(list(panels), 2, options.width) for panels in zip(*padded, strict=True)]
    palette = pictures[-1].quantize(128)
    first, *rest = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    first.save(
        options.output,
        save_all=True,
        append_images=rest,
        duration=1000 // FPS,
        loop=0,
        optimize=True,
    )
    print(f"{options.output}: {options.output.stat().st_size / 1e6:.2f} MB, {len(videos)} episodes")


if __name__ == "__main__":
    main()

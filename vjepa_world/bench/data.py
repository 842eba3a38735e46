"""Decoding and loading: clips of 16 frames at 4 fps compared with decord, the loader, and waiting in pretraining.

Decoding is measured on PyAV and, if it loads, on torchcodec. Another row measures reading windows of robot trajectories
from a LeRobotDataset.

The videos are generated here, at 320 x 240 with x264's default settings: a camera moves over a texture with detail at
every scale (as in photographs), objects move across it, and there is sensor noise.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Pair, Row, row, time_pair
from vjepa_world.bench.trajectory_windows import import_decord, windows_row
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.data.video.backends import BACKEND_VARIABLE, find_backend
from vjepa_world.errors import DataError
from vjepa_world.models.config import EncoderConfig

logger = logging.getLogger(__name__)

WIDTH, HEIGHT, FPS, FRAMES = 320, 240, 30, 300
CLIP, CLIP_FPS = 16, 4.0
VIDEOS, CLIPS = 3, 12

#: Most repetitions of each side; batches that the loader reads in one repetition, and clips of each batch.
MAX_REPEATS, BATCHES, BATCH = 5, 5, 8

#: The largest share of the time that training should wait for data.
MAX_WAIT_FRACTION = 0.05

#: decord's thread continues to decode after it has returned frames; time for it to stop, included in its result [s].
SETTLE_S = 0.1


def run(config: BenchConfig) -> list[Row]:
    """Return frames/s by wall clock and per core, clips/s of the loader, and the share of waiting in pretraining."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        videos = [_write_video(Path(scratch) / f"{n}.mp4", config.seed + n) for n in range(VIDEOS)]
        rows = [line for backend in _backends() for line in _decoding_rows(videos, config, backend)]
        return [
            *rows,
            _loader_row(scratch, videos, config),
            _waiting_row(scratch, config),
            windows_row(Path(scratch), videos, config),
        ]


def _backends() -> list[str]:
    """Return the back ends to measure that load here."""
    try:
        with _selected("torchcodec"):
            return ["pyav", find_backend()]
    except DataError as error:
        logger.warning("only PyAV is measured: %s", error)
        return ["pyav"]


@contextlib.contextmanager
def _selected(backend: str) -> Iterator[None]:
    """Open videos with this back end; an empty string leaves the selection as it is."""
    before = os.environ.get(BACKEND_VARIABLE)
    if backend:
        os.environ[BACKEND_VARIABLE] = backend
    try:
        yield
    finally:
        if before is not None:
            os.environ[BACKEND_VARIABLE] = before
        else:
            os.environ.pop(BACKEND_VARIABLE, None)


def _decoding_rows(videos: list[Path], config: BenchConfig, backend: str) -> list[Row]:
    """Return frames/s of random clips, by wall-clock time and per core.

    Clips are read from one open video after another; from all open videos alternately, as in training (decord's
    readers then decode ahead in parallel, which is wasted); and from videos that are opened for one clip each.

    Raises:
        RuntimeError: The two sides give different pixels.
    """
    times_s = _clip_times(config.seed)
    ours, theirs = _our_clips(videos, times_s, backend), _decord_clips(videos, times_s)
    alternating = list(range(CLIPS))
    one_by_one = sorted(alternating, key=lambda number: number % VIDEOS)
    for number in alternating:
        if not np.array_equal(ours(number, False), theirs(number, False)):
            raise RuntimeError(f"clip {number}: the frames of {backend} differ from decord's")
    repeats = min(config.repeats, MAX_REPEATS)

    def sides(numbers: list[int], reopen: bool) -> tuple[Callable[[], None], Callable[[], None]]:
        return partial(_read_all, ours, numbers, reopen), partial(_read_all, theirs, numbers, reopen)

    pairs = {
        "one video after another": time_pair(*sides(one_by_one, False), repeats=repeats),
        "one video after another, per core": _core_pair(*sides(one_by_one, False), repeats),
        "open videos alternately, per core": _core_pair(*sides(alternating, False), repeats),
        "opened for one clip, per core": _core_pair(*sides(alternating, True), repeats),
    }
    frames = CLIPS * CLIP
    return [
        row(
            f"decode with {backend}, {how}, compared with decord",
            frames / pair.ours,
            frames / pair.baseline,
            "frames/s",
        )
        for how, pair in pairs.items()
    ]


def _read_all(read: Callable[[int, bool], np.ndarray], numbers: list[int], reopen: bool) -> None:
    for number in numbers:
        read(number, reopen)


def _clip_times(seed: int) -> list[np.ndarray]:
    """Return for each clip the times of its frames `[CLIP]` [s], away from the boundaries between frames."""
    steps = np.arange(CLIP) / CLIP_FPS
    last = FRAMES - int(steps[-1] * FPS) - 1
    starts = np.random.default_rng(seed).integers(0, last, CLIPS)
    # Steps are 7.5 frames: without the offset, times would fall on boundaries.
    return [(start + 0.25) / FPS + steps for start in starts]


def _our_clips(
    videos: list[Path], times_s: list[np.ndarray], backend: str = ""
) -> Callable[[int, bool], np.ndarray]:
    from vjepa_world.data.video.reader import VideoFile, open_video

    def open_one(path: Path) -> VideoFile:
        with _selected(backend):
            return open_video(path, num_threads=1)

    opened = [open_one(path) for path in videos]

    def read(number: int, reopen: bool) -> np.ndarray:
        which = number % VIDEOS
        video = open_one(videos[which]) if reopen else opened[which]
        return video.frames_at(times_s[number]).permute(0, 2, 3, 1).numpy()

    return read


def _decord_clips(videos: list[Path], times_s: list[np.ndarray]) -> Callable[[int, bool], np.ndarray]:
    decord = import_decord()

    def open_one(path: Path) -> Any:
        return decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)

    opened = [open_one(path) for path in videos]

    def read(number: int, reopen: bool) -> np.ndarray:
        which = number % VIDEOS
        reader = open_one(videos[which]) if reopen else opened[which]
        frames: np.ndarray = reader.get_batch((times_s[number] * FPS).astype(int).tolist()).asnumpy()
        return frames

    return read


def _core_pair(ours: Callable[[], None], baseline: Callable[[], None], repeats: int) -> Pair:
    """Return the CPU seconds of either side, summed over threads; the sides alternate."""
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for side, seconds in zip((ours, baseline), taken, strict=True):
            start = time.process_time()
            side()
            time.sleep(SETTLE_S)
            seconds.append(time.process_time() - start)
    return Pair(tuple(taken[0]), tuple(taken[1]))


def _loader_row(folder: str, videos: list[Path], config: BenchConfig) -> Row:
    """Return clips/s of a loader with one process, including cropping and transfer, compared with decoding alone."""
    from vjepa_world.data.loading.loader import ClipLoader
    from vjepa_world.data.loading.mixture import ClipMixture

    mixture = ClipMixture(
        VideoDataConfig(path=folder, fps=CLIP_FPS), num_frames=CLIP, image_size=224, seed=config.seed
    )
    batches: Iterator[object] = ClipLoader(mixture, batch_size=BATCH, workers=1).batches(0, 1 << 30)
    read = _our_clips(videos, _clip_times(config.seed))
    for _ in range(6):  # prefetched batches
        next(batches)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(min(config.repeats, 3)):
        start = time.perf_counter()
        for _ in range(BATCHES):
            next(batches)
        rates[0].append(BATCHES * BATCH / (time.perf_counter() - start))
    batches.close()  # type: ignore[attr-defined]
    for _ in range(min(config.repeats, 3)):
        start = time.perf_counter()
        for number in range(CLIPS):
            read(number, False)
        rates[1].append(CLIPS / (time.perf_counter() - start))
    return row(
        "a loader with 1 process, compared with decoding alone", median(rates[0]), median(rates[1]), "clips/s"
    )


def _waiting_row(folder: str, config: BenchConfig) -> Row:
    """Return the share of waiting in a short pretraining run without its first steps, compared with the limit."""
    from vjepa_world.cli.pretrain import Config
    from vjepa_world.cli.pretrain import run as pretrain
    from vjepa_world.runs import read_metrics
    from vjepa_world.training.engine.config import TrainerConfig

    run_config = Config(
        name="bench",
        seed=config.seed,
        device=config.device,
        data=VideoDataConfig(path=folder, fps=CLIP_FPS),
        model=EncoderConfig(image_size=112, num_frames=CLIP, embed_dim=192, depth=12, num_heads=3),
        trainer=TrainerConfig(steps=12, batch_size=4, log_every=2, checkpoint_every=1000, workers=1),
    )
    with (
        tempfile.TemporaryDirectory() as folder_of_run,
        contextlib.chdir(folder_of_run),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        pretrain(run_config)
        lines = read_metrics(Path("runs") / "pretrain" / "bench")
    shares = [line["wait_fraction"] for line in lines if "wait_fraction" in line][1:]
    # Zero has no ratio.
    wait_fraction = max(sum(shares) / len(shares), 1e-4)
    name = "waiting for data, pretraining ViT-Ti/16, 16 x 112, compared with the limit"
    return row(name, wait_fraction, MAX_WAIT_FRACTION, "of the time", lower_is_better=True)


def _write_video(path: Path, seed: int) -> Path:
    """Write one video and return its path."""
    import av

    with av.open(str(path), "w") as container:
        # FFmpeg's own defaults would override x264's, whose default quality is 23.
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "23"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number, pixels in enumerate(_scene(seed)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _scene(seed: int) -> Iterator[np.ndarray]:
    """Yield the frames, uint8 `[H, W, 3]`: a panning and zooming camera, six moving objects, and noise."""
    generator = torch.Generator().manual_seed(seed)
    background = _texture(generator, 2 * HEIGHT, 2 * WIDTH)
    objects = [_texture(generator, 48, 48) for _ in range(6)]
    paths = torch.rand(
        6, 4, generator=generator
    )  # of each: vertical phase and speed, horizontal phase and speed
    camera = torch.rand(5, generator=generator)
    for number in range(FRAMES):
        t = number / FPS
        zoom = 0.5 + 0.08 * torch.sin(0.5 * t + 6 * camera[0])
        across, down = 0.3 * torch.sin(0.4 * t + 6 * camera[1]), 0.3 * torch.sin(0.3 * t + 6 * camera[2])
        view = torch.tensor([[[zoom, 0.0, across], [0.0, zoom, down]]])
        grid = torch.nn.functional.affine_grid(view, [1, 3, HEIGHT, WIDTH], align_corners=False)
        frame = torch.nn.functional.grid_sample(background[None], grid, align_corners=False)[0]
        for item, path in zip(objects, paths, strict=True):
            top = int((HEIGHT - 48) * (0.5 + 0.5 * torch.sin(6 * path[0] + (0.3 + path[1]) * t)))
            left = int((WIDTH - 48) * (0.5 + 0.5 * torch.sin(6 * path[2] + (0.3 + path[3]) * t)))
            frame[:, top : top + 48, left : left + 48] = item
        noisy = frame + 0.004 * torch.randn(frame.shape, generator=generator)
        yield (255 * noisy.clamp(0, 1)).permute(1, 2, 0).to(torch.uint8).contiguous().numpy()


def _texture(generator: torch.Generator, height: int, width: int) -> Tensor:
    """Return an image float32 `[3, H, W]` from 0 to 1 with detail at every scale.

    Its amplitude falls with the spatial frequency f as f^-1.6: a photograph's f^-1, with some lens blur. x264 then
    needs about 30 kB per second; real videos of this size need 12 to 63 kB.
    """
    noise = torch.fft.rfft2(torch.randn(3, height, width, generator=generator))
    rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    distance = torch.sqrt(rows**2 + columns**2).clamp(min=1.0 / max(height, width))
    image = torch.fft.irfft2(noise / distance**1.6, s=(height, width))
    return (0.5 + 0.2 * (image - image.mean()) / image.std()).clamp(0, 1)

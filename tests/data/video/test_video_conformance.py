"""Frame i is frame i: on every back end, in every container and codec, alone or in sequence, by index and by time.

Every frame shows its own number (`coded_video`), so that what comes back needs no reference.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import PictureType

from tests.data.coded_video import X265_PARAMS, coded_frame, read_codes
from vjepa_world.data.video import backends as video_backends
from vjepa_world.data.video.decoder import PYAV
from vjepa_world.data.video.reader import VideoFile, open_video
from vjepa_world.errors import DataError

COUNT = 36

#: The back ends; `pyav_seeking` keeps no packet in memory, so that the container has to find its way.
BACKENDS = ("torchcodec", "decord", "pyav", "pyav_seeking")


@dataclass(frozen=True)
class Stream:
    """How to encode a video.

    Attributes:
        codec: The encoder.
        fps: Frames per second where `times_ms` gives no others.
        pix_fmt: The pixels that are encoded.
        size: Height and width.
        gop: Most frames between two keyframes; None for the encoder's own.
        b_frames: Most B-frames in a row.
        options: The encoder's.
        container: The muxer's.
        forced: Frames that are made keyframes.
        times_ms: When each frame is displayed.
        rotation: Degrees.
        can_seek: Whether the muxer may go back to write the header.
        program: What a system FFmpeg is told to encode it with, where PyAV's has no such encoder.
    """

    codec: str
    fps: int = 10
    pix_fmt: str = "yuv420p"
    size: int = 64
    gop: int | None = 12
    b_frames: int | None = None
    options: dict[str, str] = field(default_factory=dict)
    container: dict[str, str] = field(default_factory=dict)
    forced: Sequence[int] = ()
    times_ms: Sequence[int] | None = None
    rotation: int | None = None
    can_seek: bool = True
    program: tuple[str, ...] = ()


VARIABLE_MS = np.cumsum([0, *np.random.default_rng(1).integers(30, 250, COUNT - 1)]).tolist()
LATE_MS = [700 + 100 * number for number in range(COUNT)]
X264, X265, VP8, VP9, AV1 = "libx264", "libx265", "libvpx", "libvpx-vp9", "libsvtav1"
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
LIVE = {"live": "1"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=12:scenecut=0"}
PYRAMID = {"x264-params": "keyint=250:bframes=3:b-adapt=0:b-pyramid=1:scenecut=0", "forced-idr": "1"}
FAST = {"deadline": "realtime", "cpu-used": "8"}
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "12", "cpu-used": "4", "b": "200k"}
SHARP = {"qmin": "2", "qmax": "3"}

STREAMS: dict[str, Stream] = {
    "h264.mp4": Stream(X264, b_frames=3),
    "h264_no_b.mp4": Stream(X264, b_frames=0),
    "h264_open.mp4": Stream(X264, b_frames=3, options={"x264-params": "open-gop=1:scenecut=0"}),
    "h264_refresh.mp4": Stream(X264, gop=None, b_frames=0, options=REFRESH),
    "h264_refresh.mkv": Stream(X264, gop=None, b_frames=0, options=REFRESH),
    "h264_refresh_fragments.mp4": Stream(X264, gop=None, b_frames=0, options=REFRESH, container=FRAGMENTS),
    "h264_close_keys.mp4": Stream(X264, gop=250, options=PYRAMID, forced=(8, 17, 19)),
    "h264_fragments.mp4": Stream(X264, gop=250, options=PYRAMID, forced=(8, 17, 19), container=FRAGMENTS),
    "h264_fragments.mov": Stream(X264, b_frames=3, container=FRAGMENTS),
    "h264_dash.mp4": Stream(X264, b_frames=3, container={"movflags": "dash+frag_keyframe+default_base_moof"}),
    "h264_every_frame.mp4": Stream(X264, b_frames=3, container={"movflags": "frag_every_frame+empty_moov"}),
    "h264_late.mp4": Stream(X264, b_frames=3, times_ms=LATE_MS),
    "h264_late.mkv": Stream(X264, b_frames=3, times_ms=LATE_MS),
    "h264_variable.mp4": Stream(X264, b_frames=3, times_ms=VARIABLE_MS),
    "h264_variable.mkv": Stream(X264, b_frames=3, times_ms=VARIABLE_MS),
    "h264_variable.flv": Stream(X264, b_frames=3, times_ms=VARIABLE_MS),
    "h264_variable_fragments.mp4": Stream(X264, b_frames=3, times_ms=VARIABLE_MS, container=FRAGMENTS),
    "h264_turned.mp4": Stream(X264, b_frames=3, rotation=180),
    "h264.mov": Stream(X264, b_frames=3),
    "h264.mkv": Stream(X264, b_frames=3),
    "h264_live.mkv": Stream(X264, b_frames=3, can_seek=False),
    "h264.flv": Stream(X264, b_frames=3),
    "h264_no_b.flv": Stream(X264, b_frames=0),
    "h264_live.flv": Stream(X264, b_frames=3, container={"flvflags": "no_duration_filesize"}, can_seek=False),
    "h264.avi": Stream(X264, b_frames=3),
    "h264_open.avi": Stream(X264, b_frames=3, options={"x264-params": "open-gop=1:scenecut=0"}),
    "h264_close_keys.avi": Stream(X264, gop=250, options=PYRAMID, forced=(8, 17, 19)),
    "h264_no_b.avi": Stream(X264, b_frames=0),
    "h264.asf": Stream(X264, b_frames=0),
    "h264.nut": Stream(X264, b_frames=3),
    "hevc.mp4": Stream(X265, options={"x265-params": f"open-gop=0:{X265_PARAMS}"}),
    "hevc_open.mp4": Stream(X265, options={"x265-params": f"open-gop=1:{X265_PARAMS}"}),
    "hevc_open.mkv": Stream(X265, options={"x265-params": f"open-gop=1:{X265_PARAMS}"}),
    "hevc_refresh.mp4": Stream(X265, options={"x265-params": f"intra-refresh=1:bframes=0:{X265_PARAMS}"}),
    "hevc_fragments.mp4": Stream(X265, options={"x265-params": X265_PARAMS}, container=FRAGMENTS),
    "hevc.flv": Stream(X265, options={"x265-params": X265_PARAMS}),
    "mpeg4.avi": Stream("mpeg4", b_frames=2, options=SHARP),
    "mpeg4_no_b.avi": Stream("mpeg4", options=SHARP),
    "mpeg4.mp4": Stream("mpeg4", b_frames=2, options=SHARP),
    "mpeg4.mkv": Stream("mpeg4", b_frames=2, options=SHARP),
    "mpeg2.mkv": Stream("mpeg2video", fps=25, b_frames=2, options=SHARP),
    "mpeg2.avi": Stream("mpeg2video", fps=25, b_frames=2, options=SHARP),
    "mpeg1.mkv": Stream("mpeg1video", fps=25, b_frames=2, options=SHARP),
    "vp8.webm": Stream(VP8, options=FAST),
    "vp8_hidden.webm": Stream(VP8, options=HIDDEN),
    "vp8_hidden.avi": Stream(VP8, options=HIDDEN),
    "vp8_live.webm": Stream(VP8, options=FAST, container=LIVE),
    "vp9.webm": Stream(VP9, options=FAST),
    "vp9_hidden.webm": Stream(VP9, options=HIDDEN),
    "vp9_live.webm": Stream(VP9, options=FAST, container=LIVE, can_seek=False),
    "vp9.mp4": Stream(VP9, options=FAST),
    "vp9_odd.webm": Stream(VP9, options=FAST, size=67),
    "vp9_variable.webm": Stream(VP9, options=FAST, times_ms=VARIABLE_MS),
    "av1.mp4": Stream(AV1, options={"preset": "10", "crf": "20"}),
    "av1.webm": Stream(AV1, options={"preset": "10", "crf": "20"}),
    "av1_live.webm": Stream(AV1, options={"preset": "10", "crf": "20"}, container=LIVE),
    "mjpeg.avi": Stream("mjpeg", pix_fmt="yuvj420p"),
    "mjpeg.mov": Stream("mjpeg", pix_fmt="yuvj420p"),
    "mjpeg_odd.mkv": Stream("mjpeg", pix_fmt="yuvj420p", size=65),
    "theora.ogg": Stream("libtheora", program=("-q:v", "10", "-g", "12")),
    "theora.mkv": Stream("libtheora", program=("-q:v", "10", "-g", "12")),
    "theora_live.ogg": Stream("libtheora", program=("-q:v", "10", "-g", "12"), can_seek=False),
    "aom.webm": Stream("libaom-av1", program=("-cpu-used", "8", "-crf", "20", "-g", "12")),
    "wmv1.asf": Stream("wmv1", options=SHARP),
    "wmv2.wmv": Stream("wmv2", options=SHARP),
    "wmv2_variable.wmv": Stream("wmv2", options=SHARP, times_ms=VARIABLE_MS),
    "wmv2.avi": Stream("wmv2", options=SHARP),
    "msmpeg4.avi": Stream("msmpeg4", options=SHARP),
    "msmpeg4v2.avi": Stream("msmpeg4v2", options=SHARP),
    "flv1.flv": Stream("flv", options=SHARP),
    "ffv1.mkv": Stream("ffv1", pix_fmt="bgr0", size=65),
    "ffv1.avi": Stream("ffv1", pix_fmt="bgr0"),
    "huffyuv.avi": Stream("huffyuv", pix_fmt="yuv422p"),
    "prores.mov": Stream("prores", pix_fmt="yuv422p10le"),
    "png.mov": Stream("png", pix_fmt="rgb24"),
    "qtrle.mov": Stream("qtrle", pix_fmt="rgb24"),
    "svq1.mov": Stream("svq1", pix_fmt="yuv410p"),
    "zmbv.avi": Stream("zmbv", pix_fmt="bgr0"),
    "flashsv.flv": Stream("flashsv", pix_fmt="bgr24"),
    "msvideo1.avi": Stream("msvideo1", pix_fmt="rgb555le"),
    "cinepak.avi": Stream("cinepak", pix_fmt="rgb24"),
    "snow.avi": Stream("snow"),
    "raw.avi": Stream("rawvideo", pix_fmt="bgr24"),
    "raw.mkv": Stream("rawvideo", pix_fmt="yuv420p"),
    "palette.avi": Stream("rawvideo", pix_fmt="pal8"),
    "animation.gif": Stream("gif", pix_fmt="rgb8"),
    "animation.apng": Stream("apng", pix_fmt="rgb24"),
}


class Unseekable(io.RawIOBase):
    """A stream that FFmpeg cannot seek, like a pipe."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "wb")  # noqa: SIM115 (closed by close)

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def write(self, data: bytes) -> int:  # type: ignore[override]
        return self._file.write(data)

    def close(self) -> None:
        self._file.close()
        super().close()


def encode_with_program(path: Path, how: Stream) -> Path:
    """Write the frames 0, 1, 2, ... by a system FFmpeg."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("there is no system FFmpeg to encode it")
    lossless = encode(path.with_suffix(".lossless.mkv"), Stream("ffv1", pix_fmt="bgr0"))
    words = [program, "-v", "error", "-i", str(lossless), "-c:v", how.codec, *how.program]
    if how.can_seek:
        subprocess.run([*words, str(path)], check=True)
        return path
    with open(path, "wb") as file:
        subprocess.run([*words, "-f", path.suffix[1:], "-"], check=True, stdout=file)
    return path


def encode(path: Path, how: Stream) -> Path:
    """Write the frames 0, 1, 2, ..."""
    if how.program:
        return encode_with_program(path, how)
    target = str(path) if how.can_seek else Unseekable(path)
    kind = {".mkv": "matroska", ".wmv": "asf"}.get(path.suffix, path.suffix[1:])
    with av.open(target, "w", format=kind, options=how.container) as container:
        stream = container.add_stream(how.codec, rate=how.fps, options=how.options)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = how.size
        stream.pix_fmt = how.pix_fmt
        unit = Fraction(1, how.fps) if how.times_ms is None else Fraction(1, 1000)
        stream.codec_context.time_base = unit
        if how.gop is not None:
            stream.codec_context.gop_size = how.gop
        if how.b_frames is not None:
            stream.codec_context.max_b_frames = how.b_frames
        if how.rotation is not None:
            stream.set_display_rotation(how.rotation)
        for number in range(COUNT):
            frame = picture(number, how)
            frame.pts, frame.time_base = number if how.times_ms is None else how.times_ms[number], unit
            if number in how.forced:
                frame.pict_type = PictureType.I
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    if not how.can_seek:
        target.close()  # type: ignore[union-attr]
    return path


def picture(number: int, how: Stream) -> av.VideoFrame:
    """Return a frame to encode, uint8 RGB or with a palette of greys that is not the identity."""
    pixels = coded_frame(number, how.size)
    if how.pix_fmt != "pal8":
        return av.VideoFrame.from_ndarray(pixels, format="rgb24")
    greys = np.arange(256)[::-1]
    palette = np.stack([np.full(256, 255), greys, greys, greys], axis=1).astype(np.uint8)
    return av.VideoFrame.from_ndarray((255 - pixels[..., 0], palette), format="pal8")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("conformance")

    def get(name: str) -> Path:
        if PYAV < 17 and (name.endswith(".flv") or STREAMS[name].rotation is not None):
            pytest.skip("PyAV 17 is the first that opens FLV and writes rotation flags")
        path = folder / name
        return path if path.exists() else encode(path, STREAMS[name])

    return get


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    name: str = request.param
    monkeypatch.setenv(video_backends.BACKEND_VARIABLE, name.removesuffix("_seeking"))
    if name == "pyav_seeking":
        monkeypatch.setattr(video_backends, "KEPT_BYTES", 0)
    if name in ("torchcodec", "decord"):
        try:
            video_backends.find_backend()
        except DataError as error:
            pytest.skip(str(error))
    return name


@pytest.mark.parametrize("name", STREAMS)
def test_frame_i_is_frame_i(encoded: Callable[[str], Path], backend: str, name: str) -> None:
    how, path = STREAMS[name], encoded(name)
    starts_s = np.arange(COUNT) / how.fps if how.times_ms is None else np.array(how.times_ms) / 1000
    starts_s -= starts_s[0]
    gaps_s = np.diff(starts_s)
    last_s = float(np.median(gaps_s))
    shuffled = np.random.default_rng(2).permutation(COUNT).tolist()

    def numbers(video: VideoFile, indices: list[int]) -> list[int]:
        frames = video.frames_by_index(indices)
        return read_codes(frames.flip(2, 3) if how.rotation == 180 else frames)

    def numbers_at(video: VideoFile, times_s: np.ndarray) -> list[int]:
        frames = video.frames_at(times_s)
        return read_codes(frames.flip(2, 3) if how.rotation == 180 else frames)

    with open_video(path) as video:
        assert video.num_frames == COUNT
        assert numbers(video, list(range(COUNT))) == list(range(COUNT))
        if how.times_ms is None:
            assert video.fps == pytest.approx(how.fps, rel=0.01)
            assert video.duration_s == pytest.approx(COUNT / how.fps, rel=0.01)
        else:
            assert starts_s[-1] < video.duration_s <= starts_s[-1] + max(gaps_s) + 0.01
        assert numbers_at(video, starts_s[shuffled]) == shuffled
        inside = starts_s + np.append(gaps_s, min(last_s, video.duration_s - starts_s[-1])) * 0.6
        assert numbers_at(video, inside) == list(range(COUNT))
        one_by_one = [numbers(video, [index])[0] for index in shuffled]
        assert one_by_one == shuffled
        steps = [numbers(video, [index])[0] for index in range(COUNT)]
        assert steps == list(range(COUNT))
        assert numbers(video, shuffled) == shuffled
        video.preload()
        assert numbers(video, shuffled) == shuffled
    alone = []
    for index in range(COUNT):
        with open_video(path) as video:
            alone += numbers(video, [index])
    assert alone == list(range(COUNT))


def decoded_by_ffmpeg(path: Path) -> list[int]:
    """Return the numbers of the frames that come out of a plain decoding from the start."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size or packet.dts is None]
        frames = [frame.to_ndarray(format="rgb24") for packet in packets for frame in packet.decode()]
    return read_codes(torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2))


@pytest.mark.parametrize("codec", ["h264", "hevc"])
@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".flv"])
def test_frames_that_lost_their_references_are_not_counted(
    tmp_path: Path, encoded: Callable[[str], Path], backend: str, codec: str, suffix: str
) -> None:
    """After a keyframe in an open group come frames that are displayed before it and need frames that were cut off."""
    if PYAV < 17 and suffix == ".flv":
        pytest.skip("PyAV 17 is the first that opens FLV")
    whole, cut = encoded(f"{codec}_open.mp4"), tmp_path / f"cut{suffix}"
    with av.open(str(whole)) as source, av.open(str(cut), "w") as out:
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        keys = 0
        for packet in source.demux(stream):
            keys += packet.is_keyframe
            if keys > 1 and packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    expected = decoded_by_ffmpeg(cut)
    assert expected == list(range(expected[0], COUNT)) and 0 < expected[0] < COUNT - 6
    with open_video(cut) as video:
        assert video.num_frames == len(expected)
        assert read_codes(video.frames_by_index(list(range(len(expected))))) == expected
        assert [
            read_codes(video.frames_by_index([i]))[0] for i in reversed(range(len(expected)))
        ] == expected[::-1]
        assert read_codes(video.frames_at([0.0, video.duration_s])) == [expected[0], expected[-1]]


def test_a_packet_with_two_frames_counts_twice(tmp_path: Path, backend: str) -> None:
    """DivX and XviD pack a B-frame with the frame that it needs, and put a placeholder into the next packet."""
    program = shutil.which("ffmpeg")
    if (
        program is None
        or "libxvid"
        not in subprocess.run(
            [program, "-v", "error", "-encoders"], capture_output=True, text=True, check=True
        ).stdout
    ):
        pytest.skip("there is no XviD here")
    path = encode_with_program(
        tmp_path / "packed.avi", Stream("libxvid", program=("-bf", "2", "-q:v", "2", "-g", "12"))
    )
    with av.open(str(path)) as container:
        assert min(packet.size for packet in container.demux(video=0) if packet.dts is not None) < 8
    expected = decoded_by_ffmpeg(path)
    with open_video(path) as video:
        assert video.num_frames == len(expected) >= COUNT - 2
        assert read_codes(video.frames_by_index(list(range(len(expected))))) == expected
        assert video.fps == pytest.approx(10, rel=0.01)
    for index in range(len(expected)):
        with open_video(path) as video:
            assert read_codes(video.frames_by_index([index])) == [expected[index]]


def test_empty_packets_are_not_frames(tmp_path: Path, backend: str) -> None:
    """Theora and AVI repeat a frame with an empty packet."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("there is no system FFmpeg to encode it")
    path = encode_with_program(
        tmp_path / "again.ogg", Stream("libtheora", program=("-r", "25", "-q:v", "10"))
    )
    expected = decoded_by_ffmpeg(path)
    with av.open(str(path)) as container:
        assert sum(packet.dts is not None for packet in container.demux(video=0)) > len(expected) >= COUNT
    with open_video(path) as video:
        shuffled = np.random.default_rng(3).permutation(len(expected)).tolist()
        assert video.num_frames == len(expected)
        assert read_codes(video.frames_by_index(shuffled)) == [expected[index] for index in shuffled]
        assert read_codes(video.frames_at([0.0, 1.05, 3.39])) == [0, 10, 33]


# FFmpeg's own parsers mend the flags in most containers, but not in NUT.
FLAGGED = [
    "h264.mp4",
    "h264_no_b.mp4",
    "hevc.mp4",
    "mpeg4.mp4",
    "mpeg2.mkv",
    "vp8.webm",
    "vp9.webm",
    "wmv1.asf",
]
FLAGGED += ["h264_refresh.mkv", "wmv2.wmv", "msmpeg4.avi", "msmpeg4v2.avi", "vp8_hidden.webm"]
WRONGLY_FLAGGED = [(name, ".nut") for name in FLAGGED] + [("hevc.mp4", ".mp4"), ("mpeg4.mp4", ".mp4")]


@pytest.mark.parametrize(("name", "suffix"), WRONGLY_FLAGGED)
def test_a_container_that_flags_every_frame_as_a_keyframe_is_not_trusted(
    tmp_path: Path, encoded: Callable[[str], Path], backend: str, name: str, suffix: str
) -> None:
    path = tmp_path / f"flags{suffix}"
    with av.open(str(encoded(name))) as source, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.is_keyframe, packet.stream = True, copy
                out.mux(packet)
    with av.open(str(path)) as container:
        assert all(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
    for index in range(COUNT):
        with open_video(path) as video:
            assert read_codes(video.frames_by_index([index])) == [index]


def test_keyframes_of_codecs_whose_headers_are_not_read(tmp_path: Path, backend: str) -> None:
    """FFmpeg's Matroska flags every H.263 frame as a keyframe."""
    how = Stream("h263p", program=("-q:v", "2", "-g", "12"))
    path = encode_with_program(tmp_path / "flags.mkv", how)
    with open_video(path) as video:
        assert read_codes(video.frames_by_index(list(range(COUNT)))) == list(range(COUNT))
    for index in range(0, COUNT, 5):
        with open_video(path) as video:
            assert read_codes(video.frames_by_index([index])) == [index]


def test_decoding_times_are_not_display_times(
    tmp_path: Path, encoded: Callable[[str], Path], backend: str
) -> None:
    """XviD's MP4 and AVI put into Matroska store frames with their decoding times."""
    path = tmp_path / "stored.mkv"
    with av.open(str(encoded("mpeg4.mkv"))) as source, av.open(str(path), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.pts, packet.stream = packet.dts, copy
                out.mux(packet)
    for index in range(COUNT):
        with open_video(path) as video:
            assert video.num_frames == COUNT
            assert read_codes(video.frames_by_index([index])) == [index]


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_pixel_levels_follow_the_declared_range(
    tmp_path: Path, backend: str, full: bool, pix_fmt: str
) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("there is no system FFmpeg to encode it")
    words: tuple[str, ...] = (
        "-vf",
        f"scale=out_range={'full' if full else 'tv'}",
        "-color_range",
        "pc" if full else "tv",
    )
    words += ("-pix_fmt", pix_fmt, "-deadline", "realtime", "-cpu-used", "8", "-b:v", "2M")
    path = encode_with_program(tmp_path / "levels.webm", Stream(VP9, program=words))
    with open_video(path) as video:
        frame = video.frames_by_index([15])[0]
    assert abs(int(frame[0, 8, 8]) - 220) <= 3 and abs(int(frame[0, 24, 24]) - 40) <= 3

"""Videos and images in tar shards are read in place, like separate files."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch
from PIL import Image

from tests.data.coded_video import write_coded
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.corpus.locations import TarMember, open_location
from vjepa_world.data.corpus.shards import expand_braces
from vjepa_world.data.loading.loader import ClipLoader
from vjepa_world.data.loading.mixture import ClipMixture
from vjepa_world.data.video.reader import VideoError, open_video
from vjepa_world.errors import DataError

STREAMS = {"one": "h264.mp4", "two": "hevc.mkv", "three": "vp9.webm"}
CODECS = {"h264.mp4": "libx264", "hevc.mkv": "libx265", "vp9.webm": "libvpx-vp9"}


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with plain videos in `plain`, the same in two shards in `shards`."""
    root = tmp_path_factory.mktemp("shards")
    (root / "plain").mkdir()
    (root / "shards").mkdir()
    for number, (key, name) in enumerate(STREAMS.items()):
        file = root / "plain" / f"{key}.{name}"
        write_coded(file, range(0, 3000 + 500 * number, 100), codec=CODECS[name], b_frames=None)
    labels = {
        "one": (".cls", b"7"),
        "two": (".txt", b"push it\n"),
        "three": (".json", json.dumps({"label": 3}).encode()),
    }
    for number, keys in enumerate((("one", "two"), ("three",))):
        with tarfile.open(root / "shards" / f"set-{number:03}.tar", "w") as tar:
            for key in keys:
                ending, label = labels[key]
                add(tar, f"./{key}{ending}", label)
                add(tar, f"./{key}.{STREAMS[key]}", (root / "plain" / f"{key}.{STREAMS[key]}").read_bytes())
                add(tar, f"./{key}.thumb.jpg", b"a picture that is not looked at")
    return root


def test_folder_glob_braces_and_file_select_the_same_members(folder: Path) -> None:
    shards = folder / "shards"
    for source in (
        shards,
        f"{shards}/*.tar",
        f"{shards}/set-{{000..001}}.tar",
        f"{shards}/set-{{000,001}}.tar",
    ):
        segments = find_videos(source).segments
        assert [Path(str(s.member and s.member.name)).name for s in segments] == [
            f"{key}.{name}" for key, name in STREAMS.items()
        ]
        assert [s.label for s in segments] == ["7", "push it", "3"]
    assert len(find_videos(shards / "set-001.tar").segments) == 1
    with pytest.raises(DataError, match=r"No such file or folder: .*set-002\.tar"):
        find_videos(f"{shards}/set-{{000..002}}.tar")


def test_members_are_read_as_files_are(folder: Path) -> None:
    for segment in find_videos(folder / "shards").segments:
        assert segment.member is not None
        plain = folder / "plain" / Path(segment.member.name).name
        with open_location(segment.location) as stream:
            assert stream.read() == plain.read_bytes()
        inside, outside = open_video(segment.member), open_video(plain)
        times_s = [0.0, 2.95, 1.33, 1.4]
        assert torch.equal(inside.frames_at(times_s), outside.frames_at(times_s))
        assert segment.name == f"{segment.path}/{segment.member.name}"


def test_clips_of_shards_are_those_of_files(folder: Path) -> None:
    batches = []
    for place in ("plain", "shards"):
        config = VideoDataConfig(path=str(folder / place), clips_per_video=2)
        source = ClipMixture(config, num_frames=4, image_size=32, seed=5)
        order = [
            segment and Path(str(segment.location)).name for segment in source._groups[0].sources[0].segments
        ]
        assert len(order) == 3
        batches.append(list(ClipLoader(source, batch_size=6, workers=1).batches(0, 3)))
    # Files go by name, members by their position in the shard; a clip of the same file and time is the same clip.
    frames: list[dict[str, torch.Tensor]] = [
        {
            name.rpartition("/")[2]: clip
            for batch in found
            for name, clip in zip(batch.names, batch.frames, strict=True)
        }
        for found in batches
    ]
    assert all(len(found) > 12 for found in frames)
    assert {batch.labels for batch in batches[0]} == {("",) * 6}
    assert {label for batch in batches[1] for label in batch.labels} == {"7", "push it", "3"}


def test_damaged_members_and_damaged_shards_are_bad(folder: Path, tmp_path: Path) -> None:
    data = (folder / "plain" / "one.h264.mp4").read_bytes()
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "good.mp4", data)
        add(tar, "short.mp4", data[: len(data) // 2])
        add(tar, "empty.mp4", b"")
    whole = (tmp_path / "a.tar").read_bytes()
    (tmp_path / "b.tar").write_bytes(whole[: len(data) // 2])
    (tmp_path / "c.tar").write_text("no archive at all")
    (tmp_path / "d.tar").write_bytes(b"")
    corpus = find_videos(tmp_path)
    good, bad = corpus.usable(0.5, 0.9)
    assert [segment.name for segment in good] == [f"{tmp_path}/a.tar/good.mp4"]
    assert corpus.total == 6
    reasons = {name.removeprefix(f"{tmp_path}/"): reason for name, reason in bad.reasons.items()}
    assert set(reasons) == {"b.tar", "c.tar", "d.tar", "a.tar/short.mp4", "a.tar/empty.mp4"}
    assert "it is truncated, or no video at all" in reasons["a.tar/short.mp4"]
    assert "zero bytes" in reasons["a.tar/empty.mp4"]
    for name in ("b.tar", "c.tar", "d.tar"):
        assert f"Cannot read the shard {tmp_path}/{name}" in reasons[name]
    with pytest.raises(VideoError, match=r"is truncated: it ends before this member does"):
        open_video(TarMember(tmp_path / "b.tar", "good.mp4", 512, len(data)))


def test_shards_of_images_are_images(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (20, 20), (0, 250, 0)).save(picture, "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(3):
            add(tar, f"{number:04}.png", picture.getvalue())
            add(tar, f"{number:04}.cls", str(number).encode())
    config = VideoDataConfig(path=str(tmp_path / "a.tar"))
    batch = next(
        ClipLoader(ClipMixture(config, num_frames=1, image_size=16, seed=0), batch_size=8).batches(0, 1)
    )
    assert batch.frames.shape == (8, 1, 3, 16, 16)
    assert (batch.frames[:, :, 1] == 250).all()
    assert all(f"/{int(label):04}.png" in name for name, label in zip(batch.names, batch.labels, strict=True))


def test_braces_are_expanded_as_in_webdataset() -> None:
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{x,y}/{0..1}.tar") == ["x/0.tar", "x/1.tar", "y/0.tar", "y/1.tar"]
    assert expand_braces("plain.tar") == ["plain.tar"]
    assert expand_braces("{a,b}" + "{0..0}" * 2000) == ["a" + "0" * 2000, "b" + "0" * 2000]
    for wrong in ("{a}.tar", "{3..1}.tar", "{}.tar", "{0.." + "9" * 5000 + "}"):
        with pytest.raises(DataError, match="is not a list; write"):
            expand_braces(wrong)


@pytest.mark.parametrize(
    "pattern", ["x-{0..99999999999}.tar", "{0..999}{0..999}{0..999}.tar", "{a,b}" * 3000, "{0..1000000}"]
)
def test_braces_that_expand_to_too_many_names_are_refused_at_once(pattern: str) -> None:
    with pytest.raises(DataError, match="expands to more than 1000000 names"):
        expand_braces(pattern)

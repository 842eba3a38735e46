"""Paths from metadata stay inside the dataset, and templates have only known placeholders."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjepa_world.data.trajectories.safe_paths import ContainedFolder, PathTemplate
from vjepa_world.errors import DataError


@pytest.mark.parametrize(
    "name", ["../secret.mp4", "/etc/passwd", "data/../../secret", "a\0b", "", "..", "a\\b"]
)
def test_paths_outside_of_the_folder_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="must stay inside its folder"):
        ContainedFolder(tmp_path).file(name)


def test_links_may_point_only_inside_the_folder(tmp_path: Path) -> None:
    root, outside = tmp_path / "set", tmp_path / "private"
    (root / "store").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.mp4").write_bytes(b"secret")
    (root / "store/real.mp4").write_bytes(b"mine")
    (root / "inside.mp4").symlink_to("store/real.mp4")
    (root / "file.mp4").symlink_to(outside / "secret.mp4")
    (root / "folder").symlink_to(outside)
    (root / "chain").symlink_to("folder")
    (root / "loop").symlink_to("loop")
    folder = ContainedFolder(root)
    assert folder.file("inside.mp4").read_bytes() == b"mine"
    assert not folder.file("not/there.mp4").exists()
    for name in ("file.mp4", "folder/secret.mp4", "chain/secret.mp4", "folder/other.mp4"):
        with pytest.raises(DataError, match="lies outside of the dataset"):
            folder.file(name)
    # The folder may itself be reached by a link.
    (tmp_path / "link").symlink_to(root)
    assert ContainedFolder(tmp_path / "link").file("inside.mp4").read_bytes() == b"mine"


def test_a_hub_snapshot_may_link_only_to_blobs_of_its_repository(tmp_path: Path) -> None:
    hub = tmp_path / "hub"
    snapshot = hub / "datasets--a--b/snapshots/0123"
    for repository in ("datasets--a--b", "datasets--c--d"):
        (hub / repository / "blobs").mkdir(parents=True)
        (hub / repository / "blobs/f00").write_bytes(b"content")
    (snapshot / "meta").mkdir(parents=True)
    (snapshot / "meta/mine").symlink_to("../../../blobs/f00")
    (snapshot / "meta/other").symlink_to("../../../../datasets--c--d/blobs/f00")
    (hub / "datasets--a--b/blobs/bad").symlink_to("/etc/hostname")
    (snapshot / "meta/far").symlink_to("../../../blobs/bad")
    for root in (snapshot, snapshot / "meta"):  # a repository may hold several datasets
        folder, prefix = ContainedFolder(root), "meta/" if root == snapshot else ""
        assert folder.file(f"{prefix}mine").read_bytes() == b"content"
        for name in ("other", "far"):
            with pytest.raises(DataError, match="lies outside of the dataset"):
                folder.file(prefix + name)


def test_a_linked_blobs_folder_is_not_accepted(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub/datasets--a--b/snapshots/0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "private").mkdir()
    (tmp_path / "private/f00").write_bytes(b"secret")
    (snapshot.parents[1] / "blobs").symlink_to(tmp_path / "private")
    (snapshot / "mine").symlink_to("../../blobs/f00")
    with pytest.raises(DataError, match="lies outside of the dataset"):
        ContainedFolder(snapshot).file("mine")


KNOWN = ("chunk_index", "file_index", "video_key")


def template(text: object, *needed: str) -> PathTemplate:
    return PathTemplate.read(text, key="data_path", where=Path("info.json"), allowed=KNOWN, needed=needed)


def test_known_placeholders_are_filled() -> None:
    found = template(
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:d}-{file_index}.mp4", "video_key"
    )
    assert found.fill(video_key="a", chunk_index=7, file_index=12) == "videos/a/chunk-007/file-12-12.mp4"


@pytest.mark.parametrize(
    "text",
    [
        "data/{nokey}.parquet",
        "data/{0}.parquet",
        "data/{}.parquet",
        "data/{chunk_index",
        "data/{chunk_index:>900000000}.parquet",
        "data/{chunk_index:0900d}",
        "data/{chunk_index!r}",
        "data/{chunk_index.__class__}",
        "data/{chunk_index[0]}",
        "data/{chunk_index:{file_index}d}",
        "data/{video_key:03d}",
        "data/{chunk_index:e}",
        5,
        None,
        "",
        "x" * 5000,
    ],
)
def test_other_templates_are_refused(text: object) -> None:
    with pytest.raises(DataError, match="info.json: data_path"):
        template(text)


def test_a_template_that_maps_several_files_to_one_is_refused() -> None:
    with pytest.raises(DataError, match=r"has no \{file_index\}: several files would be one"):
        template("data/{chunk_index}.parquet", "file_index")

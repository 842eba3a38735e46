"""What is called written is there: a file, no link, no gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from vjepa_world.files.atomic import WriteError, atomic_path


def test_a_block_that_leaves_no_file_is_no_success(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.write_bytes(b"before")
    with (
        pytest.raises(
            WriteError, match=r"Cannot write .*a\.png: the file that was to be written, .* is not there"
        ),
        atomic_path(target),
    ):
        pass
    with pytest.raises(WriteError, match="is not there"), atomic_path(target) as temporary:
        temporary.symlink_to("nowhere")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"] and target.read_bytes() == b"before"

"""Where the tests find this repository and the real data that may lie next to it."""

from __future__ import annotations

from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
#: Real videos and robot logs; not part of a clone, so tests that need them are skipped without them.
SHARED_DATA = REPO.parent / "shared" / "data"

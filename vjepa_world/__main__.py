"""`python -m vjepa_world` is `vjepa-world`."""

from __future__ import annotations

import sys

from vjepa_world.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

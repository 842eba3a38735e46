"""`python scripts/report.py ...` is `vjepa-world report ...`."""

import sys

from vjepa_world.cli.entry_point import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))

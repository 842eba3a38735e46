"""`python scripts/report.py ...` is `vjepa-world report ...`."""

import sys

from vjepa_world.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["report", *sys.argv[1:]]))

"""`python scripts/compare.py ...` is `vjepa-world compare ...`."""

import sys

from vjepa_world.cli.entry_point import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))

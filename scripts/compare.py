"""`python scripts/compare.py ...` is `vjepa-world compare ...`."""

import sys

from vjepa_world.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["compare", *sys.argv[1:]]))

"""`python scripts/convert.py ...` is `vjepa-world convert ...`."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the script's folder first, and finds scripts/convert.py for its own convert.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != here]
    from vjepa_world.cli.main import main

    sys.exit(main(["convert", *sys.argv[1:]]))

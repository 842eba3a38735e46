"""`python scripts/envs.py ...` is `vjepa-world envs ...`."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the script's folder first, and would find scripts/envs.py instead of the package envs.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != here]
    from vjepa_world.cli.main import main

    sys.exit(main(["envs", *sys.argv[1:]]))

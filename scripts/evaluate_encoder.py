"""`python scripts/evaluate_encoder.py ...` is `vjepa-world evaluate-encoder ...`."""

import os
import sys

if __name__ == "__main__":
    # Python looks for modules in the script's folder first, and finds scripts/inspect.py for its own inspect.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if entry != here]
    from vjepa_world.cli.main import main

    sys.exit(main(["evaluate-encoder", *sys.argv[1:]]))

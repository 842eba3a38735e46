#!/usr/bin/env bash
# Tests the adapters of other packages' environments with these packages: scripts/test_adapters.sh [FOLDER]
# They need MuJoCo before 3.12, and so a virtual environment of their own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${1:-build/adapters}
LOCK=0 EXTRAS=adapters bash scripts/setup_venv.sh "$venv"
MUJOCO_GL=${MUJOCO_GL:-egl} OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} LP_NUM_THREADS=${LP_NUM_THREADS:-0} \
    "$venv/bin/python" -m pytest -q tests/environments/adapters

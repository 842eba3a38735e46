#!/usr/bin/env bash
# Makes a virtual environment with vjepa-world and its developer tools: scripts/setup_venv.sh [FOLDER]
# Versions come from requirements.lock; LOCK=0 installs the newest ones that pyproject.toml allows. EXTRAS=a,b installs
# other extras than `dev`.
# Where there is no NVIDIA GPU, torch comes from a CPU wheel, so that nobody downloads CUDA.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=${1:-.venv}
cpu_torch="$(grep -o '^torch==[0-9.]*' requirements.lock)+cpu"
cpu_index="https://download.pytorch.org/whl/cpu"
new_enough='import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'

say() { echo "setup: $*"; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python; do
        if "$candidate" -c "$new_enough" >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    {
        echo "setup: error: found no Python >= 3.11 that can make virtual environments"
        echo "($(python3 --version 2>/dev/null || echo "no python3 at all")). Install one (on Debian and Ubuntu: apt install"
        echo "python3 python3-venv) or say where it is: make venv PYTHON=/path/to/python3"
    } >&2
    exit 1
}

has_nvidia_gpu() { nvidia-smi -L 2>/dev/null | grep -q '^GPU'; }

constraints=(--constraint requirements.lock)
if [[ ${LOCK:-1} == 0 ]]; then constraints=(); fi

pip_install() { "$venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check --no-input "$@"; }

install_cpu_torch() {
    say "no NVIDIA GPU: installing torch for the CPU (about 200 MB)"
    pip_install "$cpu_torch" 2>/dev/null ||
        pip_install --timeout 15 --retries 1 --extra-index-url "$cpu_index" "$cpu_torch" 2>/dev/null ||
        say "no CPU wheel of torch within reach: the ordinary one is installed, with CUDA (several GB)"
}

if ! "$venv/bin/python" -c "$new_enough" >/dev/null 2>&1; then
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    "$python" -m venv --clear "$venv"
fi

# macOS wheels hold no CUDA.
if [[ "$(uname -s)" == Linux ]] && ! has_nvidia_gpu; then
    install_cpu_torch
fi
say "installing vjepa-world and its tools (one to three minutes)"
pip_install ${constraints[@]+"${constraints[@]}"} --editable ".[${EXTRAS:-dev}]"

if ! "$venv/bin/python" -c 'import torchcodec.decoders' >/dev/null 2>&1; then
    say "torchcodec finds no system FFmpeg it can load: videos are decoded with PyAV or decord"
fi
say "done: $venv"

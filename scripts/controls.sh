#!/usr/bin/env bash
# The controls beside a quickstart's result, each with its own predictor trained alike on the same episodes:
# an untrained encoder, and raw pixels. scripts/controls.sh [NAME], after scripts/quickstart.sh [NAME]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
name=${1:-quickstart}

stage finetune "$name-untrained" "data.path=runs/collect/$name" encoder=untrained "${finetuning[@]}"
stage finetune "$name-pixels" "data.path=runs/collect/$name" encoder=pixels "${finetuning[@]}"
stage evaluate "$name-controls" "checkpoint=runs/finetune/$name" \
    "controls.untrained=runs/finetune/$name-untrained" "controls.pixels=runs/finetune/$name-pixels"
echo "== all stages took $SECONDS s"

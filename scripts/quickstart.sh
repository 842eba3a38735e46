#!/usr/bin/env bash
# From nothing to a reached goal: scripts/quickstart.sh [NAME]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
name=${1:-quickstart}

stage collect "$name"
stage pretrain "$name" "data.path=runs/collect/$name"
stage finetune "$name" "data.path=runs/collect/$name" "encoder=runs/pretrain/$name"
stage evaluate "$name" "checkpoint=runs/finetune/$name"
echo "== all stages took $SECONDS s"

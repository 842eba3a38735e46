#!/usr/bin/env bash
# From nothing to a reached goal: scripts/quickstart.sh [NAME]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
name=${1:-quickstart}

stage collect "$name" episodes=2500 steps=24 seed=0
# The arm is seen from one side, so no mirror.
stage pretrain "$name" recipe=small_cpu "data.path=runs/collect/$name" data.flip=0.0
stage finetune "$name" "data.path=runs/collect/$name" "encoder=runs/pretrain/$name" "${finetuning[@]}"
stage evaluate "$name" "checkpoint=runs/finetune/$name"
echo "== all stages took $SECONDS s"

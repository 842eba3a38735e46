#!/usr/bin/env bash
# From nothing to a reached goal: scripts/quickstart.sh [NAME]
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/stage.sh"
name=${1:-quickstart}

stage collect "$name" episodes=2500 steps=24 seed=0
# The arm is seen from one side, so no mirror; gentle crops, since the whole picture matters. Most steps train on
# single frames, which is how the encoder is used afterwards. The clips fit in memory: no second process decodes.
stage pretrain "$name" "data.path=runs/collect/$name" model=vit_nano \
    data.crop_scale=[0.7,1.0] data.flip=0.0 data.memory_gb=6 trainer.workers=0 objective.image_fraction=0.8 \
    trainer.steps=2400 trainer.batch_size=8 trainer.lr=7e-4
stage finetune "$name" "data.path=runs/collect/$name" "encoder=runs/pretrain/$name" "${finetuning[@]}"
stage evaluate "$name" "checkpoint=runs/finetune/$name"
echo "== all stages took $SECONDS s"

#!/bin/bash
# The benchmark behind the figures in docs/performance.md: bench.sh HOIST. Records go to benchmarks/records/.
# Checkpoints of real size (1.99 GiB, and one zip .ckpt of 3.97 GiB) and all ten at a quarter of their width.
set -eu
hoist=$1
records=benchmarks/records
day=$(date -u +%Y-%m-%d)

"$hoist" demo --quiet --scale 1 --only anything-v5.0 --repeat 5 --record "$records/$day-switch-real-size.jsonl"
"$hoist" demo --quiet --scale 1 --only anything-v5.0 --repeat 5 --server rclone \
  --record "$records/$day-switch-real-size-rclone.jsonl"
"$hoist" demo --quiet --scale 0.25 --repeat 3 --record "$records/$day-switch-ten-models.jsonl"

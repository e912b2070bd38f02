#!/usr/bin/env bash
# Checks and measures on one GPU, or smaller on a CPU, without a network:
#   tests/gpu.sh                       all parts: correctness (1 minute), step (2), many (2), studies (8)
#   tests/gpu.sh correctness step      some of them
#   tests/gpu.sh --device cpu step     smaller, on the CPU
#   OUT=folder DATA=folder PYTHON=python3 tests/gpu.sh studies     DATA: Imagenette-96, for the reference study
# Each part writes OUT/PART.json after each of its checks (build/gpu where OUT is not set), so that a call cut off keeps what was done.
set -euo pipefail
cd "$(dirname "$0")/.."
export WANDB_MODE=disabled OMP_NUM_THREADS=1
export CUBLAS_WORKSPACE_CONFIG=:4096:8 # without which cuBLAS has no deterministic kernels; read as it is loaded
exec "${PYTHON:-.venv/bin/python}" -m tests.gpu --out "${OUT:-build/gpu}" ${DATA:+--data "$DATA"} "$@"

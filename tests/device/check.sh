#!/bin/sh
# Measure and check the trainer on one GPU in under nine minutes: tests/device/check.sh [--out FILE] [--dry] [--budget-s S] [--only a,b]
set -eu
cd "$(dirname "$0")/../.."
work=${ENDOFORGE_DEVICE_WORK:-$(mktemp -d)}
# a package of the machine's own called "tests" would hide this folder, which is none
mkdir -p "$work/path/tests"
echo "__path__ = ['$PWD/tests']" >"$work/path/tests/__init__.py"
export PYTHONPATH="$work/path:$PWD${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 OMP_WAIT_POLICY=PASSIVE PYTORCH_NVML_BASED_CUDA_CHECK=1
export MASTER_ADDR=127.0.0.1 NCCL_SOCKET_IFNAME=lo GLOO_SOCKET_IFNAME=lo
export TORCHINDUCTOR_CACHE_DIR="$work/inductor" TRITON_CACHE_DIR="$work/triton"
exec python3 -m tests.device.check --out "${OUT:-.}/device.json" --work "$work" "$@"

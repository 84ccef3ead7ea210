"""What the machine is and what it can do at most: the figures that all others are measured against."""

from __future__ import annotations

import importlib.metadata
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.device.place import Place, cores, synchronize

_PACKAGES = (
    "torch", "torchvision", "timm", "triton", "numpy", "pyarrow", "opencv-python-headless", "safetensors", "pillow", "scikit-learn",
    "tensorboard", "ray", "duckdb", "faiss-gpu", "webdataset", "av", "kornia", "nvidia-nccl-cu13", "nvidia-cudnn-cu13",
)  # fmt: skip
NOMINAL_BF16_TFLOPS = 989.0
"""rate of an H100 SXM and an H200, dense, from NVIDIA's data sheets"""


def inventory(place: Place) -> None:
    """Card, driver, memory, packages, the greatest speed of a matrix product and of copies."""
    place.note(
        python=platform.python_version(),
        cores=cores(),
        cpu=_line_of("/proc/cpuinfo", "model name"),
        memory=_line_of("/proc/meminfo", "MemTotal"),
        shm_gb=_free_gb("/dev/shm"),
        scratch_gb=_free_gb(str(place.work)),
        compiler=shutil.which("cc") or shutil.which("gcc"),
        packages={name: _version(name) for name in _PACKAGES},
    )
    device = place.device
    if device.type == "cuda":
        place.note(nvidia_smi=_nvidia_smi())
        card = torch.cuda.get_device_properties(device)
        place.note(
            card=card.name,
            memory_gb=round(card.total_memory / 1e9, 1),
            multiprocessors=card.multi_processor_count,
            capability=f"{card.major}.{card.minor}",
            cuda=torch.version.cuda,
            cudnn=torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
            nccl=str(torch.cuda.nccl.version()),  # type: ignore[no-untyped-call]
            defaults={
                "matmul.allow_tf32": torch.backends.cuda.matmul.allow_tf32,
                "cudnn.allow_tf32": torch.backends.cudnn.allow_tf32,
                "cudnn.benchmark": torch.backends.cudnn.benchmark,
            },
        )
    side = 256 if place.dry else 8192
    for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32)):
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        seconds = _each_s(lambda a=left, b=right: a @ b, device, times=4 if place.dry or name == "fp32" else 30)  # type: ignore[misc]
        place.note(**{f"{name}_tflops": round(2 * side**3 / seconds / 1e12, 1)})
    num_bytes = 1 << (20 if place.dry else 30)
    there, there_too = (torch.empty(num_bytes, dtype=torch.uint8, device=device) for _ in range(2))
    place.note(copy_on_device_gb_s=round(2 * num_bytes / _each_s(lambda: there.copy_(there_too), device, times=10) / 1e9, 1))
    if device.type == "cuda":
        pinned, pageable = torch.empty(num_bytes >> 2, dtype=torch.uint8, pin_memory=True), torch.empty(num_bytes >> 2, dtype=torch.uint8)
        part = there[: num_bytes >> 2]
        for name, copy in (
            ("pinned_to_device", lambda: part.copy_(pinned, non_blocking=True)),
            ("pageable_to_device", lambda: part.copy_(pageable)),
            ("device_to_pinned", lambda: pinned.copy_(part, non_blocking=True)),
        ):
            place.note(**{f"{name}_gb_s": round(len(part) / _each_s(copy, device, times=5) / 1e9, 1)})


def _each_s(action: Callable[[], object], device: torch.device, *, times: int) -> float:
    for _ in range(3):
        action()
    synchronize(device)
    start = time.perf_counter()
    for _ in range(times):
        action()
    synchronize(device)
    return (time.perf_counter() - start) / times


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _line_of(path: str, key: str) -> str:
    lines = [line for line in Path(path).read_text().splitlines() if line.startswith(key)]
    return lines[0].split(":", 1)[1].strip() if lines else ""


def _free_gb(folder: str) -> float:
    return round(shutil.disk_usage(folder).free / 1e9, 1) if Path(folder).exists() else 0.0


def _nvidia_smi() -> str:
    query = "name,driver_version,memory.total,clocks.max.sm,power.limit,ecc.mode.current,mig.mode.current"
    try:
        return subprocess.run(
            ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)

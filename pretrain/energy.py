"""Energy that this machine uses, by its own counters: processors by RAPL through Linux's powercap, NVIDIA GPUs by NVML.

Both count everything on the machine. What cannot be read is not measured, and nothing is estimated.
"""

from __future__ import annotations

import contextlib
import ctypes
import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

__all__ = ["EnergyMeter"]

POWERCAP = Path("/sys/class/powercap")
NVML = "libnvidia-ml.so.1"
_POLL_S = 30.0
"""A package's counter starts again after 262 kJ on many machines: at 300 W in 15 minutes. So it is read often, beside the training."""


class EnergyMeter:
    """Joules of processors and GPUs while it is entered; None for what has no counter that this user can read."""

    def __init__(self, *, powercap: Path = POWERCAP, nvml: str = NVML) -> None:
        self._counters: dict[str, list[_Counter]] = {"cpu": _packages(powercap), "gpu": _gpus(nvml)}
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)
        self._lock = threading.Lock()

    def __enter__(self) -> EnergyMeter:
        self.read()
        for counter in self._all():
            counter.joules = 0.0
        if self._all():
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._finished.set()
        if self._thread.is_alive():
            self._thread.join()
        self.read()

    def read(self) -> dict[str, float]:
        """Joules up to now by `cpu` and `gpu`, each only if it is measured."""
        with self._lock:
            for counter in self._all():
                counter.advance()
            return {kind: sum(each.joules for each in counters) for kind, counters in self._counters.items() if counters}

    def _all(self) -> list[_Counter]:
        return [counter for counters in self._counters.values() for counter in counters]

    def _poll(self) -> None:
        while not self._finished.wait(_POLL_S):
            self.read()


class _Counter:
    """Sums what a counter goes up by, across its return to zero."""

    def __init__(self, value: Callable[[], int], *, unit_j: float, highest: int | None) -> None:
        self._value, self._unit_j, self._highest = value, unit_j, highest
        self._last: int | None = value()
        self.joules = 0.0

    def advance(self) -> None:
        """Read it once more; a reading that fails is left out, and the next one counts from the last that did not."""
        try:
            value = self._value()
        except (OSError, ValueError):
            return
        if self._last is not None:
            gone = value - self._last
            if gone < 0:
                gone = gone + self._highest + 1 if self._highest is not None else 0
            self.joules += gone * self._unit_j
        self._last = value


def _packages(powercap: Path) -> list[_Counter]:
    """Processor packages; their parts (`intel-rapl:0:0`) are in them, and `psys` has them in it."""
    found = []
    for zone in sorted(powercap.glob("*rapl:*")) if powercap.is_dir() else []:
        with contextlib.suppress(OSError, ValueError):  # PermissionError is usual: the file is root's alone
            if re.fullmatch(r"[a-z-]+:\d+", zone.name) and (zone / "name").read_text().startswith("package"):
                highest = int((zone / "max_energy_range_uj").read_text())
                found.append(_Counter(_reader(zone / "energy_uj"), unit_j=1e-6, highest=highest))
    return found


def _reader(path: Path) -> Callable[[], int]:
    return lambda: int(path.read_text())


def _gpus(library: str) -> list[_Counter]:
    """Every GPU of the machine whose driver counts energy (Volta and newer); the counter starts with the driver and has 64 bits."""
    found: list[_Counter] = []
    with contextlib.suppress(OSError, AttributeError):  # no driver, or one that is too old for one of these functions
        nvml = ctypes.CDLL(library)
        number = ctypes.c_uint()
        if nvml.nvmlInit_v2() or nvml.nvmlDeviceGetCount_v2(ctypes.byref(number)):
            return []
        for index in range(number.value):
            handle = ctypes.c_void_p()
            if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)) == 0:
                with contextlib.suppress(OSError):
                    found.append(_Counter(_nvml_reader(nvml, handle), unit_j=1e-3, highest=None))
    return found


def _nvml_reader(nvml: ctypes.CDLL, handle: ctypes.c_void_p) -> Callable[[], int]:
    def read() -> int:
        value = ctypes.c_ulonglong()
        if code := nvml.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(value)):
            raise OSError(f"NVML gives error {code} for the energy of a GPU")
        return int(value.value)

    return read

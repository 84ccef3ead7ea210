from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from pretrain.energy import EnergyMeter


def zone(powercap: Path, name: str, kind: str, microjoules: int, highest: int = 262_143_328_850) -> Path:
    """A zone as Linux shows it under /sys/class/powercap."""
    folder = powercap / name
    folder.mkdir(parents=True)
    for file, value in (("name", kind), ("max_energy_range_uj", highest), ("energy_uj", microjoules)):
        (folder / file).write_text(f"{value}\n")
    return folder / "energy_uj"


def test_packages_are_summed_and_their_parts_are_not_counted_twice(tmp_path: Path) -> None:
    first, second = zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000), zone(tmp_path, "intel-rapl:1", "package-1", 7_000_000)
    core, whole = zone(tmp_path, "intel-rapl:0:0", "core", 0), zone(tmp_path, "intel-rapl:2", "psys", 0)
    meter = EnergyMeter(powercap=tmp_path)
    first.write_text("6000000")  # before it is entered
    with meter:
        first.write_text("8500000")
        assert meter.read()["cpu"] == pytest.approx(2.5)
        second.write_text("7250000")
        core.write_text("99000000")
        whole.write_text("99000000")
    assert meter.read()["cpu"] == pytest.approx(2.75)


def test_a_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    file = zone(tmp_path, "intel-rapl:0", "package-0", 9_000_000, highest=9_999_999)
    with EnergyMeter(powercap=tmp_path) as meter:
        file.write_text("1000000")
        assert meter.read()["cpu"] == pytest.approx(2.0)
        file.write_text("")  # a reading that fails is left out
        assert meter.read()["cpu"] == pytest.approx(2.0)
        file.write_text("4000000")
    assert meter.read()["cpu"] == pytest.approx(5.0)


def test_without_counters_nothing_is_measured(tmp_path: Path) -> None:
    zone(tmp_path / "broken", "intel-rapl:0", "package-0", 1).unlink()
    for powercap in (tmp_path / "none", tmp_path / "broken"):
        with EnergyMeter(powercap=powercap) as meter:
            pass
        assert "cpu" not in meter.read()


NVML_OF_THREE = """
typedef struct { unsigned long long millijoules; int code; } device;
static device devices[3] = {{1000, 0}, {0, 3}, {5000, 0}};  // the second one has no counter: NVML_ERROR_NOT_SUPPORTED
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned int *count) { *count = 3; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned int index, device **handle) { *handle = &devices[index]; return index < 3 ? 0 : 2; }
int nvmlDeviceGetTotalEnergyConsumption(device *handle, unsigned long long *energy) {
    *energy = handle->millijoules;
    handle->millijoules += 1500000000000ULL;
    return handle->code;
}
"""
"""A library with the names, arguments and units of NVIDIA's; each reading of a counter is 1.5e9 J above the one before."""


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_gpus_are_read_through_a_c_library_of_nvml_s_interface(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(NVML_OF_THREE)
    library = tmp_path / "libnvidia-ml.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, tmp_path / "nvml.c"], check=True)
    with EnergyMeter(powercap=tmp_path, nvml=str(library)) as meter:
        assert meter.read() == {"gpu": pytest.approx(2 * 1.5e9)}  # above what 32 bits of millijoules hold
    assert meter.read() == {"gpu": pytest.approx(2 * 3 * 1.5e9)}  # on leaving, and now


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_a_driver_without_the_counter_measures_nothing_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "nvml.c").write_text(NVML_OF_THREE.partition("int nvmlDeviceGetTotalEnergyConsumption")[0])
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "old.so", tmp_path / "nvml.c"], check=True)
    with EnergyMeter(powercap=tmp_path, nvml=str(tmp_path / "old.so")) as meter:
        assert meter.read() == {}

"""The device check itself: every check runs through on a CPU, without what a bare GPU machine lacks, and counts operations rightly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pretrain.flops import step_flops
from tests.device.check import CHECKS
from tests.device.place import Place, build, image_networks, made_batch, small

_BARE = """
import sys
from importlib.machinery import PathFinder

LACKING = {"ray", "duckdb", "faiss", "prefect", "webdataset", "av", "decord", "pydantic", "tyro", "onnxruntime", "simplejpeg", "pebble"}

class Bare(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in LACKING else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Bare
"""
_SCRIPT = Path(__file__).with_name("check.sh")


def _dry(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    bare = out / "bare"
    bare.mkdir(parents=True)
    (bare / "sitecustomize.py").write_text(_BARE)
    environment = os.environ | {
        "PYTHONPATH": str(bare),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OUT": str(out),
        "ENDOFORGE_DEVICE_WORK": str(out / "work"),
    }
    return subprocess.run([str(_SCRIPT), "--dry", *arguments], env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_check_passes_its_dry_run_without_what_a_gpu_machine_lacks(tmp_path: Path) -> None:
    done = _dry(tmp_path, "--budget-s", "600")
    found = json.loads((tmp_path / "device.json").read_text())
    assert {name: result["status"] for name, result in found["checks"].items()} == dict.fromkeys(CHECKS, "ok"), done.stdout
    assert done.returncode == 0
    values = {name: result["values"] for name, result in found["checks"].items()}
    assert values["gpu_against_cpu"]["fp32_against_cpu_fp32"]["gradient_rel"] < 1e-6  # both are the CPU here
    assert 0 < values["gpu_against_cpu"]["bf16_against_fp32"]["first_loss_rel"] < 2e-2
    assert values["cut_and_resumed"]["auto_cut"]["bitwise"]
    assert values["wrapped_fsdp"]["kind"].startswith("FSDP")
    assert values["wrapped_ddp"]["kind"] == "DistributedDataParallel"
    assert {"4 uncompiled", "4", "2", "4 bf16 residual", "4 checkpointing"} <= values["vitl14"]["rows"].keys()
    assert values["learning"]["random"] > 0
    assert "k-NN macro-F1" in done.stdout


@pytest.mark.slow
def test_a_check_for_which_no_time_is_left_is_skipped_by_name(tmp_path: Path) -> None:
    done = _dry(tmp_path, "--budget-s", "1", "--only", "inventory,parts")
    found = json.loads((tmp_path / "device.json").read_text())
    assert {name: result["status"] for name, result in found["checks"].items()} == {"inventory": "skipped", "parts": "skipped"}
    assert "s were left" in done.stdout


@pytest.mark.slow
def test_a_check_that_fails_is_told_with_its_cause_and_the_others_run_on(tmp_path: Path) -> None:
    (tmp_path / "work" / "frames").mkdir(parents=True)
    (tmp_path / "work" / "frames" / "dataset.json").write_text("no JSON")
    done = _dry(tmp_path, "--only", "parts,loader_alone,learning")
    checks = json.loads((tmp_path / "device.json").read_text())["checks"]
    assert {name: result["status"] for name, result in checks.items()} == {"parts": "ok", "loader_alone": "failed", "learning": "skipped"}
    assert "samples.parquet" in checks["loader_alone"]["error"]
    assert done.returncode == 1


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_operations_of_a_step_are_those_that_torch_counts(rate: float, tmp_path: Path) -> None:
    place = Place(name="flops", dry=True, work=tmp_path, seconds=60, start_s=time.monotonic())
    config = small(place)
    config = replace(config, model=replace(config.model, drop_path_rate=rate), train=replace(config.train, batch_size=8))
    trainer, batch = build(config, place), made_batch(config)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        trainer.step(0, batch)
    expected = step_flops(config, image_networks(trainer)[0], hidden_patches=int(batch.masks.sum()))
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.02)

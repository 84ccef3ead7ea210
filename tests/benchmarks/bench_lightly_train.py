"""Training ViT-S/14 beside lightly-train in an environment of its own: whole processes in turn, on the same pictures.

    python tests/benchmarks/bench_lightly_train.py PEER_PYTHON [--batch 8] [--steps 1 4] [--rounds 2]

PEER_PYTHON is the interpreter of an environment with `lightly-train==0.18.*`; nothing of it is imported here. Both train from random
weights with DINOv2's `fast` set-up (crops 2 x 224 and 8 x 98, one head of 65,536 prototypes for both losses, softmax centring), fp32 and
two loader processes. A step's cost is the difference of the CPU seconds, or of the clock's, of a long and a short run, children
included, over the difference of their steps: start-up, first step and checkpoints fall away. The ratio is theirs over ours.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from tests.helpers.shards import write_dataset

_OURS = """
import sys
from dataclasses import replace
from pathlib import Path
from pretrain.launch import pretrain
from pretrain.recipes import recipe

folder, run_dir, steps, batch = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
base = recipe("vits14-fast")
config = replace(
    base,
    loss=replace(base.loss, koleo_group=batch, teacher_temperature_warmup_steps=0),
    optim=replace(base.optim, warmup_steps=0, freeze_last_layer_steps=0),
    train=replace(base.train, batch_size=batch, num_steps=steps, num_loader_workers=2, precision="fp32", compile="off", log_every=1),
    checkpoint=replace(base.checkpoint, every=1000),
)
pretrain(
    config, dataset_dir=folder / "ours", run_dir=run_dir, run_id="bench", validate=None, num_workers=1, use_gpu=False, backend="local",
    lake_root=run_dir.parent,
)
"""
_THEIRS = """
import sys
import lightly_train

if __name__ == "__main__":
    folder, run_dir, steps, batch = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    lightly_train.pretrain(
        out=run_dir, data=folder + "/images", model="dinov2/vits14-notpretrained", method="dinov2", batch_size=batch, epochs=1,
        trainer_args={"max_steps": steps}, num_workers=2, accelerator="cpu", devices=1, precision="32-true",
    )
"""


def make_pictures(folder: Path, number: int) -> None:
    """The same JPEGs of 512 x 512 pixels as images of a folder and as shards."""
    (folder / "images").mkdir(parents=True)
    rng, jpegs = np.random.default_rng(0), []
    for position in range(number):
        coarse = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
        jpegs.append(cv2.imencode(".jpg", cv2.resize(coarse, (512, 512), interpolation=cv2.INTER_CUBIC))[1].tobytes())
        (folder / "images" / f"{position:05d}.jpg").write_bytes(jpegs[-1])
    write_dataset(folder / "ours", jpegs, per_shard=number)


def measure(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, seconds, and the most memory of one process in GB."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    code = (
        "import resource, subprocess, sys; done = subprocess.run(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(done.returncode)"
    )
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, env=dict(os.environ), check=False)
    if done.returncode:
        raise RuntimeError(f"{command[:3]} ended with {done.returncode}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu_s, time.perf_counter() - started, int(done.stdout.split()[-1]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, nargs=2, default=(1, 4))
    parser.add_argument("--rounds", type=int, default=2)
    asked = parser.parse_args()
    short, long = asked.steps
    with tempfile.TemporaryDirectory() as temporary:
        root, number = Path(temporary), 0
        make_pictures(root, 8 * asked.batch)
        (root / "theirs.py").write_text(_THEIRS)  # its loader processes import it again
        (root / "ours.py").write_text(_OURS)
        commands = {"ours": [sys.executable, str(root / "ours.py")], "theirs": [str(asked.peer), str(root / "theirs.py")]}
        costs: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        memory = dict.fromkeys(commands, 0.0)
        for _ in range(asked.rounds):
            for name, command in commands.items():
                found = {}
                for steps in (short, long):
                    number += 1
                    found[steps] = measure([*command, str(root), str(root / f"run{number}"), str(steps), str(asked.batch)])
                    memory[name] = max(memory[name], found[steps][2])
                costs[name].append(tuple((found[long][kind] - found[short][kind]) / (long - short) for kind in (0, 1)))
        cpu, wall = ({name: median(row[kind] for row in rows) for name, rows in costs.items()} for kind in (0, 1))
        print(
            json.dumps(
                {
                    "batch": asked.batch,
                    "load": [round(value, 1) for value in os.getloadavg()],
                    "cpu_s_a_step": {name: round(value, 2) for name, value in cpu.items()},
                    "wall_s_a_step": {name: round(value, 2) for name, value in wall.items()},
                    "gb": {name: round(value, 2) for name, value in memory.items()},
                    "ratio_cpu": round(cpu["theirs"] / cpu["ours"], 3),
                    "ratio_wall": round(wall["theirs"] / wall["ours"], 3),
                }
            )
        )


if __name__ == "__main__":
    main()

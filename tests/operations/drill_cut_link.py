"""Cuts the cable between two machines in mid-ingest, in mid-embedding and in mid-training, and compares the lake with one machine's.

unshare -n -m -p -f --mount-proc --kill-child python -m tests.operations.drill_cut_link FOLDER

For root on Linux: the machines are two network namespaces with a veth pair between them, each with a Ray node of one CPU. They share the
disk, as machines share a mount. The whole flow runs under Ray with two training processes, of which one is enough to go on. A machine that
is cut off is found dead by the other; then its processes are killed, the cable is mended and a new node joins. Nothing outlives `unshare`.

Prints a line for each cut, and what the two lakes have in common.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from curation.phantom.config import PhantomConfig
from curation.phantom.phantom import render_video
from pretrain.metrics import newest_row, read_metrics
from pretrain.notices import notices_after
from tests.helpers.ray_nodes import without_ray
from warehouse.lake import open_lake

NEAR, FAR = "10.77.0.1", "10.77.0.2"
ADDRESS = f"{NEAR}:6399"
NUM_VIDEOS = 8
NUM_STEPS = 60
CUT_AT_STEP = 10
PATIENCE_S = 1200.0
VIDEO = PhantomConfig(num_train_videos=NUM_VIDEOS, seconds=5, fps=8, size=128, seed=5)
FLOW = """
import json, sys
from curation.ingest import IngestConfig
from flows.pipeline import run_flow
told = json.loads(sys.argv[1])
print(run_flow(ingest=IngestConfig(fps=4), size=120, recipe="smoke", name="set", seed=1, **told))
"""
# a cluster that finds a dead machine within seconds; gloo listens where the cable is
CLUSTER = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "4",
    "RAY_worker_niceness": "0",  # as busy as the driver, else a busy machine starves them
    "GLOO_SOCKET_IFNAME": "cable",
    "OMP_NUM_THREADS": "1",
}


def run(*words: str) -> str:
    """What a command says; its own words if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, env=without_ray() | CLUSTER, timeout=600, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stdout} {done.stderr}")
    return done.stdout


@dataclass
class Machines:
    """This one, where the driver is, and a far one at the other end of a cable."""

    folder: Path
    num_started: int = 0

    def lay_cable(self) -> None:
        Path("/run/netns").mkdir(exist_ok=True)
        run("mount", "-t", "tmpfs", "tmpfs", "/run/netns")  # else the name would outlive this
        run("ip", "netns", "add", "far")
        run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", "far")
        for inside, address in (((), NEAR), (("-n", "far"), FAR)):
            run("ip", *inside, "link", "set", "lo", "up")
            run("ip", *inside, "address", "add", f"{address}/24", "dev", "cable")
            run("ip", *inside, "link", "set", "cable", "up")
            run("ip", *inside, "route", "add", "default", "dev", "cable")  # by which Ray finds its own address

    def start(self, *role: str, address: str) -> None:
        self.num_started += 1
        common = ("--node-ip-address", address, "--num-cpus", "1", "--object-store-memory", str(80 << 20), "--disable-usage-stats")
        inside = () if address == NEAR else ("ip", "netns", "exec", "far")
        ray = (sys.executable, "-m", "ray.scripts.scripts", "start")
        run(*inside, *ray, *role, *common, "--temp-dir", str(self.folder / f"r{self.num_started}"))

    def start_near(self) -> None:
        self.start("--head", "--port", ADDRESS.split(":")[1], "--include-dashboard", "false", address=NEAR)

    def start_far(self) -> None:
        self.start("--address", ADDRESS, address=FAR)

    def far_processes(self) -> list[psutil.Process]:
        return [psutil.Process(int(pid)) for pid in run("ip", "netns", "pids", "far").split() if psutil.pid_exists(int(pid))]

    def far_is_at_work(self) -> bool:
        """Whether a worker over there has an item."""
        for process in self.far_processes():
            try:
                if process.cmdline()[0].startswith("ray::_in_own_process"):
                    return True
            except (psutil.Error, IndexError):
                continue
        return False

    def cut(self) -> None:
        run("ip", "link", "set", "cable", "down")

    def mend(self) -> None:
        for process in self.far_processes():
            process.send_signal(signal.SIGKILL)
        run("ip", "link", "set", "cable", "up")
        run("ip", "route", "replace", "default", "dev", "cable")  # went with the link
        self.start_far()


def num_alive() -> int:
    """Nodes that the cluster takes for alive."""
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled

    return sum(info.state == 0 for info in GcsClient(address=ADDRESS).get_all_node_info(timeout=30).values())


@dataclass
class Work:
    """The flow in a process of its own."""

    lake: Path
    process: subprocess.Popen[bytes]
    log: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def wait_until(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"waited for: {what}; the flow has code {self.process.poll()}: {self.log.read_text()[-4000:]}")
            time.sleep(0.2)

    def step(self) -> int:
        """Of the training."""
        found = [newest_row(path) for path in self.lake.glob("runs/*/metrics.jsonl")]
        return max((row[0] for row in found if row), default=0)


def begin(lake: Path, *, env: dict[str, str], **told: Any) -> Work:
    """Start the flow."""
    log = lake.with_suffix(".log")
    settings = {
        "lake": str(lake),
        "videos": [str(lake.parent / "videos")],
        "pretrain": {"train": {"num_steps": NUM_STEPS}, "checkpoint": {"every": 2}},
        **told,
    }
    with log.open("wb") as said:
        command = [sys.executable, "-c", FLOW, json.dumps(settings)]
        return Work(lake, subprocess.Popen(command, env=env, stdout=said, stderr=subprocess.STDOUT), log)


def finish(work: Work) -> None:
    """Wait for its end.

    Raises:
        RuntimeError: it failed.
    """
    if work.process.wait(timeout=PATIENCE_S):
        raise RuntimeError(f"the flow ended with {work.process.returncode}: {work.log.read_text()[-4000:]}")


def disturb(work: Work, machines: Machines) -> None:
    """Three cuts, each mended when the far machine has been found dead."""
    moments: dict[str, Callable[[], bool]] = {
        "ingest": lambda: any((work.lake / "frames").rglob("*.tar")) and machines.far_is_at_work(),
        "embed": lambda: "frames kept" in work.log.read_text() and machines.far_is_at_work(),
        "pretrain": lambda: work.step() >= CUT_AT_STEP,
    }
    for stage, has_come in moments.items():
        work.wait_until(f"work of {stage} over there", has_come)
        machines.cut()
        began = time.monotonic()
        work.wait_until("the far machine is found dead", lambda: num_alive() == 1)
        dead_s = time.monotonic() - began
        machines.mend()
        work.wait_until("it is back", lambda: num_alive() == 2)
        print(f"cut in {stage}: found dead after {dead_s:.0f} s, back after {time.monotonic() - began:.0f} s", flush=True)


def facts(lake: Path) -> dict[str, Any]:
    """What must not depend on machines."""
    with open_lake(lake, read_only=True) as opened:
        (metrics,) = lake.glob("runs/*/metrics.jsonl")
        return {
            "dataset": opened.rows("SELECT dataset_id, num_images FROM datasets"),
            "frames": opened.rows("SELECT frame_id, keep, drop_reason FROM current_frames ORDER BY frame_id"),
            "rejects": opened.rows("SELECT uri, reason FROM rejects ORDER BY ALL"),
            "losses": [(step, value) for step, name, value in read_metrics(metrics) if name == "loss/total"],
        }


def main(folder: Path) -> None:
    """Both runs, and what they have in common."""
    (folder / "videos").mkdir(parents=True)
    for patient in range(NUM_VIDEOS):
        render_video(folder / "videos" / f"{patient:02d}.mp4", config=VIDEO, patient=patient)
    machines = Machines(folder)
    machines.lay_cable()
    machines.start_near()
    machines.start_far()
    together = {"runner": "ray", "workers": 2, "train_workers": 2, "min_train_workers": 1}
    work = begin(folder / "two", env=without_ray() | CLUSTER | {"RAY_ADDRESS": ADDRESS}, **together)
    disturb(work, machines)
    finish(work)
    alone = begin(folder / "one", env=without_ray() | {"OMP_NUM_THREADS": "1"}, runner="processes", workers=2)
    finish(alone)
    ours, theirs = facts(work.lake), facts(alone.lake)
    (metrics,) = work.lake.glob("runs/*/metrics.jsonl")
    print("training said:", "; ".join(notices_after(metrics.parent, 0)[0]))
    for name in ("dataset", "frames", "rejects"):
        print(f"{name}: {'the same' if ours[name] == theirs[name] else 'not the same'}, {len(theirs[name])}", ours["dataset"][0])
    steps = [step for step, _ in ours["losses"]]
    apart = max(abs(a - b) for (_, a), (_, b) in zip(ours["losses"], theirs["losses"], strict=True))
    order = "each once" if steps == list(range(1, NUM_STEPS + 1)) else "not each once"
    print(f"losses: {len(steps)} steps, {order}, {apart:.1e} apart at most")
    print("load", os.getloadavg())


if __name__ == "__main__":
    main(Path(sys.argv[1]))

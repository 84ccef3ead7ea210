"""Everything that one GPU can say about the trainer, within minutes: `tests/device/check.sh`; `--dry` tries the checks out on a CPU.

Checks of equality run side by side while the phantom's frames are rendered; what is timed runs alone. Each has a process and a time limit
of its own. After every one the findings are in the JSON file, so a run cut short keeps what it had.
"""

from __future__ import annotations

import argparse
import inspect
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import timm
from timm.models.vision_transformer import Block

from tests.device import frames, inventory, runs, same, step, throughput
from tests.device.isolate import Running, finish, kill, start
from tests.device.place import Place
from tests.device.table import table


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A function, its seconds on a GPU, and when it runs."""

    run: Callable[[Place], None]
    limit_s: float
    together: bool = False
    """beside others; what is timed runs alone"""
    needs: tuple[str, ...] = ()
    """files in the scratch folder that another check makes"""


CHECKS: dict[str, Check] = {
    "inventory": Check(run=inventory.inventory, limit_s=45),
    "made_frames": Check(run=frames.made_frames, limit_s=75, together=True),
    "gpu_against_cpu": Check(run=same.gpu_against_cpu, limit_s=75, together=True),
    "cut_and_resumed": Check(run=same.cut_and_resumed, limit_s=75, together=True),
    "recomputed_and_compiled": Check(run=same.recomputed_and_compiled, limit_s=120, together=True),
    "non_finite": Check(run=same.non_finite, limit_s=60, together=True),
    "wrapped_fsdp": Check(run=same.wrapped_fsdp, limit_s=75, together=True),
    "wrapped_ddp": Check(run=same.wrapped_ddp, limit_s=75, together=True),
    "ahead_b": Check(run=throughput.ahead_b, limit_s=85, together=True),
    "ahead_l": Check(run=throughput.ahead_l, limit_s=85, together=True),
    "ahead_s": Check(run=throughput.ahead_s, limit_s=85, together=True),
    "host_waits": Check(run=step.host_waits, limit_s=30),
    "vitb14": Check(run=throughput.vitb14, limit_s=50),
    "vits14": Check(run=throughput.vits14, limit_s=70),
    "vitl14": Check(run=throughput.vitl14, limit_s=55),
    "kernels": Check(run=step.kernels, limit_s=40),
    "parts": Check(run=step.parts, limit_s=45),
    "loader_alone": Check(run=frames.loader_alone, limit_s=30, needs=("frames/dataset.json",)),
    "crops_on_device": Check(run=frames.crops_on_device, limit_s=30, needs=("frames/dataset.json",)),
    "end_to_end": Check(run=runs.end_to_end, limit_s=60, needs=("frames/dataset.json",)),
    "learning": Check(run=runs.learning, limit_s=600, needs=("frames/dataset.json", "labelled/landmarks/labels.csv")),
}
_LEAST_S = 12.0
"""a check for which less is left is not begun"""


def main() -> None:
    """Run the checks in order and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("device.json"), help="JSON file of the findings")
    parser.add_argument("--work", type=Path, help="scratch folder, 20 GB on a GPU machine; a temporary one where not given")
    parser.add_argument("--budget-s", type=float, default=520.0, help="seconds in all; what no longer fits is skipped by name")
    parser.add_argument("--only", default=",".join(CHECKS), help="names of checks, separated by commas")
    parser.add_argument("--dry", action="store_true", help="tiny models on the CPU, to see that the checks themselves work")
    parser.add_argument("--spawn", action="store_true", help="fresh Python processes instead of forks")
    arguments = parser.parse_args()
    names = arguments.only.split(",")
    if unknown := set(names) - set(CHECKS):
        parser.error(f"no check is called {', '.join(sorted(unknown))}; choose of {', '.join(CHECKS)}")
    if "is_causal" not in inspect.signature(Block.forward).parameters:
        parser.error(
            f"timm {timm.__version__} is too old for the trainer's blocks; put the version that pyproject.toml names on PYTHONPATH"
        )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    work = (arguments.work or Path(tempfile.mkdtemp())).absolute()
    everything = _Run(
        arguments.out.absolute(), work, dry=arguments.dry, budget_s=arguments.budget_s, method="spawn" if arguments.spawn else "fork"
    )
    try:
        everything.checks([name for name in CHECKS if name in names])
    finally:
        everything.end()
    statuses = {result["status"] for result in everything.results.values()}
    sys.exit(0 if statuses <= {"ok", "skipped"} else 1)


class _Run:
    """The findings so far and the processes that still run."""

    def __init__(self, out: Path, work: Path, *, dry: bool, budget_s: float, method: Literal["fork", "spawn"]) -> None:
        self.out, self.work, self.dry, self.method = out, work, dry, method
        self.begin_s = time.monotonic()
        self.end_s = self.begin_s + budget_s
        self.results: dict[str, dict[str, Any]] = {}
        self.running: dict[str, Running] = {}

    def checks(self, names: list[str]) -> None:
        """The inventory, then those that run together, then the rest one after another."""
        for name in names:
            if name == "inventory":
                self._alone(name)
                if self.results[name]["status"] != "ok" and self.method == "fork":
                    self.method = "spawn"  # a fork can inherit a driver that something has already opened
                    self._alone(name)
            elif CHECKS[name].together:
                self._start(name)
        for name in list(self.running):
            self._finish(name)
        for name in names:
            if name not in self.results:
                self._alone(name)

    def end(self) -> None:
        """Kill what still runs, write the file and print the table."""
        for running in self.running.values():
            kill(running)
        self._write()
        logs = [f"==== {log.stem}\n{log.read_text(errors='replace')[-20_000:]}\n" for log in sorted(self.work.glob("*.log"))]
        self.out.with_suffix(".log").write_text("".join(logs))
        print(table(self.results), flush=True)

    def _alone(self, name: str) -> None:
        self._start(name)
        if name in self.running:
            self._finish(name)

    def _start(self, name: str) -> None:
        check, left_s = CHECKS[name], self.end_s - time.monotonic()
        if left_s < (2.0 if self.dry else _LEAST_S):
            self._done(name, {"status": "skipped", "error": f"{left_s:.0f} s were left"})
            return
        missing = [file for file in check.needs if not (self.work / file).exists()]
        if missing:
            self._done(name, {"status": "skipped", "error": f"there is no {missing[0]}"})
            return
        place = Place(
            name=name, dry=self.dry, work=self.work, seconds=min(check.limit_s, left_s - 1), start_s=time.monotonic()
        )  # fmt: skip
        self.running[name] = start(check.run, place, method=self.method)

    def _finish(self, name: str) -> None:
        result = finish(self.running[name])
        del self.running[name]
        self._done(name, result)

    def _done(self, name: str, result: dict[str, Any]) -> None:
        self.results[name] = result
        error = str(result.get("error", "")).strip().splitlines()
        seconds = f"{result.get('seconds', 0.0):6.1f} s"
        print(
            f"[{time.monotonic() - self.begin_s:5.0f} s] {name:<24} {result['status']:<8} {seconds}  {error[-1][:160] if error else ''}",
            flush=True,
        )
        self._write()

    def _write(self) -> None:
        card = self.results.get("inventory", {}).get("values", {}).get("card", "CPU" if self.dry else None)
        findings = {"card": card, "dry": self.dry, "method": self.method, "seconds": round(time.monotonic() - self.begin_s, 1)}
        self.out.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.out.with_suffix(".tmp")
        temporary.write_text(json.dumps(findings | {"checks": self.results}, indent=1, default=str))
        temporary.replace(self.out)


if __name__ == "__main__":
    main()

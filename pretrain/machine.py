"""Which devices a run trains on since its last start: what its logged speed is a speed of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from pretrain.parallel import Worker
from warehouse.store import read_json, write_json

__all__ = ["Machine", "note_machine", "noted_machine"]

_FILE = "machine.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Content of machine.json in a run's folder."""

    device: str
    """the first worker's, as torch calls it; cpu without a GPU"""
    num_workers: int
    first_step: int
    """steps that were done at the last start"""


def note_machine(run_dir: Path, worker: Worker, *, first_step: int) -> None:
    """Write it down; a run that is finished keeps what is there."""
    if not (run_dir / "result.json").exists():
        device = torch.cuda.get_device_name(worker.device) if worker.device.type == "cuda" else worker.device.type
        write_json(run_dir / _FILE, asdict(Machine(device=device, num_workers=worker.world_size, first_step=first_step)))


def noted_machine(run_dir: Path) -> Machine | None:
    """What was written down; None for a run of an earlier version, or one whose folder is gone."""
    path = run_dir / _FILE
    return Machine(**read_json(path)) if path.is_file() else None

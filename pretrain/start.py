"""A run that starts from a checkpoint of another: its folder holds that checkpoint under start/."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pretrain.checkpoint import checkpoint_damage, step_dir
from pretrain.failures import TrainingError
from pretrain.guard import BASELINE
from pretrain.initial import INIT
from pretrain.run_folder import newest_step
from warehouse.store import file_sha256

__all__ = ["START", "Start", "find_start", "give_start", "given_step"]

START = "start"
"""In a run's folder: as the folder of the other run, with one checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """A checkpoint of another run."""

    run_dir: Path
    """folder of the other run"""
    step: int
    checkpoint_id: str
    """SHA-256 of its exported backbone"""

    @property
    def backbone(self) -> Path:
        """The exported backbone's folder."""
        return step_dir(self.run_dir, self.step) / "backbone"


def find_start(run_dir: Path) -> Start:
    """The newest whole checkpoint of a run, found by the hashes of its files. That run may be training, so nothing is changed there.

    Raises:
        ValueError: it has none.
    """
    numbers = [folder.name.removeprefix("step_") for folder in (run_dir / "checkpoints").glob("step_*")]
    steps = sorted((int(number) for number in numbers if number.isdecimal()), reverse=True)
    step = next((step for step in steps if checkpoint_damage(run_dir, step) is None), 0)
    if not step:
        raise ValueError(f"{run_dir} has no whole checkpoint to go on from; start a new run instead")
    return Start(run_dir=run_dir, step=step, checkpoint_id=file_sha256(step_dir(run_dir, step) / "backbone" / "model.safetensors"))


def give_start(run_dir: Path, start: Start) -> None:
    """Put a checkpoint into the folder of the run that starts from it: hard links if the disk has them, else copies."""
    final, temporary = run_dir / START, run_dir / f"{START}.tmp"
    if final.exists():
        return
    shutil.rmtree(temporary, ignore_errors=True)
    copied = step_dir(start.run_dir, start.step)
    shutil.copytree(copied, step_dir(temporary, start.step), copy_function=_link_or_copy)
    for told in (BASELINE, f"{INIT}/init.json"):  # of trained weights that the other run started from: the guard goes on
        if (start.run_dir / told).is_file():
            (run_dir / told).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(start.run_dir / told, run_dir / told)
    temporary.rename(final)


def given_step(run_dir: Path) -> int:
    """Step of the checkpoint that a run was given to start from; 0 if it starts from random weights.

    Raises:
        TrainingError: it was given one, which is damaged.
    """
    if not (run_dir / START).exists():
        return 0
    step = newest_step(run_dir / START)
    if not step:
        raise TrainingError(
            f"the checkpoint that this run starts from is damaged; delete {run_dir} and use `endoforge pretrain --resume` again"
        )
    return step


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

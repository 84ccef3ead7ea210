"""A run that starts from a checkpoint of another: its folder holds that checkpoint under start/."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from pretrain.checkpoint import checkpoint_damage, load_state, step_dir
from pretrain.config import PretrainConfig
from pretrain.failures import TrainingError
from pretrain.gram import refresh
from pretrain.guard import BASELINE
from pretrain.identity import learning_settings
from pretrain.initial import INIT, has_initial
from pretrain.parallel import Worker
from pretrain.run_folder import newest_step
from pretrain.state import ANCHOR, TrainingState, state_tensors
from pretrain.state_files import tensor_names
from warehouse.store import canonical_json, file_sha256, read_json, write_json

__all__ = ["START", "Start", "check_anchor", "drop_start", "find_start", "give_start", "given_step", "load_start", "start_of_unfinished"]

START = "start"
"""In a run's folder: as the folder of the other run, with one checkpoint."""
_SOURCE = "source.json"
"""In that folder: the other run and its checkpoint."""


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
    write_json(temporary / _SOURCE, {"run": start.run_dir.name, "step": start.step, "checkpoint_id": start.checkpoint_id})
    shutil.copytree(copied, step_dir(temporary, start.step), copy_function=_link_or_copy)
    for told in (BASELINE, f"{INIT}/init.json"):  # of trained weights that the other run started from: the guard goes on
        if (start.run_dir / told).is_file():
            (run_dir / told).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(start.run_dir / told, run_dir / told)
    temporary.rename(final)


def drop_start(run_dir: Path) -> None:
    """Delete the checkpoint that a run was given to start from, once it has ended; which one it was stays."""
    shutil.rmtree(run_dir / START / "checkpoints", ignore_errors=True)


def start_of_unfinished(run_dir: Path, config: PretrainConfig) -> tuple[str, Start] | None:
    """The run that started from this one with the same settings and has not ended, and what it started from.

    This one may have trained on since, and have a newer checkpoint.

    Args:
        run_dir: of the run that both start from; the others lie beside it.
        config: of the run that is to start.
    """
    ours = json.loads(canonical_json(learning_settings(config)))
    for source in sorted(run_dir.parent.glob(f"*/{START}/{_SOURCE}")):
        other, told = source.parent.parent, read_json(source)
        if told["run"] != run_dir.name or (other / "result.json").exists() or not (other / "config.json").exists():
            continue
        if learning_settings(read_json(other / "config.json")["config"]) == ours:
            return other.name, Start(run_dir=run_dir, step=told["step"], checkpoint_id=told["checkpoint_id"])
    return None


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


def check_anchor(run_dir: Path, config: PretrainConfig) -> None:
    """See that a run with Gram anchoring starts from trained weights.

    Raises:
        ValueError: it starts from random ones, to which nothing should be held.
    """
    if config.gram.weight and not (has_initial(run_dir) or (run_dir / START).exists()):
        raise ValueError(
            f"gram.weight is {config.gram.weight:g}, which holds patches to the weights that a run starts from, and this one starts from "
            "random weights; give --init a run, its checkpoint or other trained weights, or gram.weight 0"
        )


def load_start(run_dir: Path, step: int, state: TrainingState, worker: Worker) -> None:
    """Fill the state from the checkpoint that a run was given.

    If that has no anchor and the run has, its teacher becomes the anchor; if only that has one, nothing is held to it any more.

    Raises:
        StateError: the checkpoint has fewer tensors, more, or others.
    """
    tensors = state_tensors(state)
    saved = tensor_names(step_dir(run_dir / START, step))
    is_new = state.anchor is not None and not any(name.startswith(ANCHOR) for name in saved)
    if is_new:
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith(ANCHOR)}
    load_state(run_dir / START, step, tensors, worker=worker, unread=ANCHOR if state.anchor is None else None)
    if is_new and state.anchor is not None:
        refresh(state.anchor, list(state.teacher_network.backbone.parameters()))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)

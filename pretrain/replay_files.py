"""What a run that stopped for a loss or gradient that is not finite keeps, so that the step can be done again.

    nan/step_0000007/state/*.safetensors   the training state before that step
                     state.json            hashes and shapes
                     replay.json           the step; written last

A skipped step changes nothing, so the state when the run stops is that before the first of the steps it stopped for. The batch is not
kept: images, crops, masks and dropped branches follow from the seed and the step. One folder is kept, of 16 bytes a parameter: 0.7 GB
for vits14, 20 GB for vitg14. It holds weights, no images, and lies in the run's folder.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from pretrain.checkpoint import tensor_shapes, write_state
from pretrain.parallel import Worker
from pretrain.state import TrainingState, state_tensors
from pretrain.state_files import damage, seal
from warehouse.store import read_json, write_json

__all__ = ["NonFiniteStep", "keep_for_replay", "kept_step", "lake_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class NonFiniteStep:
    """Content of replay.json."""

    step: int
    """0 for a run's first"""
    is_before: bool
    """whether the state is bit for bit that before the step; false if a later step still changed it, as can be on a GPU"""
    num_workers: int


def keep_for_replay(run_dir: Path, state: TrainingState, step: int, is_before: bool, *, worker: Worker) -> str:
    """Keep the state in the place of what was kept before; every worker must call it.

    Returns:
        What to say of it: where it is and how large, or why it could not be kept, which must not hide why the run stops.
    """
    folder = run_dir / "nan" / f"step_{step:07d}"
    tensors = state_tensors(state)
    try:
        if worker.is_first:
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
        worker.barrier()
        write_state(folder, step, tensors, worker)
        if worker.is_first:
            seal(folder, tensor_shapes(tensors))
            write_json(folder / "replay.json", asdict(NonFiniteStep(step=step, is_before=is_before, num_workers=worker.world_size)))
        worker.barrier()
    except (OSError, RuntimeError) as error:
        return f". The state could not be kept for a replay ({' '.join(str(error).split())})"
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    return (
        f". `endoforge pretrain --lake {lake_of(run_dir)} --replay-nan {run_dir.name}` does step {step + 1} again and says where it fails "
        f"({size / 1e9:.2f} GB kept)"
    )


def lake_of(run_dir: Path) -> Path:
    """The lake whose run it is: runs lie in its folder runs/."""
    return run_dir.absolute().parent.parent


def kept_step(run_dir: Path) -> tuple[Path, NonFiniteStep]:
    """The folder that a run kept, and what it says.

    Raises:
        ValueError: it kept none, or its state has changed since.
    """
    found = sorted((run_dir / "nan").glob("step_*/replay.json"))
    if not found:
        raise ValueError(f"{run_dir} keeps no step to replay: no run of it stopped for a loss or gradient that was not finite")
    if fault := damage(found[-1].parent):
        raise ValueError(f"what {run_dir} kept for a replay is damaged ({fault}); train again from the last checkpoint to make it anew")
    return found[-1].parent, NonFiniteStep(**read_json(found[-1]))

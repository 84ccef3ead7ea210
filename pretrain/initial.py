"""A run that starts from trained weights: its folder holds them under init/, as the network has them.

`weights.safetensors` there has values by the names of `Network`; what is not in it is drawn from the seed. `init.json` says where they
are from, with the hashes of the files and what became of each tensor.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import safetensors.torch
from torch import Tensor

from pretrain.failures import TrainingError
from pretrain.init_weights import Fitted
from warehouse.store import file_sha256, read_json, write_json

__all__ = ["INIT", "give_initial", "has_initial", "initial_tensors"]

INIT = "init"
"""In a run's folder."""


def has_initial(run_dir: Path) -> bool:
    """Whether the run starts from trained weights that lie here; one that comes from another run has only their init.json."""
    return (run_dir / INIT / "weights.safetensors").is_file()


def give_initial(run_dir: Path, fitted: Fitted) -> None:
    """Put initial weights into the folder of a run, once."""
    final, temporary = run_dir / INIT, run_dir / f"{INIT}.tmp"
    if final.exists():
        return
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    safetensors.torch.save_file(fitted.tensors, temporary / "weights.safetensors", metadata={"format": "pt"})
    told = {**fitted.report.record(), "weights_sha256": file_sha256(temporary / "weights.safetensors")}
    write_json(temporary / "init.json", told)
    temporary.rename(final)


def initial_tensors(run_dir: Path) -> dict[str, Tensor]:
    """The initial weights of a run; none if it starts from random ones.

    Raises:
        TrainingError: they are damaged.
    """
    if not has_initial(run_dir):
        return {}
    weights = run_dir / INIT / "weights.safetensors"
    try:
        is_whole = file_sha256(weights) == read_json(run_dir / INIT / "init.json")["weights_sha256"]
    except (FileNotFoundError, ValueError, KeyError):
        is_whole = False
    if not is_whole:
        raise TrainingError(f"the initial weights of this run are damaged; delete {run_dir / INIT} and type the same command again")
    return safetensors.torch.load_file(weights)

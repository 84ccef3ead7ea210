"""A pretraining run of the lake, found by its id: what was asked of it, and the dataset that it is of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.lake import Lake
from warehouse.store import read_json

__all__ = ["TrainedRun", "find_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A run, finished or not."""

    run_dir: Path
    settings: dict[str, Any]
    """settings of the run, as nested plain values"""
    dataset: str
    """name of its dataset"""
    dataset_dir: Path


def find_run(lake: Lake, run_id: str, *, purpose: str) -> TrainedRun:
    """Find a run and its dataset.

    Args:
        lake: holds both.
        run_id: of the run.
        purpose: the verb for the sentence that its dataset is not there.

    Raises:
        ValueError: there is no such run, or its dataset is not in this lake.
    """
    run_dir = lake.root / "runs" / run_id
    if not (run_dir / "config.json").is_file():
        raise ValueError(f'there is no pretraining run {run_id!r} in {lake.root}; `endoforge sql "FROM runs"` lists them')
    told = read_json(run_dir / "config.json")
    rows = lake.rows("SELECT name, path FROM datasets WHERE dataset_id = $1 ORDER BY name LIMIT 1", [told["dataset_id"]])
    if not rows:
        raise ValueError(f"the dataset {told['dataset_id'][:16]} of {run_id} is not in {lake.root}; {purpose} it in its own lake")
    return TrainedRun(run_dir=run_dir, settings=told["config"], dataset=rows[0]["name"], dataset_dir=lake.root / rows[0]["path"])

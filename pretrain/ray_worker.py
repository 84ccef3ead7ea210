"""What each Ray Train worker runs. Ray Train's own processes load this file too, so it imports the trainer only where training begins."""

from __future__ import annotations

import pickle
from functools import partial
from pathlib import Path
from typing import Any

from warehouse.store import read_json, write_json

__all__ = ["ray_worker"]


def ray_worker(pickled: dict[str, bytes]) -> None:
    """One worker's whole life. A failure that a restart cannot cure is written down, so that restarts end at once.

    Args:
        pickled: the arguments of `pretrain.trainer.train` under "pickled"; Ray Train's controller passes them on without reading them.
    """
    import ray.train

    from pretrain.trainer import NonFiniteError, train

    arguments: dict[str, Any] = pickle.loads(pickled["pickled"])  # noqa: S301  # of the driver, as all that Ray passes on
    failure = Path(arguments["run_dir"]) / "failure.json"
    if failure.exists():
        raise RuntimeError(read_json(failure)["message"])
    try:
        train(**arguments, at_checkpoint=partial(_report, ray.train))
    except (ValueError, NonFiniteError, FileNotFoundError) as error:
        write_json(failure, {"kind": type(error).__name__, "message": str(error)})
        raise


def _report(ray_train: Any, step: int) -> None:
    ray_train.report({"step": step})

"""What each Ray Train worker runs. Ray Train's own processes load this file too, so it imports the trainer only where training begins."""

from __future__ import annotations

import contextlib
import os
import pickle
import traceback
from functools import partial
from pathlib import Path
from typing import Any

from pretrain.failures import explain, worker_failure

__all__ = ["ray_worker"]


def ray_worker(pickled: dict[str, bytes]) -> None:
    """One worker's whole life.

    Args:
        pickled: the arguments of `pretrain.trainer.train` under "pickled"; Ray Train's controller passes them on without reading them.

    Raises:
        WorkerFailure: training stopped; it says why, and whether a restart may cure it.
    """
    import ray.train

    from pretrain.trainer import train

    arguments: dict[str, Any] = pickle.loads(pickled["pickled"])  # noqa: S301  # of the driver, as all that Ray passes on
    os.umask(arguments.pop("mask"))  # a worker of another machine has its raylet's
    if arguments.pop("beside"):
        from pretrain.ray_validation import ask_ray

        told: dict[str, Any] = {"ask": partial(ask_ray, arguments["run_dir"])}
    else:
        told = {"at_checkpoint": partial(_report, ray.train)}
    try:
        train(**arguments, **told)
    except Exception as error:  # whatever ends training has to reach the person
        written = Path(arguments["run_dir"]) / "failure.txt"
        if explain(error) is None:  # not what a worker says whose peer has failed
            with contextlib.suppress(OSError):  # the disk may be what failed
                written.write_text(traceback.format_exc())
        raise worker_failure(error, traceback_at=str(written)) from error


def _report(ray_train: Any, step: int) -> None:
    ray_train.report({"step": step})

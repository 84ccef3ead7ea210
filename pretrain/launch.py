"""Start pretraining: in this process, or on any number of CPU or GPU workers under Ray Train.

Ray starts, watches and restarts workers. Where to continue is read from the run's folder, not from Ray's own bookkeeping, which can lag
behind the disk when a worker dies just after a checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pretrain.batches import open_batches
from pretrain.beside import take_last_scores
from pretrain.checkpoint import best_checkpoint, step_dir, whole_checkpoints
from pretrain.config import CheckpointConfig, PretrainConfig
from pretrain.data import ShardReader
from pretrain.failures import TrainingError, as_error, explain
from pretrain.metrics import newest_row
from pretrain.notices import note, notices_after
from pretrain.ray_worker import ray_worker
from pretrain.run_folder import Validate, check_run_dir
from pretrain.start import check_anchor, drop_start
from pretrain.trainer import Progress, train
from warehouse.private_files import file_mask
from warehouse.records import Checkpoint
from warehouse.store import read_json, write_json

__all__ = ["PRETRAIN_VERSION", "PretrainResult", "pretrain"]

_log = logging.getLogger(__name__)

PRETRAIN_VERSION = 2
"""raise when the same settings would give another model"""

_POLL_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainResult:
    """What a finished run left on disk."""

    checkpoints: tuple[Checkpoint, ...]
    """those kept, oldest first; exactly one is the best"""
    metrics_path: Path
    """JSON lines of step, name and value"""
    num_steps: int


def pretrain(
    config: PretrainConfig,
    *,
    dataset_dir: Path,
    run_dir: Path,
    run_id: str,
    validate: Validate | None,
    num_workers: int = 1,
    min_workers: int | None = None,
    use_gpu: bool = False,
    backend: Literal["local", "ray"] = "ray",
    on_one_machine: bool = True,
    max_worker_failures: int = 3,
    lake_root: Path | None = None,
    progress: Progress | None = None,
) -> PretrainResult:
    """Pretrain a model, or continue a run that stopped, or return the result of one that finished.

    The same call again continues from the newest whole checkpoint in `run_dir`, with any number of workers, and gives the losses that the
    uninterrupted run would have given.

    Args:
        config: the whole recipe.
        dataset_dir: folder of WebDataset tars with samples.parquet and dataset.json.
        run_dir: the run's own folder, on a file system that all workers share.
        run_id: name of the run in the lake.
        validate: module-level function (or functools.partial of one) from an exported backbone's folder to (metric name, score), higher
            being better; called after each checkpoint. None makes the newest checkpoint the best.
        num_workers: processes that share each batch; more than one needs the ray backend.
        min_workers: the fewest with which training goes on when machines are lost; it has `num_workers` again once there is room.
        use_gpu: one GPU for each worker.
        backend: local trains in this process; ray under Ray Train, which the caller has connected to a cluster.
        on_one_machine: the cluster is this machine alone, so its workers talk over loopback and nobody else can join them.
        max_worker_failures: after how many deaths of workers, or of loaders in this process, training still starts again.
        lake_root: checkpoint records name paths relative to it; absolute paths where not given.
        progress: called now and then with steps done, steps in all and the newest metrics.

    Raises:
        ValueError: dataset, batch, workers or run folder do not fit the configuration.
        NonFiniteError: loss or gradients stayed non-finite.
        TrainingError: memory or disk was full, or another cause that trying again does not cure; the message has cause and remedy.
        RuntimeError: workers died more often than is retried.
    """
    dataset_dir, run_dir = dataset_dir.absolute(), run_dir.absolute()
    if config.checkpoint.validate == "beside" and backend == "local":
        raise ValueError("checkpoint.validate is beside, which needs Ray; give --runner processes or ray, or checkpoint.validate=inside")
    check_anchor(run_dir, config)
    reader = ShardReader(dataset_dir, config.data)
    batches = open_batches(reader, config, rank=0, world_size=num_workers)
    counts = () if min_workers in (None, num_workers) else _elastic_counts(reader, config, min_workers, num_workers, backend)
    check_run_dir(run_dir, config, dataset_id=reader.dataset_id, run_id=run_id)
    evidence = run_dir / "result.json"
    if not evidence.exists():
        batches.warn()
        arguments: dict[str, Any] = {
            "dataset_dir": dataset_dir,
            "run_dir": run_dir,
            "run_id": run_id,
            "validate": validate,
            "use_gpu": use_gpu,
        }
        if backend == "ray":
            workers: dict[str, Any] = {"num_workers": num_workers, "counts": counts, "use_gpu": use_gpu}
            limits: dict[str, Any] = {"on_one_machine": on_one_machine, "max_worker_failures": max_worker_failures}
            _train_under_ray(config, arguments, **workers, **limits, progress=progress)
        elif num_workers == 1:
            _train_here(config, arguments, max_failures=max_worker_failures, progress=progress)
        else:
            raise ValueError(f"the local backend trains in one process, not {num_workers}; give num_workers 1 or the ray backend")
        write_json(evidence, _result(run_dir, run_id, num_steps=config.train.num_steps))
    drop_start(run_dir)
    found = read_json(evidence)
    return PretrainResult(
        checkpoints=tuple(Checkpoint(**row | {"path": _relative(run_dir / row["path"], lake_root)}) for row in found["checkpoints"]),
        metrics_path=run_dir / "metrics.jsonl",
        num_steps=found["num_steps"],
    )


def _train_here(config: PretrainConfig, arguments: dict[str, Any], *, max_failures: int, progress: Progress | None) -> None:
    """Train in this process, and again from the last checkpoint after what trying again can cure, such as a loader that was killed."""
    for num_left in reversed(range(max_failures + 1)):
        try:
            return train(config, progress=progress, **arguments)
        except Exception as error:
            failure = explain(error)
            if failure is None:
                raise
            if not failure.can_heal or not num_left:
                raise as_error(type(error).__name__, failure.sentence) from error
            note(arguments["run_dir"], f"{failure.sentence}; training starts again from the last checkpoint")


def _elastic_counts(reader: ShardReader, config: PretrainConfig, fewest: int | None, most: int, backend: str) -> tuple[int, ...]:
    if fewest is None or not 1 <= fewest <= most:
        raise ValueError(f"min_workers is {fewest} and num_workers {most}; give 1 to {most}")
    if backend == "local":
        raise ValueError(f"min_workers is {fewest}, and only Ray can go on without a lost worker; give the ray backend")
    from pretrain.elastic import even_counts

    return even_counts(reader, config, fewest=fewest, most=most)


def _result(run_dir: Path, run_id: str, *, num_steps: int) -> dict[str, Any]:
    kept = whole_checkpoints(run_dir)
    if not kept:
        raise TrainingError(
            f"the training in {run_dir} is done and no checkpoint has a score, because each validation failed; mend its cause, which was "
            "said, and type the same command again: it validates those that were kept"
        )
    best = best_checkpoint(kept)
    records = [
        Checkpoint(
            checkpoint_id=saved.checkpoint_id,
            run_id=run_id,
            step=saved.step,
            path=f"checkpoints/{step_dir(run_dir, saved.step).name}/backbone",
            validation_metric=saved.validation_metric,
            validation_score=saved.validation_score,
            is_best=saved is best,
        )
        for saved in kept
    ]
    return {"checkpoints": [asdict(record) for record in records], "num_steps": num_steps}


def _relative(path: Path, lake_root: Path | None) -> str:
    return path.relative_to(lake_root.absolute()).as_posix() if lake_root else str(path)


def _train_under_ray(
    config: PretrainConfig,
    arguments: dict[str, Any],
    *,
    num_workers: int,
    counts: tuple[int, ...],
    use_gpu: bool,
    on_one_machine: bool,
    max_worker_failures: int,
    progress: Progress | None,
) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig

    from pretrain.ray_policy import CauseTrainer, cause_of
    from pretrain.ray_validation import allow_validations, validation_config

    if not ray.is_initialized():
        raise RuntimeError("this process is not connected to Ray; call flows.runners.start_ray first, or give backend local")
    run_dir: Path = arguments["run_dir"]
    beside = config.checkpoint.validate == "beside" and arguments["validate"] is not None
    _check_resources(
        ray.cluster_resources(),  # type: ignore[no-untyped-call]
        config.checkpoint if beside else None,
        num_workers=min(counts, default=num_workers),
        use_gpu=use_gpu,
    )
    with contextlib.ExitStack() as stack:
        timeout_s = 6 * 3600  # workers wait at a barrier while the first one validates
        if on_one_machine:
            from pretrain.loopback import LoopbackConfig, LoopbackTrainer

            meetings = stack.enter_context(tempfile.TemporaryDirectory(prefix="endoforge-", ignore_cleanup_errors=True))
            torch_config: TorchConfig = LoopbackConfig(timeout_s=timeout_s, folder=meetings)
            make_trainer: type[CauseTrainer] = LoopbackTrainer
        else:
            torch_config = TorchConfig(timeout_s=timeout_s)
            make_trainer = CauseTrainer
        trainer = make_trainer(  # type: ignore[call-arg]  # mypy sees the trainer of Ray Train's first version
            ray_worker,
            train_loop_config={"pickled": pickle.dumps({"config": config, **arguments, "beside": beside, "mask": file_mask()})},
            torch_config=torch_config,
            scaling_config=ScalingConfig(
                num_workers=(counts[0], num_workers) if counts else num_workers,  # type: ignore[arg-type]  # as above
                use_gpu=use_gpu,
            ),
            run_config=RunConfig(name="ray", storage_path=str(run_dir), failure_config=FailureConfig(max_failures=max_worker_failures)),
            validation_config=validation_config(run_dir, arguments["validate"], config.checkpoint) if beside else None,
        )
        trainer.worker_counts = counts
        stack.enter_context(_sigint_given_back())
        stack.enter_context(_followed(run_dir / "metrics.jsonl", config.train.num_steps, progress))
        if beside:
            allow_validations(run_dir)
        try:
            trainer.fit()
        except Exception as error:
            cause = cause_of(error)
            if not cause.can_heal:
                raise as_error(cause.kind, cause.sentence) from error
            raise RuntimeError(
                f"training workers failed more than {max_worker_failures} times, the last time because {cause.sentence}; "
                "the same command continues from the last checkpoint"
            ) from error
    if beside:
        take_last_scores(run_dir, config)


@contextlib.contextmanager
def _sigint_given_back() -> Iterator[None]:
    """Ray Train takes SIGINT in the main thread and keeps it: it would answer a later Ctrl-C by starting another Ray."""
    before = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _check_resources(cluster: dict[str, float], beside: CheckpointConfig | None, *, num_workers: int, use_gpu: bool) -> None:
    """See that Ray has the CPUs or GPUs of all workers and, if checkpoints are scored beside them, those of a validation."""
    workers = "GPU" if use_gpu else "CPU"
    for resource in ("GPU", "CPU"):
        available = int(cluster.get(resource, 0))
        for_workers = num_workers if resource == workers else 0
        if for_workers > available:
            raise ValueError(
                f"{num_workers} workers need as many {resource}s and Ray has {available}; give num_workers of at most {available}"
            )
        extra = 0 if beside is None else beside.validation_gpus if resource == "GPU" else beside.validation_cpus
        if extra and for_workers + extra > available:
            raise ValueError(
                f"validation beside training needs {extra} {resource}s besides {for_workers} of the workers and Ray has {available}; give "
                f"fewer workers or checkpoint.validation_{resource.lower()}s, or checkpoint.validate=inside"
            )


@contextlib.contextmanager
def _followed(path: Path, num_steps: int, progress: Progress | None) -> Iterator[None]:
    """Call `progress` in this process with what the workers log, and say here what they have to say."""
    finished = threading.Event()
    _, said = notices_after(path.parent, 0)

    def say(offset: int) -> int:
        sentences, after = notices_after(path.parent, offset)
        for sentence in sentences:
            _log.warning("%s", sentence)
        return after

    def follow() -> None:
        last, offset = -1, said
        while not finished.wait(_POLL_S):
            offset = say(offset)
            newest = newest_row(path) if progress else None
            if progress and newest and newest[0] > last:
                last = newest[0]
                progress(last, num_steps, newest[1])
        say(offset)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        finished.set()
        thread.join()

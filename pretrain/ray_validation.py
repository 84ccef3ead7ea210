"""Validation by Ray Train beside its workers.

Ray Train wants checkpoints in its own folder and ours are not there, so a worker reports a pointer: a folder with the name of the
checkpoint's. Three traits of Ray Train 2.60 shape this file.

- A task that ends with its process, as by the out-of-memory killer, is an error of Ray Train's controller, which starts all workers again,
  and again. So Ray retries the task, and `score_beside` says after two attempts that it failed.
- Before it raises an error of training, it waits for every validation in its queue. So a file tells those that have not begun to end.
- It remembers reports in a file that may be behind the disk. So the disk decides what has a score, and asking twice does no harm.
"""

from __future__ import annotations

import os
import pickle
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pretrain.config import CheckpointConfig
from warehouse.private_files import file_mask
from warehouse.store import read_json, write_json

if TYPE_CHECKING:
    from ray.train import Checkpoint, ValidationConfig

    from pretrain.run_folder import Validate

__all__ = ["allow_validations", "ask_ray", "stop_validations", "validate_pointer", "validation_config"]

_POINTER = "pointer.json"
_STOPPED = "validations.stopped"
_RETRIES = 3


def validation_config(run_dir: Path, validate: Validate, config: CheckpointConfig) -> ValidationConfig:
    """What Ray Train does with a checkpoint that is reported for validation."""
    from ray.train import ValidationConfig, ValidationTaskConfig

    return ValidationConfig(
        validate_pointer,
        ValidationTaskConfig(
            fn_kwargs={"pickled": pickle.dumps(validate), "run_dir": str(run_dir), "num_cpus": config.validation_cpus, "mask": file_mask()}
        ),
        ray_remote_kwargs={"num_cpus": config.validation_cpus, "num_gpus": config.validation_gpus, "max_retries": _RETRIES},
    )


def validate_pointer(checkpoint: Checkpoint, **told: Any) -> dict[str, float]:
    """Score the checkpoint that a pointer names; Ray Train calls it in a task, with the keywords of `validation_config`."""
    import ray

    os.umask(told["mask"])
    run_dir = Path(told["run_dir"])
    if not ray.get_gpu_ids():
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # those of the workers may be visible
    if (run_dir / _STOPPED).exists():
        return {}
    import torch

    from pretrain.beside import score_beside

    torch.set_num_threads(told["num_cpus"])
    with checkpoint.as_directory() as pointer:
        name = read_json(Path(pointer, _POINTER))["name"]
    return score_beside(run_dir, name, pickle.loads(told["pickled"]))  # noqa: S301  # of the driver, as all that Ray passes on


def ask_ray(run_dir: Path, name: str | None) -> None:
    """Report a checkpoint for validation; every worker must call it, and only the first one names a folder."""
    import ray.train
    from ray.train import Checkpoint, CheckpointUploadMode

    if name is None:
        ray.train.report({})
        return
    pointer = Path(ray.train.get_context().get_storage().experiment_fs_path, f"{name}-{secrets.token_hex(4)}")
    write_json(pointer / _POINTER, {"name": name})
    ray.train.report(
        {"name": name},
        checkpoint=Checkpoint.from_directory(pointer),
        checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD,
        validation=True,
    )


def stop_validations(run_dir: Path) -> None:
    """Let validations that have not begun end at once."""
    (run_dir / _STOPPED).touch()


def allow_validations(run_dir: Path) -> None:
    """Let them begin, those that failed before too; for a run that starts, or starts again."""
    from pretrain.beside import forget_failures

    (run_dir / _STOPPED).unlink(missing_ok=True)
    forget_failures(run_dir)

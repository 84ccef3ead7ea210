"""Checks of settings before any work begins: names, numbers, folders, inputs and tasks. Free of Prefect and torch.

Each check reads as little as it can and makes nothing. It raises what the stage itself would raise hours later.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curation.config import CurateConfig
from curation.embedding import OFFLINE_ENCODER, EmbedConfig, check_timm_name, installed_encoders, local_folder
from curation.holdout import HoldoutConfig
from curation.shards import SELECTION_PLACEHOLDER, check_dataset_name
from evaluation.config import EvaluateConfig

if TYPE_CHECKING:
    from evaluation.validation_tasks import Validation
    from warehouse.lake import Lake

__all__ = [
    "check_count",
    "check_dataset_names",
    "check_encoder",
    "check_faiss",
    "check_fewest",
    "check_given",
    "check_held_out",
    "check_inputs",
    "check_new_folder",
    "check_task",
    "check_training",
    "check_validation",
    "nested_name",
    "refuse_taken_names",
]


def check_count(what: str, count: int | None) -> None:
    """Refuse a number of things below one; None stands for a default.

    Raises:
        ValueError: there would be none.
    """
    if count is not None and count < 1:
        raise ValueError(f"{what} is {count}; give 1 or more")


def check_deployments(file: Path) -> None:
    """Refuse a file of deployments that is not there.

    Raises:
        FileNotFoundError: there is no such file.
    """
    if not file.is_file():
        raise FileNotFoundError(f"{str(file)!r} is no file; give a prefect.yaml, of which the checkout has an example")


def check_new_folder(path: Path, what: str) -> None:
    """Refuse a folder that is a file, or that this user can neither make nor write to.

    Raises:
        NotADirectoryError: it, or what it would lie in, is a file.
        PermissionError: it cannot be made or written to.
    """
    absolute = path.expanduser().absolute()
    nearest = next(place for place in (absolute, *absolute.parents) if os.path.lexists(place))
    if not nearest.is_dir():
        raise NotADirectoryError(f"{what} is {str(path)!r}, and {str(nearest)!r} is no folder; give a folder, it is made if missing")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise PermissionError(f"{what} is {str(path)!r}, and {str(nearest)!r} cannot be written to")


def check_inputs(inputs: Sequence[str]) -> None:
    """Look whether every input names something; manifests are read, object stores are not contacted.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: no input, or a manifest or URI that cannot be used.
    """
    from curation.sources import check_uri, is_manifest, is_uri, local_path, patient_key, read_manifest

    if not inputs:
        raise ValueError("no video was named; give files, folders, globs, URIs or a manifest")
    key = patient_key()
    for name in inputs:
        place = local_path(name)
        if is_manifest(Path(name)):
            read_manifest(Path(name), key)
        elif is_uri(place):
            check_uri(place)
        elif not _names_a_file(Path(place).expanduser()):
            raise FileNotFoundError(f"{name!r} is no file, no folder that holds one, and no glob that matches anything; check the path")


def _names_a_file(path: Path) -> bool:
    if path.is_dir():
        return any(files for _, _, files in os.walk(path))
    return os.path.lexists(path) or next(glob.iglob(str(path), recursive=True), None) is not None


def check_held_out(config: HoldoutConfig) -> None:
    """Look whether every path holds something out, and read the tables among them.

    Raises:
        ValueError: a path names nothing, or a table cannot be used.
    """
    if config.holdout:
        from curation.holdout import check_holdout
        from curation.sources import patient_key

        check_holdout(config.holdout, patient_key())


def check_given(files: Sequence[Path]) -> None:
    """Read files of labels.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a file is in none of the formats, or says two things of one frame.
    """
    if files:
        from curation.labelling import read_given

        read_given(files)


def check_faiss() -> None:
    """Load FAISS, which curation needs after all frames are embedded.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    from curation.clustering import num_faiss_gpus  # noqa: F401 - loads it


def check_encoder(config: EmbedConfig) -> None:
    """Refuse an encoder that cannot be loaded; any but the installed one and a local folder on the CPU is loaded for that.

    Raises:
        ValueError: the name is unknown, its weights are not on this machine, the folder holds no model, there is no such device, or the
            encoder of an installed package cannot be used.
    """
    is_installed = config.encoder in installed_encoders()
    is_plain = not is_installed and (config.encoder == OFFLINE_ENCODER or local_folder(config.encoder) is not None)
    if not is_plain and not is_installed:
        check_timm_name(config.encoder)
    if not is_plain or config.device not in ("auto", "cpu"):
        from curation.embedding import load_encoder

        load_encoder(config)


def check_task(task: str, data: Path | None, config: EvaluateConfig | None = None) -> None:
    """Read the labels of an evaluation set and look whether its files are there.

    Args:
        task: a known name, or auto.
        data: the folder that holds it, if it is known yet.
        config: kind and order of its labels, and how its images are divided.

    Raises:
        ValueError: the task, its division or its fold is not known, or its data is missing or unusable.
    """
    from evaluation.tasks import check_task_name, configured_task

    check_task_name(task)
    if data is not None:
        told = config or EvaluateConfig()
        fold = 0 if told.fold == "all" else told.fold
        found = configured_task(task, data, told, fold=fold)
        found.validate()
        if told.few_shot:
            from flows.stages.evaluate_checks import check_curve

            check_curve(found, told)
        if told.heads is not None:
            from evaluation.heads import check_peft, chosen_heads

            check_peft(chosen_heads(told.heads, found.protocol.heads, found.kind))


def check_validation(validation: Validation, names: Sequence[str]) -> None:
    """Read the labels of all sets by which checkpoints are chosen.

    Args:
        validation: of a run.
        names: of tasks, also if there is no set.

    Raises:
        ValueError: a task is not known, its data is missing, unusable or masks, or names and the choice do not fit.
    """
    from evaluation.tasks import check_task_name
    from evaluation.validation_tasks import check_choice, read_labelled

    for name in names:
        check_task_name(name)
    check_choice(validation, [read_labelled(one).name for one in validation.tasks])


def check_training(*, runner: str, train_workers: int, batch_size: int, size: int | None = None) -> None:
    """Refuse a number of training processes that the runner or the batch does not allow, and a dataset that cannot fill one batch.

    Raises:
        ValueError: there would be none, several in one process, a batch that cannot be shared evenly, or fewer than `batch_size` images.
    """
    check_count("train_workers", train_workers)
    if size is not None and size < batch_size:
        raise ValueError(f"size is {size}, fewer than one batch of {batch_size} images; give that or more, or another recipe")
    if runner == "serial" and train_workers > 1:
        raise ValueError(f"train_workers is {train_workers} and the runner serial has one process; give 1, or another runner")
    if batch_size % train_workers:
        raise ValueError(f"train_workers is {train_workers} and cannot share batches of {batch_size} images evenly; give a divisor of it")


def check_fewest(runner: str, train_workers: int, min_train_workers: int | None) -> None:
    """Refuse a lowest number of training processes that is no part of them, or that no cluster keeps.

    Raises:
        ValueError: it is below 1 or above all, or the runner is not ray.
    """
    if min_train_workers is None:
        return
    if not 1 <= min_train_workers <= train_workers:
        raise ValueError(f"min_train_workers is {min_train_workers} and train_workers {train_workers}; give 1 to {train_workers}")
    if runner != "ray":
        raise ValueError(f"min_train_workers is {min_train_workers} and the runner {runner} has one machine; give ray, or leave it out")


def check_dataset_names(name: str, config: CurateConfig) -> None:
    """Refuse the name of a dataset, or of one nested in it, that no file could have.

    Raises:
        ValueError: it is empty, too long, or has other characters.
    """
    for size in (config.size, *config.nested):
        check_dataset_name(nested_name(name, size, config))


def refuse_taken_names(lake: Lake, name: str, config: CurateConfig) -> None:
    """Refuse names whose datasets, as far as can be known without work, have other content.

    Raises:
        LakeError: a dataset of one of the names holds another number of images or follows another seed.
    """
    from warehouse.dataset_queries import refuse_name_of_others

    if SELECTION_PLACEHOLDER not in name:
        for size in (config.size, *config.nested):
            refuse_name_of_others(lake, nested_name(name, size, config), size=size, seed=config.seed)


def nested_name(name: str, size: int, config: CurateConfig) -> str:
    """The name of the dataset of one of the sizes, before its selection is known."""
    return name if size == config.size else f"{name}-{size}"

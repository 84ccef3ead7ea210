"""Checkpoints on disk: the training state for any number of workers, the teacher's backbone for timm, and the heads.

    checkpoints/step_0000100/state/*.safetensors     torch.distributed.checkpoint, each worker's share
                             state.json              hashes of the files in state/, names and shapes of their tensors
                             backbone/               model.safetensors + config.json, for timm's local-dir:
                             heads.safetensors       teacher's heads and mask token
                             validation.json         if scored beside training: the score, or why there is none
                             checkpoint.json         step, id and validation score; written last, so a folder without it is not whole

The state is in safetensors, not in torch.distributed.checkpoint's own files, whose index is a pickle.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor, nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from pretrain.config import PretrainConfig
from pretrain.model import backbone_args
from pretrain.parallel import Worker, full_tensor
from pretrain.state_files import StateError, compare_tensors, damage, seal
from pretrain.video.export import write_video_backbone
from pretrain.video.network import space_time_sizes
from warehouse.store import atomic_file, file_sha256, read_json, write_json

__all__ = [
    "SavedCheckpoint",
    "best_checkpoint",
    "checkpoint_damage",
    "export_teacher",
    "finish_checkpoint",
    "load_state",
    "pending_checkpoints",
    "prune",
    "read_state",
    "save_checkpoint",
    "set_aside",
    "step_dir",
    "tensor_shapes",
    "unscored_checkpoints",
    "whole_checkpoints",
    "write_backbone",
    "write_state",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCheckpoint:
    """Content of checkpoint.json."""

    step: int
    checkpoint_id: str
    """SHA-256 of the exported backbone's weights"""
    validation_metric: str
    validation_score: float


def step_dir(run_dir: Path, step: int) -> Path:
    """Folder of the checkpoint after `step` steps."""
    return run_dir / "checkpoints" / f"step_{step:07d}"


def whole_checkpoints(run_dir: Path) -> list[SavedCheckpoint]:
    """Every finished checkpoint on disk, oldest first."""
    files = sorted((run_dir / "checkpoints").glob("step_*/checkpoint.json"))
    return sorted((SavedCheckpoint(**read_json(file)) for file in files), key=lambda saved: saved.step)


def pending_checkpoints(run_dir: Path) -> list[int]:
    """Steps whose state and export are whole but whose validation was interrupted; leftovers of writing are removed."""
    for leftover in (run_dir / "checkpoints").glob("*.tmp"):
        shutil.rmtree(leftover)
    return unscored_checkpoints(run_dir)


def unscored_checkpoints(run_dir: Path) -> list[int]:
    """Steps whose state and export are whole and that have no score, in order."""
    folders = [folder for folder in (run_dir / "checkpoints").glob("step_*") if folder.is_dir() and not folder.name.endswith(".tmp")]
    return sorted(int(folder.name.removeprefix("step_")) for folder in folders if not (folder / "checkpoint.json").exists())


def save_checkpoint(
    run_dir: Path, step: int, state: dict[str, Tensor], teacher: nn.Module, config: PretrainConfig, run_id: str, worker: Worker
) -> Path:
    """Write state, backbone and heads to a temporary folder and rename it; every worker must call it.

    Args:
        run_dir: of the run, on a file system that all workers share.
        step: optimiser steps done.
        state: every tensor that the next step needs; may be sharded.
        teacher: exported, unsharded on the way.
        config: of the run.
        run_id: for the model card.
        worker: of this process.

    Returns:
        The final folder, not yet validated.
    """
    final = step_dir(run_dir, step)
    temporary = final.with_name(f"{final.name}.tmp")
    if worker.is_first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    worker.barrier()
    write_state(temporary, step, state, worker)
    weights = {name: full_tensor(tensor).cpu() for name, tensor in teacher.state_dict().items()}
    if worker.is_first:
        seal(temporary, tensor_shapes(state))
        export_teacher(temporary, weights, config, card={"run_id": run_id, "step": step})
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    worker.barrier()
    return final


def write_state(folder: Path, step: int, state: dict[str, Tensor], worker: Worker) -> None:
    """Write the state files alone, each worker its share; every worker must call it."""
    with _distributed_io(f"writing the training state of step {step}"):
        writer = HuggingFaceStorageWriter(str(folder / "state"), save_distributed=True)
        save(state, storage_writer=writer, no_dist=worker.world_size == 1)


def load_state(run_dir: Path, step: int, state: dict[str, Tensor], *, worker: Worker, unread: str | None = None) -> None:
    """Fill `state` in place from a checkpoint, however many workers wrote it; `checkpoint_damage` looks at its files.

    `unread`: what names of tensors begin with that the checkpoint may have beside them.

    Raises:
        StateError: the checkpoint has fewer tensors, more, or others.
    """
    read_state(step_dir(run_dir, step), step, state, worker, unread=unread)


def read_state(folder: Path, step: int, state: dict[str, Tensor], worker: Worker, *, unread: str | None = None) -> None:
    """Fill `state` in place from a folder that has state/ and state.json; `unread` as in `load_state`.

    Raises:
        StateError: it has fewer tensors, more, or others.
    """
    try:
        compare_tensors(folder, tensor_shapes(state), unread=unread)
    except StateError as error:
        raise StateError(
            f"reading the training state of step {step} failed ({error}); it was written with another model or by another version: "
            "go back to that, or choose a new run folder"
        ) from None
    with _distributed_io(f"reading the training state of step {step}"):
        reader = HuggingFaceStorageReader(str(folder / "state"))
        load(state, storage_reader=reader, no_dist=worker.world_size == 1)


def tensor_shapes(state: dict[str, Tensor]) -> dict[str, list[int]]:
    """Of whole tensors, where they are sharded too."""
    return {name: list(tensor.shape) for name, tensor in state.items()}


def checkpoint_damage(run_dir: Path, step: int) -> str | None:
    """What is wrong with the state files of a checkpoint, for a person; None if nothing is. It reads all of them."""
    return damage(step_dir(run_dir, step))


def set_aside(run_dir: Path, step: int) -> Path:
    """Rename a damaged checkpoint, so that nothing takes it for one and a person can look at it; returns its new folder."""
    folder = step_dir(run_dir, step)
    aside = folder.with_name(f"damaged_{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    return aside


@contextmanager
def _distributed_io(what: str) -> Iterator[None]:
    """Without torch's notes to itself, and with an ordinary error: CheckpointException is no Exception and would pass every handler."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"torch\.distributed.*")
        try:
            yield
        except CheckpointException as error:
            cause, _ = next(iter(error.failures.values()))
            raise RuntimeError(f"{what} failed ({cause}); check that the disk has room and the files are whole, then run again") from cause


def export_teacher(folder: Path, weights: dict[str, Tensor], config: PretrainConfig, *, card: dict[str, Any]) -> None:
    """Write `backbone/` for `timm.create_model("local-dir:<folder>/backbone", pretrained=True, num_classes=0)` and heads.safetensors.

    Args:
        folder: of the checkpoint.
        weights: full state of a `Network`.
        config: of the run; architecture, sizes and normalisation go into timm's config.json.
        card: further plain values for config.json's `endoforge` entry.
    """
    prefix = "backbone."
    backbone = {name.removeprefix(prefix): tensor.contiguous() for name, tensor in weights.items() if name.startswith(prefix)}
    heads = {name: tensor.contiguous() for name, tensor in weights.items() if not name.startswith(prefix)}
    write_backbone(folder / "backbone", backbone, config, card=card)
    _write_tensors(folder / "heads.safetensors", heads)


def write_backbone(folder: Path, backbone: dict[str, Tensor], config: PretrainConfig, *, card: dict[str, Any]) -> None:
    """Write the folder of a backbone that timm loads as local-dir:, or `load_video_backbone` if it is of clips.

    Arguments are those of `export_teacher`, names without `backbone.`.
    """
    if config.video is not None:
        mean, std = config.augment.mean, config.augment.std
        write_video_backbone(space_time_sizes(config), folder, mean=mean, std=std, weights=backbone, card=card)
        return
    size = config.model.img_size
    write_json(
        folder / "config.json",
        {
            "architecture": config.model.architecture,
            "num_classes": 0,
            "num_features": backbone["norm.weight"].shape[0],
            "model_args": backbone_args(config.model),
            "pretrained_cfg": {
                "num_classes": 0,
                "input_size": [3, size, size],
                "fixed_input_size": False,
                "interpolation": "bicubic",
                "crop_pct": 1.0,
                "mean": list(config.augment.mean),
                "std": list(config.augment.std),
                "first_conv": "patch_embed.proj",
                "classifier": "head",
                "custom_load": False,
            },
            "endoforge": card,
        },
    )
    _write_tensors(folder / "model.safetensors", backbone)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    with atomic_file(path) as file:
        file.write(safetensors.torch.save(tensors, metadata={"format": "pt"}))


def finish_checkpoint(run_dir: Path, step: int, metric: str, score: float) -> SavedCheckpoint:
    """Record the validation score, which makes the checkpoint whole."""
    folder = step_dir(run_dir, step)
    saved = SavedCheckpoint(
        step=step,
        checkpoint_id=file_sha256(folder / "backbone" / "model.safetensors"),
        validation_metric=metric,
        validation_score=score,
    )
    write_json(folder / "checkpoint.json", asdict(saved))
    return saved


def best_checkpoint(checkpoints: list[SavedCheckpoint]) -> SavedCheckpoint:
    """The one with the highest validation score; of equals, the earliest."""
    return max(checkpoints, key=lambda saved: (saved.validation_score, -saved.step))


def prune(run_dir: Path, *, keep_best: int, keep_every: int, failed: Sequence[int] = ()) -> list[int]:
    """Delete checkpoints that are neither among the best by score, nor at a multiple of `keep_every`, nor the newest.

    Those that still await their score are never deleted.

    Args:
        run_dir: of the run.
        keep_best: number kept for their score.
        keep_every: those at multiples of this step stay; 0 for none.
        failed: steps whose validation failed; they count as worse than all that have a score, older ones as worse than newer ones.

    Returns:
        The steps deleted.
    """
    checkpoints = whole_checkpoints(run_dir)
    ranked = [saved.step for saved in sorted(checkpoints, key=lambda saved: (-saved.validation_score, saved.step))]
    ranked += sorted(failed, reverse=True)
    steps = sorted(ranked)
    kept = {*ranked[:keep_best], *steps[-1:]} | {step for step in steps if keep_every and step % keep_every == 0}
    deleted = [step for step in steps if step not in kept]
    for step in deleted:
        folder = step_dir(run_dir, step)
        doomed = folder.with_name(f"{folder.name}.tmp")  # renamed first: a kill half-way through leaves rubbish, never half a checkpoint
        folder.rename(doomed)
        shutil.rmtree(doomed)
    return deleted

"""How a run goes: length and machine, checkpoints, shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.config.requirements import require

__all__ = ["CheckpointConfig", "DataConfig", "TrainConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Length, batch and machine of the run."""

    num_steps: int
    """optimiser steps of the whole run"""
    batch_size: int
    """images of one step over all workers together; it stays the same whatever their number"""
    seed: int = 0
    """every random draw follows from it"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto is bf16 on a GPU that has it and fp32 elsewhere"""
    residual: Literal["fp32", "bf16"] = "fp32"
    """what blocks add to, in a bf16 run; bf16 moves half the bytes and rounds away what a LayerScale of 1e-5 adds at first"""
    sharding: Literal["auto", "ddp", "fsdp"] = "auto"
    """auto is FSDP2 on several GPUs for more than 500 million parameters and DDP elsewhere"""
    accumulate: int = 1
    """micro-batches into which each worker cuts its part of a step, one after another: as many times less memory for activations, and
    logits in chunks; losses and gradients stay those of the whole batch to rounding"""
    compile: Literal["auto", "on", "off"] = "auto"
    """compile the transformer's blocks and the losses, which takes up to a minute at the start; auto does so on a GPU with a C compiler"""
    num_loader_workers: int = 1
    """processes that read and augment, for each training worker; 0 does it in the training process"""
    log_every: int = 10
    """steps between two rows of metrics"""
    max_nonfinite_steps: int = 3
    """the run stops after this many steps in a row with a loss or gradient that is not finite; single ones are skipped"""
    max_unreadable: float = 0.01
    """the run stops if more than this share of the last 10,000 images cannot be read; other samples stand in for single ones"""

    def __post_init__(self) -> None:
        require(self.num_steps > 0, f"num_steps is {self.num_steps}; give 1 or more")
        require(self.batch_size > 1, f"batch_size is {self.batch_size}; KoLeo and Sinkhorn need 2 or more images")
        require(
            self.accumulate > 0 and self.batch_size % self.accumulate == 0,
            f"accumulate is {self.accumulate}, which does not divide batch_size {self.batch_size}; give a divisor",
        )
        require(self.log_every > 0, f"log_every is {self.log_every}; give 1 or more")
        require(0 <= self.max_unreadable <= 1, f"max_unreadable is {self.max_unreadable}; give a share in [0, 1]")
        require(self.num_loader_workers >= 0, f"num_loader_workers is {self.num_loader_workers}; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointConfig:
    """When checkpoints are written and which stay on disk. The loss never decides: it is no sign of quality."""

    every: int
    """steps between two checkpoints, each validated; the last step always has one"""
    keep_best: int = 3
    """checkpoints kept for their validation score"""
    keep_every: int = 0
    """checkpoints at multiples of this step are kept whatever their score; 0 for none"""
    validate_start: bool = True
    """also score the random weights before the first step, so that the curve shows where it starts; weights of --init always are"""
    guard_drop: float = 0.05
    """with --init: training stops if the validation score is lower than that of the initial weights by more than this; 0 for no guard"""
    guard_patience: int = 2
    """validations in a row that must be so low"""
    validate: Literal["inside", "beside"] = "inside"
    """inside: training waits while its first worker scores a checkpoint; beside: a task with CPUs or GPUs of its own does, and training
    goes on meanwhile, which any runner but serial can do"""
    validation_cpus: int = 1
    """CPUs of that task, which the training workers do not have"""
    validation_gpus: int = 0
    """GPUs of that task, which the training workers do not have; 0 scores on CPUs"""

    def __post_init__(self) -> None:
        require(self.every > 0, f"checkpoint every is {self.every}; give 1 or more steps")
        require(self.keep_best > 0, f"keep_best is {self.keep_best}; give 1 or more")
        require(self.keep_every >= 0, f"keep_every is {self.keep_every}; give 0 or more steps")
        require(self.guard_drop >= 0, f"guard_drop is {self.guard_drop}; give 0 or more")
        require(self.guard_patience > 0, f"guard_patience is {self.guard_patience}; give 1 or more validations")
        require(self.validation_cpus > 0, f"validation_cpus is {self.validation_cpus}; give 1 or more")
        require(self.validation_gpus >= 0, f"validation_gpus is {self.validation_gpus}; give 0 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataConfig:
    """Where the shards are and in which order they are read."""

    reader: Literal["random", "sequential"] = "random"
    """random takes any sample at any time, for local disks; sequential goes shard by shard through a window, for slow or remote storage"""
    window_images: int = 100_000
    """with the sequential reader: images that are shuffled together, at least those of one batch"""
    shards: str = ""
    """folder or URI that has the tars, such as s3://bucket/first, if not the dataset's own folder"""
    cache_gb: float = 50.0
    """with the sequential reader: gigabytes of whole shards kept on this machine's disk, least recently used leaving first; 0 reads tars
    of a local folder where they are"""
    cache_dir: str = ""
    """folder of that cache; where not given, endoforge/shards in XDG_CACHE_HOME or ~/.cache"""
    augment_on: Literal["auto", "cpu", "device"] = "auto"
    """where crops are cut and coloured, with the same draws and pixels to rounding; auto is the device on a GPU, and loader processes only
    decode"""

    def __post_init__(self) -> None:
        require(self.window_images > 0, f"window_images is {self.window_images}; give 1 or more")
        require(self.cache_gb >= 0, f"cache_gb is {self.cache_gb}; give 0 or more gigabytes")
        for name, place in (("shards", self.shards), ("cache_dir", self.cache_dir)):
            require(
                not place or place.startswith("/") or "://" in place, f"{name} is {place!r}; give an absolute path, or for shards a URI"
            )
        require("://" not in self.cache_dir, f"cache_dir is {self.cache_dir!r}; give a folder of this machine")
        is_sequential_uri = self.reader == "sequential" and "://" in self.shards
        require(not is_sequential_uri or self.cache_gb > 0, "cache_gb is 0, and shards of a store are read through the cache; give more")

"""Devices, process groups and the wrapping of a network for them: one code path for a CPU process and for many GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import cv2
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from pretrain.config import TrainConfig
from pretrain.model import Network
from pretrain.video.network import VideoNetwork

__all__ = ["Worker", "current_worker", "full_tensor", "is_sharded", "shared_threads", "wrap"]

_FSDP_FROM_PARAMETERS = 500_000_000  # above it, student, teacher and Adam no longer fit beside activations in 80 GB


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """This process's place in the run."""

    rank: int
    world_size: int
    local_world_size: int
    device: torch.device
    bf16: bool

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes shared files."""
        return self.rank == 0

    def barrier(self) -> None:
        """Wait for every worker."""
        if self.world_size > 1:
            dist.barrier()

    def mean(self, value: Tensor) -> Tensor:
        """Mean over workers; what is not finite on one is not finite on all."""
        if self.world_size > 1:
            value = value.clone()
            dist.all_reduce(value)
            value /= self.world_size
        return value

    def means(self, values: dict[str, Tensor]) -> dict[str, float]:
        """Means over workers of tensors of one element, read in one go."""
        stacked = torch.stack([value.to(self.device, torch.float32, non_blocking=True) for value in values.values()])
        return dict(zip(values, self.mean(stacked).tolist(), strict=True))

    def from_first(self, value: int) -> int:
        """The first worker's value, on every worker."""
        if self.world_size > 1:
            shared = torch.tensor([value], device=self.device)
            dist.broadcast(shared, src=0)
            value = int(shared)
        return value

    def autocast(self) -> AbstractContextManager[object]:
        """bfloat16 for matrix products where this run uses it."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16) if self.bf16 else nullcontext()


def current_worker(config: TrainConfig, *, use_gpu: bool) -> Worker:
    """Read this process's place from torch.distributed, or take it to be alone.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if use_gpu and not torch.cuda.is_available():
        raise ValueError("a GPU was asked for but torch sees none; check `endoforge doctor` or run without it")
    device = torch.device("cuda", torch.cuda.current_device()) if use_gpu else torch.device("cpu")
    # torch.cuda.is_bf16_supported also says yes where bfloat16 is only emulated
    native_bf16 = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)
    alone = not dist.is_initialized()
    return Worker(
        rank=0 if alone else dist.get_rank(),
        world_size=1 if alone else dist.get_world_size(),
        local_world_size=1 if alone else int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        device=device,
        bf16=config.precision == "bf16" or (config.precision == "auto" and native_bf16),
    )


@contextmanager
def shared_threads(worker: Worker) -> Iterator[None]:
    """Share the machine's cores among its workers; sums depend on the number of threads, so it is fixed for a run.

    Ray sets OMP_NUM_THREADS to the CPUs a worker asked for, which is one; so it is not read. OpenCV has one thread while loaders are
    forked; what comes after in this process, such as an evaluation, has those of before.
    """
    before, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // worker.local_world_size))
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cv2.setNumThreads(of_opencv)


def is_sharded(config: TrainConfig, num_parameters: int, *, num_workers: int, on_gpu: bool) -> bool:
    """Whether several workers share out a student of so many parameters, as FSDP2 does, or each hold all of it."""
    large = on_gpu and num_parameters > _FSDP_FROM_PARAMETERS
    return num_workers > 1 and (config.sharding == "fsdp" or (config.sharding == "auto" and large))


def wrap(
    student: Network | VideoNetwork, teacher: Network | VideoNetwork, config: TrainConfig, worker: Worker
) -> tuple[nn.Module, nn.Module]:
    """Move both to the worker's device and make them parallel: DDP for the student, or FSDP2 alike for both.

    Student and teacher are sharded identically, so that the moving average needs no communication.
    """
    student.to(worker.device)
    teacher.to(worker.device)
    if worker.world_size == 1:
        return student, teacher
    num_parameters = sum(parameter.numel() for parameter in student.parameters())
    if is_sharded(config, num_parameters, num_workers=worker.world_size, on_gpu=worker.device.type == "cuda"):
        for network in (student, teacher):
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16 if worker.bf16 else None, reduce_dtype=torch.float32)
            for block in network.backbone.blocks:
                fully_shard(block, mp_policy=policy)
            # by default the root stays whole after its forward; the teacher has no backward that would shard it again
            fully_shard(network, mp_policy=policy, reshard_after_forward=True)
        return student, teacher
    return DistributedDataParallel(student, device_ids=[worker.device] if worker.device.type == "cuda" else None), teacher


def full_tensor(tensor: Tensor) -> Tensor:
    """The whole of a possibly sharded tensor, on the device; every worker must call it."""
    tensor = tensor.detach()
    whole: Tensor = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole

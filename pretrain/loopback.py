"""A torch process group of workers on one machine that no other machine can reach.

Ray Train joins its workers through torch's TCPStore, which listens on every network interface and asks nobody who they are. Workers on one
machine can meet in a file instead, and talk over the loopback interface.
"""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import ray
import torch.distributed as dist
from ray.train.torch import TorchConfig
from ray.train.torch.config import _set_torch_distributed_env_vars, _TorchBackend
from torch._C._distributed_c10d import FileStore

__all__ = ["LoopbackConfig"]

_LOOPBACK = "lo"


@dataclass
class LoopbackConfig(TorchConfig):
    """Ray Train's torch configuration for workers on one machine."""

    folder: str = ""
    """private folder that the workers share, for the file in which they meet"""

    @property
    def backend_cls(self) -> type:
        """Ray's name for what sets up the process group."""
        return _LoopbackBackend


class _LoopbackBackend(_TorchBackend):
    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Join the workers; a group that is started again after a failure meets in another file."""
        backend = "nccl" if worker_group.get_resources_per_worker().get("GPU", 0) > 0 else "gloo"
        meeting = Path(backend_config.folder, uuid.uuid4().hex)
        worker_group.execute(_set_torch_distributed_env_vars)
        world_size = len(worker_group)
        joining = [
            worker_group.execute_single_async(
                rank, _join, str(meeting), backend=backend, world_rank=rank, world_size=world_size, timeout_s=backend_config.timeout_s
            )
            for rank in range(world_size)
        ]
        ray.get(joining)


def _join(meeting: str, *, backend: str, world_rank: int, world_size: int, timeout_s: float) -> None:
    os.environ.update(GLOO_SOCKET_IFNAME=_LOOPBACK, NCCL_SOCKET_IFNAME=_LOOPBACK)
    dist.init_process_group(
        backend, store=FileStore(meeting, world_size), rank=world_rank, world_size=world_size, timeout=timedelta(seconds=timeout_s)
    )

"""Ray Train on one machine: a torch process group that no other machine can reach, and nothing that only clusters need.

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

from pretrain.ray_policy import CauseTrainer

__all__ = ["LoopbackConfig", "LoopbackTrainer"]

_LOOPBACK = "lo"

_FOR_CLUSTERS = {"PlacementGroupCleanerCallback", "DatasetsCallback"}


class LoopbackTrainer(CauseTrainer):
    """Ray Train's torch trainer without two processes of its own that serve clusters and Ray Data.

    The first frees the machines of a training whose driver is gone; here Ray ends with the driver. It asks Ray's dashboard, and without
    one each training ended with an error in Ray's log and twelve seconds of waiting.
    """

    def _create_default_callbacks(self) -> list[Any]:
        made = super()._create_default_callbacks()  # type: ignore[misc]  # of the second version of Ray Train
        return [callback for callback in made if type(callback).__name__ not in _FOR_CLUSTERS]


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

"""Everything that changes while training, and its flat form for checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pretrain.config import PretrainConfig
from pretrain.gram import anchor_of
from pretrain.model import Backbone, Network, build_network
from pretrain.objective import Centers
from pretrain.parallel import Worker, wrap
from pretrain.params import param_groups
from pretrain.video.network import VideoNetwork, build_video_network

__all__ = ["ANCHOR", "TrainingState", "build_state", "state_tensors"]

ANCHOR = "anchor."
"""Before the names of the anchor's tensors."""


@dataclass(slots=True, kw_only=True)
class TrainingState:
    """Student, teacher, optimiser, centres and anchor of a run."""

    student: nn.Module
    """called for a forward pass; wrapped where there are several workers"""
    teacher: nn.Module
    student_network: Network | VideoNetwork
    """the student under its wrapping"""
    teacher_network: Network | VideoNetwork
    optimizer: torch.optim.AdamW
    centers: Centers
    anchor: Backbone | None = None
    """whole on each worker; only with Gram anchoring"""


def build_state(config: PretrainConfig, worker: Worker, *, initial: Mapping[str, Tensor] | None = None) -> TrainingState:
    """The state before the first step: weights from the seed, or initial ones by their names; the teacher a copy of the student."""
    torch.manual_seed(config.train.seed)
    build = build_network if config.video is None else build_video_network
    student_network, teacher_network = build(config, student=True), build(config, student=False)
    if initial:
        student_network.load_state_dict(student_network.state_dict() | dict(initial))
    teacher_network.load_state_dict(student_network.state_dict())
    anchor = None
    if config.gram.weight and isinstance(teacher_network, Network):
        anchor = anchor_of(teacher_network.backbone).to(worker.device)
    student, teacher = wrap(student_network, teacher_network, config.train, worker)
    groups = param_groups(student_network, depth=len(student_network.backbone.blocks), config=config.optim)
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=config.optim.betas, fused=True)
    for parameter in student_network.parameters():  # as AdamW itself would at the first step; made now so that a checkpoint can fill it
        optimizer.state[parameter] = {
            "step": torch.zeros((), device=worker.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    ibot_head = config.ibot_head or config.dino_head
    centers = Centers(
        torch.zeros(1, config.dino_head.num_prototypes, device=worker.device),
        torch.zeros(1, ibot_head.num_prototypes, device=worker.device),
    )
    return TrainingState(
        student=student,
        teacher=teacher,
        student_network=student_network,
        teacher_network=teacher_network,
        optimizer=optimizer,
        centers=centers,
        anchor=anchor,
    )


def state_tensors(state: TrainingState) -> dict[str, Tensor]:
    """Every tensor the next step depends on, by a name that does not depend on the number of workers; shares storage with the state."""
    tensors: dict[str, Tensor] = {"center.dino": state.centers.dino, "center.ibot": state.centers.ibot}
    for name, parameter in state.student_network.named_parameters():
        tensors[f"student.{name}"] = parameter.detach()
        for key, value in state.optimizer.state[parameter].items():
            tensors[f"optimizer.{key}.{name}"] = value
    for name, parameter in state.teacher_network.named_parameters():
        tensors[f"teacher.{name}"] = parameter.detach()
    if state.anchor is not None:
        tensors |= {f"{ANCHOR}{name}": parameter.detach() for name, parameter in state.anchor.named_parameters()}
    return tensors

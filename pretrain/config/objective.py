"""What is minimised, and how: losses, Gram anchoring, optimiser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.config.requirements import require

__all__ = ["NEAR_S", "GramConfig", "LossConfig", "OptimConfig"]

NEAR_S = 5.0
"""Frames of one video nearer than this in time are of one clip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """DINO on class tokens, iBOT on hidden patches, KoLeo to spread the features."""

    dino_weight: float = 1.0
    """weight of the two DINO terms"""
    ibot_weight: float = 1.0
    """weight of the iBOT term"""
    koleo_weight: float = 0.1
    """weight of the KoLeo term"""
    koleo_over: Literal["device", "group", "all"] = "group"
    """pool of KoLeo's neighbours: the images of one worker, of a group, or of the whole batch"""
    koleo_group: int = 32
    """images of a group, consecutive in the batch: DINOv2's images a GPU, on any number of workers"""
    koleo_apart_s: float = NEAR_S
    """frames of one video closer than this in seconds are no neighbours; 0 for no such limit"""
    centering: Literal["sinkhorn", "softmax"] = "sinkhorn"
    """how the teacher's outputs are balanced over prototypes"""
    sinkhorn_iterations: int = 3
    """row and column normalisations"""
    center_momentum: float = 0.9
    """of the running centre, with softmax centring"""
    student_temperature: float = 0.1
    """of the student's softmax"""
    teacher_temperature: float = 0.07
    """of the teacher, after its warm-up"""
    teacher_temperature_start: float = 0.04
    """of the teacher at the first step"""
    teacher_temperature_warmup_steps: int = 37500
    """steps of linear warm-up"""

    def __post_init__(self) -> None:
        temperatures = (self.student_temperature, self.teacher_temperature, self.teacher_temperature_start)
        require(min(temperatures) > 0, f"temperatures are {temperatures}; all must be positive")
        require(self.koleo_group > 1, f"koleo_group is {self.koleo_group}; give 2 or more images")
        require(self.koleo_apart_s >= 0, f"koleo_apart_s is {self.koleo_apart_s}; give 0 or more seconds")
        require(self.sinkhorn_iterations > 0, f"sinkhorn_iterations is {self.sinkhorn_iterations}; give 1 or more")


@dataclass(frozen=True, slots=True, kw_only=True)
class GramConfig:
    """DINOv3's Gram anchoring: similarities between a crop's patches stay near those of an earlier teacher, the anchor."""

    weight: float = 0.0
    """weight of the term after its warm-up; 0 for no anchoring"""
    start_step: int = 0
    """step from which the term counts"""
    warmup_steps: int = 0
    """steps of a line from 0 to the weight"""
    tokens: Literal["all", "hidden", "visible"] = "all"
    """patches that are compared: all, or those that the student does not or does see"""
    refresh_steps: int = 0
    """steps after which the teacher becomes the anchor, again and again; 0 keeps the weights that the run started from"""
    max_refreshes: int = 3
    """times that it does"""
    scale: int = 1
    """the anchor sees global crops enlarged so many times; its patch features are then reduced to the student's grid, both bicubically"""

    def __post_init__(self) -> None:
        require(self.weight >= 0, f"gram weight is {self.weight}; give 0 or more")
        for name in ("start_step", "warmup_steps", "refresh_steps", "max_refreshes"):
            require(getattr(self, name) >= 0, f"gram {name} is {getattr(self, name)}; give 0 or more")
        require(self.scale in (1, 2, 4), f"gram scale is {self.scale}; give 1, 2 or 4")


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimConfig:
    """AdamW and everything that is scheduled over the steps."""

    base_lr: float
    """peak learning rate at a global batch of 1024, scaled by the square root of batch / 1024; with lr_scaling linear that at 256"""
    lr_scaling: Literal["sqrt", "linear"] = "sqrt"
    """how the learning rate grows with the batch: as DINOv2's, or as batch / 256"""
    min_lr: float = 1e-6
    """learning rate at the end"""
    warmup_steps: int
    """steps of linear warm-up of the learning rate"""
    weight_decay: float = 0.04
    """at the first step"""
    weight_decay_end: float = 0.2
    """at the last step, by a cosine"""
    betas: tuple[float, float] = (0.9, 0.999)
    """of AdamW"""
    layer_decay: float = 1.0
    """learning rate multiplier from a block to the one before it"""
    patch_embed_lr_mult: float = 0.2
    """further multiplier for the patch embedding"""
    freeze_last_layer_steps: int = 1250
    """steps during which the prototypes do not learn"""
    freeze_last_layer_by: Literal["rate", "gradient"] = "rate"
    """rate: their learning rate is 0 and AdamW goes on averaging gradients; gradient: they have none, as in DINO and Endo-FM"""
    freeze_backbone_steps: int = 0
    """steps during which the backbone does not learn, while new heads warm up on it; its own warm-up of the rate comes after them"""
    clip_grad_norm: float = 3.0
    """largest gradient norm of what clip_over says; 0 for no clipping"""
    clip_over: Literal["part", "tensor", "all"] = "part"
    """what is clipped by a norm of its own: the backbone and each head, each tensor as Endo-FM does, or all of them together"""
    teacher_momentum: float = 0.994
    """of the moving average at the first step"""
    teacher_momentum_end: float = 1.0
    """of the moving average at the last step, by a cosine"""

    def __post_init__(self) -> None:
        require(self.base_lr > 0, f"base_lr is {self.base_lr}; give a positive number")
        require(self.warmup_steps >= 0, f"warmup_steps is {self.warmup_steps}; give 0 or more")
        require(self.freeze_backbone_steps >= 0, f"freeze_backbone_steps is {self.freeze_backbone_steps}; give 0 or more")
        require(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}; give a number in (0, 1]")
        require(0 <= self.teacher_momentum <= 1, f"teacher_momentum is {self.teacher_momentum}; give a number in [0, 1]")

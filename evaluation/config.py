"""Settings of the evaluation. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["EvaluateConfig", "TaskKind"]

TaskKind = Literal["classification", "ordinal", "segmentation"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Frozen-feature evaluation: everything is chosen on the validation split and reported on the test split."""

    kind: Literal["auto", "classification", "ordinal", "segmentation"] = "auto"
    """what the labels are; auto: masks are segmentation, three or more numbered classes ("Mayo 0", "Mayo 1", ...) are ordinal"""
    order: str = ""
    """ordinal classes from best to worst, such as none,mild,moderate,severe; not needed if their names end in numbers"""
    max_unreadable: float = 0.01
    """share of the images that may be left out because they cannot be read; one always may, unless this is 0"""
    image_size: int | None = None
    """side in pixels that images are resized to; the model's own input size where not given"""
    batch_size: int | None = None
    """images per forward pass; where not given 8 on a CPU, whose caches larger ones leave, and 64 on a GPU"""
    num_workers: int = 2
    """threads that decode images"""
    device: str = "auto"
    """auto, cpu or cuda"""
    k: tuple[int, ...] = (1, 5, 10, 20, 50)
    """numbers of neighbours tried by k-NN"""
    temperature: float = 0.07
    """of the similarity weights of k-NN"""
    regularization: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """inverse L2 strengths (C) tried by the linear probe on standardised features"""
    class_weight: Literal["balanced", "none"] = "balanced"
    """balanced: the linear probe counts every class alike, however many images it has"""
    max_iterations: int = 200
    """most L-BFGS iterations of one linear probe"""
    segmentation_epochs: int = 40
    """passes over the training images of the segmentation head"""
    segmentation_learning_rates: tuple[float, ...] = (1e-3, 3e-3, 1e-2)
    """AdamW learning rates tried by the segmentation head"""
    val_share: float = 0.2
    """share of the groups that becomes the validation or test split where the data names none"""
    num_bootstrap: int = 1000
    """bootstrap replicates of a 95% interval"""
    seed: int = 0
    """of splits that are made here, random-weight baselines, head initialisation and the bootstrap"""

    def __post_init__(self) -> None:
        """Raises ValueError that says which setting is out of range and what it may be."""
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1, or left out")
        for name in ("num_workers", "max_iterations", "segmentation_epochs", "num_bootstrap"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.image_size is not None and self.image_size < 16:
            raise ValueError(f"image_size is {self.image_size} pixels; give at least 16, or leave it out for the model's own size")
        for name in ("k", "regularization", "segmentation_learning_rates"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} is {values}; give one or more numbers above 0")
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"max_unreadable is {self.max_unreadable}; it must be a share from 0 to 1")
        if self.order and self.kind not in ("auto", "ordinal"):
            raise ValueError(f"order is {self.order!r} and kind is {self.kind}; leave one out, only ordinal labels have an order")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0 (DINOv2 uses 0.07)")
        if not 0.05 <= self.val_share <= 0.4:
            raise ValueError(f"val_share is {self.val_share}; it must be from 0.05 to 0.4, so that most groups stay for training")

    @property
    def grades(self) -> tuple[str, ...]:
        """Names of `order`, from best to worst; empty if it is not given."""
        return tuple(part.strip() for part in self.order.split(",") if part.strip())

"""Settings of the evaluation. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

__all__ = ["EvaluateConfig", "TaskKind"]

TaskKind = Literal["classification", "ordinal", "segmentation", "detection"]


_AT_LEAST_ONE = (
    "num_workers",
    "max_iterations",
    "segmentation_epochs",
    "num_bootstrap",
    "grid_steps",
    "decoder_epochs",
    "detection_epochs",
    "tune_epochs",
    "tune_batch_size",
    "lora_rank",
    "random_draws",
)
_GRIDS = (
    "k",
    "regularization",
    "segmentation_learning_rates",
    "decoder_learning_rates",
    "detection_learning_rates",
    "finetune_learning_rates",
    "lora_learning_rates",
    "boosted_test_scales",
    "decoder_test_scales",
    "few_shot_counts",
    "few_shot_shares",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Evaluation of a backbone, frozen as a rule: everything is chosen on the validation split and reported on the test split."""

    heads: tuple[str, ...] | None = None
    """heads to train: knn, linear and linear_grid for classes, ordinal for grades; linear, boosted_linear, fpn, unet and dpt for masks;
    fcos for boxes; finetune and lora, which change the backbone; those of the task's protocol unless given"""
    kind: Literal["auto", "classification", "ordinal", "segmentation"] = "auto"
    """what the labels are; auto: masks are segmentation, three or more numbered classes ("Mayo 0", "Mayo 1", ...) are ordinal"""
    order: str = ""
    """ordinal classes from best to worst, such as none,mild,moderate,severe; not needed if their names end in numbers"""
    max_unreadable: float = 0.01
    """share of the images that may be left out because they cannot be read; one always may, unless this is 0"""
    protocol: str = "clean"
    """how a task's images are divided: clean, published (as in the literature, leaking or not), made (grouped folds over all images), or
    one of the task's own names, such as ssl4gie"""
    fold: int | Literal["all"] | None = None
    """which fold of it is tested, from 0; all: each in turn, and then one row of them together; the task's usual one where not given"""
    image_size: int | Literal["own"] | None = None
    """side in pixels to which images are resized for all models, baseline included, each to the nearest multiple of its patches; the own
    input size of the first model where not given; own: each model at its own"""
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
    grid_steps: int = 2000
    """SGD steps of linear_grid, of 128 images each"""
    decoder_epochs: int = 10
    """passes over the training images of fpn, unet and dpt"""
    decoder_learning_rates: tuple[float, ...] = (3e-3,)
    """AdamW learning rates tried by fpn, unet and dpt"""
    fpn_width: int = 64
    """channels of fpn"""
    unet_width: int = 64
    """channels of unet"""
    dpt_width: int = 64
    """channels of dpt; 256 as published, which is for GPUs"""
    dpt_logits: Literal["half", "full"] = "half"
    """side of the masks that dpt draws and is trained on, in shares of the image's: half, which takes some 0.6 of the time; full, as
    published"""
    decoder_test_scales: tuple[float, ...] = (1.0,)
    """shares of the image's side at which fpn, unet and dpt read a test image; several: its mirror image too, and all averaged"""
    detection_epochs: int = 12
    """passes over the training frames of fcos"""
    detection_learning_rates: tuple[float, ...] = (2e-3,)
    """AdamW learning rates tried by fcos"""
    detection_width: int = 64
    """channels of fcos's pyramid and head; 256 as published, which is for GPUs"""
    detection_backbone: Literal["frozen", "trained"] = "frozen"
    """whether fcos trains the backbone with it, at a tenth of its learning rate"""
    boosted_input_scale: float = 2.0
    """of the image's side that boosted_linear reads"""
    boosted_test_scales: tuple[float, ...] = (1.0, 1.32, 1.73)
    """of that side, at which boosted_linear reads a test image and its mirror image, and averages"""
    tune_epochs: int = 5
    """passes over the training images of finetune and lora"""
    tune_batch_size: int = 8
    """images per step of finetune and lora"""
    finetune_learning_rates: tuple[float, ...] = (3e-5, 3e-4)
    """AdamW learning rates of the backbone tried by finetune"""
    lora_learning_rates: tuple[float, ...] = (3e-4, 3e-3)
    """AdamW learning rates of the adapters tried by lora"""
    lora_rank: int = 8
    """of the adapters of lora"""
    random_draws: int = 5
    """draws of random weights, whose mean and range are the reference row; heads that change the backbone have the first alone"""
    clinical: bool = False
    """also give sensitivity, specificity, AUROC and AUPRC of each class, Brier score and calibration error; of masks precision, recall
    and the 95% Hausdorff distance in pixels"""
    few_shot: bool = False
    """also train class heads, linear and fpn on few training images, and give the curve of their scores"""
    few_shot_counts: tuple[int, ...] = (1, 2, 5, 10, 50)
    """training images of each class in the few-shot curve; of masks training images"""
    few_shot_shares: tuple[float, ...] = (0.01, 0.1, 0.5)
    """shares of the training images in the few-shot curve"""
    few_shot_draws: int = 5
    """draws of each point of the few-shot curve, by patient"""
    val_share: float = 0.2
    """share of the training groups that becomes the validation split where the data names none; a test split is a fifth of the groups"""
    num_bootstrap: int = 1000
    """bootstrap replicates of a 95% interval"""
    clip_frames: int | None = None
    """frames of a clip, at equal distances, and of the window around a frame whose mask a video network gives; the network's own number
    where not given, 8 of an image network"""
    clip_windows: int | None = None
    """windows of a clip, whose logits are averaged at test; the task's own number where not given"""
    clip_pooling: Literal["mean", "ordered"] = "mean"
    """vector of a clip: mean, that of the network, of an image network the mean of its frames; ordered, the frames one after another"""
    clip_order: Literal["auto", "own", "added"] = "auto"
    """what tells finetune the order of a clip's frames: own, the network's time embedding; added, sinusoids on top of it; auto adds them
    where the network gives a clip and its reverse nearly the same vector, as a fresh one does, but never under protocol published"""
    seed: int = 0
    """of random-weight baselines, head initialisation and the bootstrap; splits that are made here do not depend on it"""

    def identity(self, *, has_clips: bool) -> dict[str, Any]:
        """The settings that an evaluation's identity holds: all, but for `clip_order` where no clip's order is told to fine-tuning.

        Args:
            has_clips: whether the task's items are clips.
        """
        settings = asdict(self)
        if not (has_clips and "finetune" in (self.heads or ())):
            del settings["clip_order"]
        return settings

    def windows_of(self, own: int) -> int:
        """Windows of a clip: those asked for, else the task's own number."""
        return self.clip_windows or own

    def __post_init__(self) -> None:
        """Raises ValueError that says which setting is out of range and what it may be."""
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size is {self.batch_size}; it must be at least 1, or left out")
        for name in _AT_LEAST_ONE:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("clip_frames", "clip_windows"):
            if (number := getattr(self, name)) is not None and number < 1:
                raise ValueError(f"{name} is {number}; it must be at least 1, or left out")
        if self.side is not None and self.side < 16:
            raise ValueError(f"image_size is {self.image_size} pixels; give at least 16, or leave it out for the first model's own size")
        for name in _GRIDS:
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} is {values}; give one or more numbers above 0")
        if not 0 <= self.max_unreadable <= 1:
            raise ValueError(f"max_unreadable is {self.max_unreadable}; it must be a share from 0 to 1")
        if self.order and self.kind not in ("auto", "ordinal"):
            raise ValueError(f"order is {self.order!r} and kind is {self.kind}; leave one out, only ordinal labels have an order")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}; it must be above 0 (DINOv2 uses 0.07)")
        if self.heads == ():
            raise ValueError("heads is empty; name one or more, or leave it out for those of the task's protocol")
        for name in ("fpn_width", "unet_width", "dpt_width"):
            if getattr(self, name) < 8 or getattr(self, name) % 8:
                raise ValueError(f"{name} is {getattr(self, name)}; give a multiple of 8")
        if self.detection_width < 32 or self.detection_width % 32:
            raise ValueError(f"detection_width is {self.detection_width}; give a multiple of 32")
        if self.boosted_input_scale <= 0:
            raise ValueError(f"boosted_input_scale is {self.boosted_input_scale}; it must be above 0")
        if max(self.few_shot_shares) >= 1:
            raise ValueError(f"few_shot_shares is {self.few_shot_shares}; give shares below 1")
        if self.few_shot_draws < 2:
            raise ValueError(f"few_shot_draws is {self.few_shot_draws}; give at least 2, from which there is an interval")
        if isinstance(self.fold, int) and self.fold < 0:
            raise ValueError(f"fold is {self.fold}; give a number from 0 on, or all")
        if not 0.05 <= self.val_share <= 0.4:
            raise ValueError(f"val_share is {self.val_share}; it must be from 0.05 to 0.4, so that most groups stay for training")

    @property
    def side(self) -> int | None:
        """Side in pixels that a model is asked to take; None for its own."""
        return self.image_size if isinstance(self.image_size, int) else None

    @property
    def grades(self) -> tuple[str, ...]:
        """Names of `order`, from best to worst; empty if it is not given."""
        return tuple(part.strip() for part in self.order.split(",") if part.strip())

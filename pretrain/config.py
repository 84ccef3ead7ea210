"""Settings of self-supervised pretraining. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "NEAR_S",
    "VIDEO_ARCHITECTURE",
    "AugmentConfig",
    "CheckpointConfig",
    "DataConfig",
    "GramConfig",
    "HeadConfig",
    "LossConfig",
    "MaskConfig",
    "ModelConfig",
    "OptimConfig",
    "PretrainConfig",
    "TrainConfig",
    "VideoConfig",
]

NEAR_S = 5.0
"""Frames of one video nearer than this in time are of one clip."""
VIDEO_ARCHITECTURE = "divided_space_time_vit"
"""The architecture of video recipes, and of the `config.json` of what they export."""
_BLUR_PRESETS = {"released": (0.0, 0.9, 0.5), "paper": (1.0, 0.1, 0.5)}


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _require_range(name: str, bounds: tuple[float, float], highest: float) -> None:
    low, high = bounds
    _require(0 < low <= high <= highest, f"{name} is {low} to {high}; give two numbers with 0 < low <= high <= {highest:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The vision transformer; its sizes come from the timm architecture where not given."""

    architecture: str
    """timm name of a VisionTransformer, e.g. vit_large_patch14_reg4_dinov2, or of an Eva with pre-norm, e.g. vit_small_patch16_dinov3"""
    img_size: int
    """side of a global crop in pixels; the position embedding has its grid"""
    patch_size: int
    """side of a patch in pixels"""
    embed_dim: int | None = None
    """token width; the architecture's where not given"""
    depth: int | None = None
    """number of blocks; the architecture's where not given"""
    num_heads: int | None = None
    """attention heads; the architecture's where not given"""
    layer_scale_init: float = 1e-5
    """initial LayerScale; 0 for none"""
    drop_path_rate: float = 0.3
    """share of images that skip a residual branch, the same for every block of the student"""
    activation_checkpointing: bool = False
    """recompute the student's blocks in the backward pass instead of keeping their activations"""

    def __post_init__(self) -> None:
        _require(self.patch_size > 0, f"patch_size is {self.patch_size}; give a positive number of pixels")
        _require(
            self.img_size > 0 and self.img_size % self.patch_size == 0,
            f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}; give one",
        )
        _require(0 <= self.drop_path_rate < 1, f"drop_path_rate is {self.drop_path_rate}; give a number in [0, 1)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadConfig:
    """A projection head: three linear layers, L2 normalisation, weight-normed prototypes."""

    num_prototypes: int = 65536
    """outputs of the head"""
    hidden_dim: int = 2048
    """width of the two hidden layers"""
    bottleneck_dim: int = 256
    """width before the prototypes"""
    norm_last_layer: bool = False
    """keep the prototypes' lengths at 1, as DINO does"""

    def __post_init__(self) -> None:
        _require(
            min(self.num_prototypes, self.hidden_dim, self.bottleneck_dim) > 0,
            "num_prototypes, hidden_dim and bottleneck_dim must all be positive",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentConfig:
    """Multi-crop: two global views and several local ones of each image."""

    local_size: int
    """side of a local crop in pixels"""
    num_local: int = 8
    """local crops of an image; 0 for none"""
    global_scale: tuple[float, float] = (0.32, 1.0)
    """area of a global crop as a share of the image"""
    local_scale: tuple[float, float] = (0.05, 0.32)
    """area of a local crop as a share of the image"""
    hflip_p: float = 0.5
    """probability of a horizontal flip"""
    vflip_p: float = 0.0
    """probability of a vertical flip; an endoscope has no upright"""
    jitter_p: float = 0.8
    """probability of colour jitter"""
    brightness: float = 0.4
    """largest relative change"""
    contrast: float = 0.4
    """largest relative change"""
    saturation: float = 0.2
    """largest relative change"""
    hue: float = 0.1
    """largest shift, in turns of the colour circle"""
    gray_p: float = 0.2
    """probability of a grey image"""
    blur_p: Literal["released", "paper"] | tuple[float, float, float] = "released"
    """probability of blur in global crop 1, global crop 2 and a local crop. The paper says 1.0, 0.1, 0.5; the code that made
    the released weights passes one minus each, so it really used 0.0, 0.9, 0.5"""
    blur_sigma: tuple[float, float] = (0.1, 2.0)
    """standard deviation of the Gaussian in pixels of the crop, kernel 9"""
    solarize_p: float = 0.2
    """probability of solarisation of global crop 2"""
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    """per-channel mean that crops are normalised with"""
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    """per-channel standard deviation that crops are normalised with"""

    def __post_init__(self) -> None:
        _require(self.local_size > 0, f"local_size is {self.local_size}; give a positive number of pixels")
        _require(self.num_local >= 0, f"num_local is {self.num_local}; give 0 or more")
        _require_range("global_scale", self.global_scale, 1.0)
        _require_range("local_scale", self.local_scale, 1.0)
        probabilities = (self.hflip_p, self.vflip_p, self.jitter_p, self.gray_p, self.solarize_p, *self.blur_probabilities)
        _require(all(0 <= p <= 1 for p in probabilities), f"probabilities of augmentation are {probabilities}; each must be in [0, 1]")
        _require(0 <= self.hue <= 0.5, f"hue is {self.hue}; give a number in [0, 0.5]")

    @property
    def blur_probabilities(self) -> tuple[float, float, float]:
        """Of global crop 1, global crop 2 and a local crop."""
        return _BLUR_PRESETS[self.blur_p] if isinstance(self.blur_p, str) else self.blur_p


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskConfig:
    """Block masking of the student's global crops."""

    probability: float = 0.5
    """share of global crops that are masked"""
    ratio: tuple[float, float] = (0.1, 0.5)
    """share of patches hidden in a masked crop; spread evenly over the masked crops of a batch"""
    min_block: int = 4
    """least area of a block in patches"""
    min_aspect: float = 0.3
    """least aspect ratio of a block; the greatest is its inverse"""

    def __post_init__(self) -> None:
        _require(0 < self.probability <= 1, f"mask probability is {self.probability}; give a number in (0, 1], or set the iBOT weight to 0")
        _require_range("mask ratio", self.ratio, 1.0)
        _require(0 < self.min_aspect <= 1, f"min_aspect is {self.min_aspect}; give a number in (0, 1]")


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
        _require(min(temperatures) > 0, f"temperatures are {temperatures}; all must be positive")
        _require(self.koleo_group > 1, f"koleo_group is {self.koleo_group}; give 2 or more images")
        _require(self.koleo_apart_s >= 0, f"koleo_apart_s is {self.koleo_apart_s}; give 0 or more seconds")
        _require(self.sinkhorn_iterations > 0, f"sinkhorn_iterations is {self.sinkhorn_iterations}; give 1 or more")


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
        _require(self.weight >= 0, f"gram weight is {self.weight}; give 0 or more")
        for name in ("start_step", "warmup_steps", "refresh_steps", "max_refreshes"):
            _require(getattr(self, name) >= 0, f"gram {name} is {getattr(self, name)}; give 0 or more")
        _require(self.scale in (1, 2, 4), f"gram scale is {self.scale}; give 1, 2 or 4")


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
        _require(self.base_lr > 0, f"base_lr is {self.base_lr}; give a positive number")
        _require(self.warmup_steps >= 0, f"warmup_steps is {self.warmup_steps}; give 0 or more")
        _require(self.freeze_backbone_steps >= 0, f"freeze_backbone_steps is {self.freeze_backbone_steps}; give 0 or more")
        _require(0 < self.layer_decay <= 1, f"layer_decay is {self.layer_decay}; give a number in (0, 1]")
        _require(0 <= self.teacher_momentum <= 1, f"teacher_momentum is {self.teacher_momentum}; give a number in [0, 1]")


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
        _require(self.num_steps > 0, f"num_steps is {self.num_steps}; give 1 or more")
        _require(self.batch_size > 1, f"batch_size is {self.batch_size}; KoLeo and Sinkhorn need 2 or more images")
        _require(
            self.accumulate > 0 and self.batch_size % self.accumulate == 0,
            f"accumulate is {self.accumulate}, which does not divide batch_size {self.batch_size}; give a divisor",
        )
        _require(self.log_every > 0, f"log_every is {self.log_every}; give 1 or more")
        _require(0 <= self.max_unreadable <= 1, f"max_unreadable is {self.max_unreadable}; give a share in [0, 1]")
        _require(self.num_loader_workers >= 0, f"num_loader_workers is {self.num_loader_workers}; give 0 or more")


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
        _require(self.every > 0, f"checkpoint every is {self.every}; give 1 or more steps")
        _require(self.keep_best > 0, f"keep_best is {self.keep_best}; give 1 or more")
        _require(self.keep_every >= 0, f"keep_every is {self.keep_every}; give 0 or more steps")
        _require(self.guard_drop >= 0, f"guard_drop is {self.guard_drop}; give 0 or more")
        _require(self.guard_patience > 0, f"guard_patience is {self.guard_patience}; give 1 or more validations")
        _require(self.validation_cpus > 0, f"validation_cpus is {self.validation_cpus}; give 1 or more")
        _require(self.validation_gpus >= 0, f"validation_gpus is {self.validation_gpus}; give 0 or more")


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
        _require(self.window_images > 0, f"window_images is {self.window_images}; give 1 or more")
        _require(self.cache_gb >= 0, f"cache_gb is {self.cache_gb}; give 0 or more gigabytes")
        for name, place in (("shards", self.shards), ("cache_dir", self.cache_dir)):
            _require(
                not place or place.startswith("/") or "://" in place, f"{name} is {place!r}; give an absolute path, or for shards a URI"
            )
        _require("://" not in self.cache_dir, f"cache_dir is {self.cache_dir!r}; give a folder of this machine")
        is_sequential_uri = self.reader == "sequential" and "://" in self.shards
        _require(not is_sequential_uri or self.cache_gb > 0, "cache_gb is 0, and shards of a store are read through the cache; give more")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoConfig:
    """Clips in place of images: frames of each view, the video backbone, and what Endo-FM's released code does by accident."""

    num_frames: int = 8
    """rows of the time embedding; views of other lengths resample it"""
    num_registers: int = 0
    """register tokens of the backbone"""
    mlp_ratio: float = 4.0
    """hidden width of the MLP over the token width"""
    init_std: float = 0.02
    """deviation of the linear layers of a fresh backbone; a narrow network needs more, or its class token hardly sees the clip"""
    resampling: Literal["nearest", "bicubic"] = "nearest"
    """of positions for other sizes and lengths: nearest as released, or bicubic with antialiasing, and linear in time"""
    global_frames: tuple[int, int] = (8, 16)
    """frames of the two global views"""
    local_frames: tuple[int, ...] = (2, 2, 4, 4, 8, 8, 16, 16)
    """frames of each local view, augment.num_local of them"""
    global_span: Literal["fixed", "random"] = "fixed"
    """fixed as released: global views span nearly the whole clip, always the same frames; random: half of it or more, anywhere"""
    crop_try: Literal["last", "first"] = "last"
    """of ten tries for a crop: the last as released, whose size may be cut at the border, or the first that fits"""
    gray_weights: Literal["bgr", "rgb"] = "bgr"
    """bgr as released: pure red becomes 0.114 in grey; rgb: 0.299"""
    clamp: bool = False
    """keep pixels in [0, 1]; not as released: bicubic overshoot and jitter then leave it"""
    draws: Literal["repeated", "fresh"] = "repeated"
    """repeated as released: flips, jitter and grey of a place in the epoch are those of the epoch before; fresh: drawn anew each epoch"""
    teacher_drop_path: bool = True
    """the teacher drops branches too, as released, where it is never set to evaluation mode"""
    window_frames: int = 256
    """frames at 30 a second from which views are taken; a longer clip loses the others at random"""
    min_frames: int = 16
    """a clip of fewer is refused and counted as unreadable"""

    def __post_init__(self) -> None:
        _require(
            min(self.num_frames, *self.global_frames, *self.local_frames) > 0,
            f"num_frames is {self.num_frames}, global_frames {self.global_frames} and local_frames {self.local_frames}; give 1 or more",
        )
        _require(self.num_registers >= 0, f"num_registers is {self.num_registers}; give 0 or more")
        _require(self.mlp_ratio > 0, f"mlp_ratio is {self.mlp_ratio}; give a positive number")
        _require(self.init_std > 0, f"init_std is {self.init_std}; give a positive number")
        _require(self.min_frames > 0, f"min_frames is {self.min_frames}; give 1 or more")
        _require(
            self.window_frames >= self.min_frames,
            f"window_frames {self.window_frames} is less than min_frames {self.min_frames}; give as many or more",
        )


def _check_video(config: PretrainConfig, video: VideoConfig) -> None:
    """See that nothing is asked for which views of clips have not."""
    augment, train = config.augment, config.train
    _require(
        augment.num_local == len(video.local_frames),
        f"augment.num_local is {augment.num_local} and video.local_frames has {len(video.local_frames)} numbers; give as many",
    )
    has_colour = augment.hue or augment.solarize_p or any(augment.blur_probabilities)
    _require(not has_colour, "views of clips have no hue, blur or solarisation; give augment.hue 0, blur_p 0 0 0 and solarize_p 0")
    _require(train.accumulate == 1, f"train.accumulate is {train.accumulate}; steps over clips are not cut into micro-batches, so give 1")
    _require(train.compile != "on", "train.compile is on; the step over clips is not compiled, so give auto or off")
    _require(
        config.data.augment_on != "device", "data.augment_on is device; views of clips are cut in loader processes, so give auto or cpu"
    )
    _require(not config.gram.weight, f"gram.weight is {config.gram.weight:g}; clips have no Gram anchoring, so give 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainConfig:
    """One whole pretraining run; pretrain/recipes.py has ready ones."""

    model: ModelConfig
    dino_head: HeadConfig = field(default_factory=HeadConfig)
    ibot_head: HeadConfig | None = field(default_factory=HeadConfig)
    """None shares the DINO head"""
    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig
    mask: MaskConfig = field(default_factory=MaskConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    gram: GramConfig = field(default_factory=GramConfig)
    optim: OptimConfig
    train: TrainConfig
    checkpoint: CheckpointConfig
    video: VideoConfig | None = None
    """of a recipe that trains on clips; None trains on images"""

    def __post_init__(self) -> None:
        if self.video is not None:
            _check_video(self, self.video)
        local, patch = self.augment.local_size, self.model.patch_size
        _require(local % patch == 0, f"local_size {local} is not a multiple of patch_size {patch}; give one")
        _require(
            self.optim.warmup_steps < self.train.num_steps,
            f"warmup_steps {self.optim.warmup_steps} leaves nothing of num_steps {self.train.num_steps}; give fewer",
        )
        frozen = self.optim.freeze_backbone_steps
        _require(
            frozen == 0 or frozen + self.optim.warmup_steps < self.train.num_steps,
            f"freeze_backbone_steps {frozen} and warmup_steps {self.optim.warmup_steps} after it leave nothing of num_steps "
            f"{self.train.num_steps}; give fewer",
        )

"""A whole pretraining run, and what its parts must hold together."""

from __future__ import annotations

from dataclasses import dataclass, field

from pretrain.config.network import HeadConfig, ModelConfig
from pretrain.config.objective import GramConfig, LossConfig, OptimConfig
from pretrain.config.requirements import require
from pretrain.config.running import CheckpointConfig, DataConfig, TrainConfig
from pretrain.config.views import AugmentConfig, MaskConfig, VideoConfig

__all__ = ["PretrainConfig"]


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
        require(local % patch == 0, f"local_size {local} is not a multiple of patch_size {patch}; give one")
        require(
            self.optim.warmup_steps < self.train.num_steps,
            f"warmup_steps {self.optim.warmup_steps} leaves nothing of num_steps {self.train.num_steps}; give fewer",
        )
        frozen = self.optim.freeze_backbone_steps
        require(
            frozen == 0 or frozen + self.optim.warmup_steps < self.train.num_steps,
            f"freeze_backbone_steps {frozen} and warmup_steps {self.optim.warmup_steps} after it leave nothing of num_steps "
            f"{self.train.num_steps}; give fewer",
        )


def _check_video(config: PretrainConfig, video: VideoConfig) -> None:
    """See that nothing is asked for which views of clips have not."""
    augment, train = config.augment, config.train
    require(
        augment.num_local == len(video.local_frames),
        f"augment.num_local is {augment.num_local} and video.local_frames has {len(video.local_frames)} numbers; give as many",
    )
    has_colour = augment.hue or augment.solarize_p or any(augment.blur_probabilities)
    require(not has_colour, "views of clips have no hue, blur or solarisation; give augment.hue 0, blur_p 0 0 0 and solarize_p 0")
    require(train.accumulate == 1, f"train.accumulate is {train.accumulate}; steps over clips are not cut into micro-batches, so give 1")
    require(train.compile != "on", "train.compile is on; the step over clips is not compiled, so give auto or off")
    require(
        config.data.augment_on != "device", "data.augment_on is device; views of clips are cut in loader processes, so give auto or cpu"
    )
    require(not config.gram.weight, f"gram.weight is {config.gram.weight:g}; clips have no Gram anchoring, so give 0")

"""Settings of self-supervised pretraining. Free of heavy imports, so that `endoforge --help` is quick.

A run is a `PretrainConfig`; pretrain/recipes.py has ready ones. Each of its sections is a record that checks itself. Start in whole.py.
"""

from pretrain.config.network import HeadConfig, ModelConfig
from pretrain.config.objective import NEAR_S, GramConfig, LossConfig, OptimConfig
from pretrain.config.running import CheckpointConfig, DataConfig, TrainConfig
from pretrain.config.views import VIDEO_ARCHITECTURE, AugmentConfig, MaskConfig, VideoConfig
from pretrain.config.whole import PretrainConfig

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

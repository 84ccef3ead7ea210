"""The network: vision transformer and projection heads."""

from __future__ import annotations

from dataclasses import dataclass

from pretrain.config.requirements import require

__all__ = ["HeadConfig", "ModelConfig"]


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
        require(self.patch_size > 0, f"patch_size is {self.patch_size}; give a positive number of pixels")
        require(
            self.img_size > 0 and self.img_size % self.patch_size == 0,
            f"img_size {self.img_size} is not a multiple of patch_size {self.patch_size}; give one",
        )
        require(0 <= self.drop_path_rate < 1, f"drop_path_rate is {self.drop_path_rate}; give a number in [0, 1)")


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
        require(
            min(self.num_prototypes, self.hidden_dim, self.bottleneck_dim) > 0,
            "num_prototypes, hidden_dim and bottleneck_dim must all be positive",
        )

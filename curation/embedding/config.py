"""Settings of embedding. Free of heavy imports, so that `endoforge --help` is quick."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["EmbedConfig"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedConfig:
    """Which encoder turns frames into vectors."""

    encoder: str = "efficientnet-lite0"
    """efficientnet-lite0 (in the installation, works offline), a timm model name, a folder that timm loads as local-dir:, or the encoder
    of an installed package"""
    image_size: int | None = None
    """side of the encoder's square input in pixels; the model's own where not given"""
    batch_size: int | None = None
    """images per forward pass; 16 on a CPU, where more gain nothing, and 128 on a GPU where not given"""
    device: str = "auto"
    """auto, cpu or cuda"""
    allow_download: bool = False
    """let timm fetch weights of a named model from the Hugging Face hub"""

    def __post_init__(self) -> None:
        if not self.encoder:
            raise ValueError("encoder is empty; give efficientnet-lite0, a timm model name or a folder")
        if self.image_size is not None and self.image_size < 32:
            raise ValueError(f"image_size {self.image_size} is too small for an encoder; give at least 32, or leave it out")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size {self.batch_size} holds no image; give 1 or more")

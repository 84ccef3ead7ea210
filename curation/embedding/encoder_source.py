"""Where an encoder comes from, as one record: what it is, how it is loaded, and what it wants to see.

A package adds an encoder by an entry point of the group `endoforge.encoders` that names an `EncoderSource`; examples/encoder_example shows
one. The built-in ones are such records too. Free of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["EncoderSource", "Preprocessing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preprocessing:
    """How an encoder wants its images, in timm's terms."""

    image_size: int
    """side of the square input in pixels"""
    mean: tuple[float, ...]
    """per RGB channel, of values in 0-1"""
    std: tuple[float, ...]
    """per RGB channel, of values in 0-1"""
    interpolation: str
    """nearest, bilinear, bicubic or lanczos"""
    crop_pct: float
    """share of the resized image's shorter side that the crop keeps"""
    crop_mode: str
    """center (resize the shorter side, crop the middle), squash (ignore the aspect ratio) or border (fit the longer side, pad)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSource:
    """An encoder as its makers published it."""

    name: str
    """what `--encoder` says; of a package's encoder also the name of its entry point: letters, digits, dot, dash and underscore"""
    architecture: str
    """what the network is; part of the encoder's id, so another one whenever the same weights give other vectors"""
    preprocessing: Preprocessing
    load: Callable[[], Any]
    """gives a `torch.nn.Module` that maps (n, 3, image_size, image_size) float32, in any memory layout, to (n, dim)"""
    takes_any_size: bool = False
    """whether `--image-size` may ask for other images than `preprocessing.image_size`"""
    is_timm: bool = False
    """whether `timm.create_model(architecture)` builds the same network; if so it can be exported, and scored on masks too"""

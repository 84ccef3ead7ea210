"""What the network sees: crops, masks, and views of clips."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pretrain.config.requirements import require, require_range

__all__ = ["VIDEO_ARCHITECTURE", "AugmentConfig", "MaskConfig", "VideoConfig"]

VIDEO_ARCHITECTURE = "divided_space_time_vit"
"""The architecture of video recipes, and of the `config.json` of what they export."""
_BLUR_PRESETS = {"released": (0.0, 0.9, 0.5), "paper": (1.0, 0.1, 0.5)}


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
        require(self.local_size > 0, f"local_size is {self.local_size}; give a positive number of pixels")
        require(self.num_local >= 0, f"num_local is {self.num_local}; give 0 or more")
        require_range("global_scale", self.global_scale, 1.0)
        require_range("local_scale", self.local_scale, 1.0)
        probabilities = (self.hflip_p, self.vflip_p, self.jitter_p, self.gray_p, self.solarize_p, *self.blur_probabilities)
        require(all(0 <= p <= 1 for p in probabilities), f"probabilities of augmentation are {probabilities}; each must be in [0, 1]")
        require(0 <= self.hue <= 0.5, f"hue is {self.hue}; give a number in [0, 0.5]")

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
        require(0 < self.probability <= 1, f"mask probability is {self.probability}; give a number in (0, 1], or set the iBOT weight to 0")
        require_range("mask ratio", self.ratio, 1.0)
        require(0 < self.min_aspect <= 1, f"min_aspect is {self.min_aspect}; give a number in (0, 1]")


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
        require(
            min(self.num_frames, *self.global_frames, *self.local_frames) > 0,
            f"num_frames is {self.num_frames}, global_frames {self.global_frames} and local_frames {self.local_frames}; give 1 or more",
        )
        require(self.num_registers >= 0, f"num_registers is {self.num_registers}; give 0 or more")
        require(self.mlp_ratio > 0, f"mlp_ratio is {self.mlp_ratio}; give a positive number")
        require(self.init_std > 0, f"init_std is {self.init_std}; give a positive number")
        require(self.min_frames > 0, f"min_frames is {self.min_frames}; give 1 or more")
        require(
            self.window_frames >= self.min_frames,
            f"window_frames {self.window_frames} is less than min_frames {self.min_frames}; give as many or more",
        )

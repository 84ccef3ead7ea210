"""The same frozen network in fewer passes over its activations, which on a CPU are what its time goes into."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from timm.layers.norm_act import BatchNormAct2d
from timm.layers.padding import pad_same
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["fold_batch_norm", "fuse_convolutions", "noise_features"]


def fold_batch_norm(module: torch.nn.Module, image_size: int) -> torch.nn.Module:
    """The same function with each batch norm merged into the convolution before it, a third faster on a CPU; as it was where that fails.

    A batch norm that follows a convolution among a block's layers need not follow it in the computation, so the result is compared.
    """
    folded = copy.deepcopy(module)
    for parent in list(folded.modules()):
        layers = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(layers):
            if isinstance(conv, torch.nn.Conv2d) and isinstance(norm, torch.nn.BatchNorm2d) and conv.out_channels == norm.num_features:
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, norm.act if isinstance(norm, BatchNormAct2d) else torch.nn.Identity())
    return folded if _same_function(module, folded, image_size) else module


class ConvolutionOf(torch.nn.Module):
    """A convolution on a CPU that clamps each sum before it writes it, with its weights in the order in which the kernel reads them.

    These are the operators of oneDNN that PyTorch's own compiler puts in a network's place; the values are the same. Images come in
    channels-last layout, without gradients.
    """

    def __init__(self, conv: torch.nn.Conv2d, activation: torch.nn.Module | None) -> None:
        super().__init__()
        self.conv = conv
        self._pads_like_tensorflow = type(conv).__name__ == "Conv2dSame"
        self._padding = [0, 0] if self._pads_like_tensorflow else list(map(int, conv.padding))
        self._activation: tuple[str, list[float]] = {
            type(None): ("none", []),
            torch.nn.ReLU: ("relu", []),
            torch.nn.ReLU6: ("hardtanh", [0.0, 6.0]),
        }[type(activation)]
        self._packed: torch.Tensor | None = None
        self._packed_for: torch.Size | None = None

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, channels, height, width) to the same of the convolution and its activation."""
        conv = self.conv
        geometry: Any = (self._padding, list(conv.stride), list(conv.dilation), conv.groups)
        if self._pads_like_tensorflow:
            images = pad_same(images, list(conv.kernel_size), list(conv.stride), list(conv.dilation))
        if self._packed is None or self._packed_for != images.shape:  # the best order depends on the shape
            self._packed = torch.ops.mkldnn._reorder_convolution_weight(conv.weight, *geometry, list(images.shape))
            self._packed_for = images.shape
        result: torch.Tensor = torch.ops.mkldnn._convolution_pointwise(images, self._packed, conv.bias, *geometry, *self._activation, "")
        return result


def fuse_convolutions(module: torch.nn.Module, image_size: int) -> torch.nn.Module:
    """The same function with each convolution and the ReLU or ReLU6 behind it in one step; as it was where that fails.

    What stands behind a convolution in a block need not be computed behind it, so the result is compared.
    """
    fused = copy.deepcopy(module)
    for parent in list(fused.modules()):
        layers = [(name, layer) for name, layer in parent.named_children() if not isinstance(layer, torch.nn.Identity)]
        for (name, layer), (next_name, following) in itertools.pairwise([*layers, ("", torch.nn.Identity())]):
            if not isinstance(layer, torch.nn.Conv2d) or isinstance(layer.padding, str) or layer.padding_mode != "zeros":
                continue
            activation = following if type(following) in (torch.nn.ReLU, torch.nn.ReLU6) else None
            setattr(parent, name, ConvolutionOf(layer, activation))
            if activation is not None:
                setattr(parent, next_name, torch.nn.Identity())
    return fused if _same_function(module, fused, image_size) else module


def _same_function(before: torch.nn.Module, after: torch.nn.Module, image_size: int) -> bool:
    expected = noise_features(before, image_size)
    try:
        found = noise_features(after, image_size)
    except (AttributeError, RuntimeError, TypeError):  # this build of PyTorch has no such oneDNN, or the network reaches into its layers
        return False
    return torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))


@torch.inference_mode()
def noise_features(module: torch.nn.Module, image_size: int) -> torch.Tensor:
    """Features, (1, dim), of one image of noise, always the same."""
    features: torch.Tensor = module(torch.randn(1, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)))
    if features.ndim != 2:
        raise ValueError(
            f"the encoder gives features of shape {tuple(features.shape)}, not one vector an image; choose a model that pools them"
        )
    return features

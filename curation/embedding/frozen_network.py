"""The same frozen network in less time: batch norms folded, and on a CPU convolutions run by ONNX Runtime."""

from __future__ import annotations

import copy
import io
import itertools
import warnings

import numpy as np
import onnxruntime
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["OnnxNetwork", "accelerated", "fold_batch_norm", "noise_features"]


def accelerated(module: torch.nn.Module, image_size: int, device: torch.device) -> torch.nn.Module:
    """The same function on a device, as fast as its libraries compute it.

    On a CPU ONNX Runtime takes a quarter of the time of timm's module for EfficientNet-Lite0 (tests/benchmarks/bench_embed.py). Measured
    once by hand, a small vision transformer took a fifth longer with it, so networks without batch norms stay with PyTorch.
    """
    if device.type == "cpu" and any(isinstance(layer, torch.nn.BatchNorm2d) for layer in module.modules()):
        network = _exported(module, image_size)
        if network is not None and _same_function(module, network, image_size):
            return network
    return fold_batch_norm(module, image_size).to(device).to(memory_format=torch.channels_last)


def fold_batch_norm(module: torch.nn.Module, image_size: int) -> torch.nn.Module:
    """The same function with each batch norm merged into the convolution before it; unchanged if that gives other features.

    A batch norm that follows a convolution among a block's layers need not follow it in the computation, so the features are compared.
    """
    folded = copy.deepcopy(module)
    for parent in list(folded.modules()):
        layers = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in itertools.pairwise(layers):
            if isinstance(conv, torch.nn.Conv2d) and isinstance(norm, torch.nn.BatchNorm2d) and conv.out_channels == norm.num_features:
                setattr(parent, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(parent, norm_name, norm.act if isinstance(norm, BatchNormAct2d) else torch.nn.Identity())
    return folded if _same_function(module, folded, image_size) else module


class OnnxNetwork(torch.nn.Module):
    """A network that ONNX Runtime computes, on one core, an image at a time.

    The activations of one image stay in the core's cache; batches of 32 took a fifth longer an image, measured once by hand.
    """

    def __init__(self, model: bytes) -> None:
        super().__init__()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1  # sums then never depend on the number of cores
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, channels, height, width) float32, best in channels-last layout, to (n, dim)."""
        pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
        return torch.from_numpy(np.concatenate([self._session.run(None, {"image": image[np.newaxis]})[0] for image in pixels]))


class _ChannelsLast(torch.nn.Module):
    """Takes images as they lie in memory, so that ONNX Runtime and not PyTorch lays them out again."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(n, height, width, channels) to (n, dim)."""
        features: torch.Tensor = self.module(images.permute(0, 3, 1, 2))
        return features


def _exported(module: torch.nn.Module, image_size: int) -> OnnxNetwork | None:
    """None if the network cannot be exported.

    PyTorch's older exporter takes 0.6 s for EfficientNet-Lite0, its newer one 12 s, and every worker exports for itself.
    """
    file = io.BytesIO()
    image = torch.zeros(1, image_size, image_size, 3)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of the exporter's age, and of sizes that become constants
            # its types say path; the older exporter takes a file too
            torch.onnx.export(
                _ChannelsLast(module).eval(),
                (image,),
                file,  # type: ignore[arg-type]
                dynamo=False,
                input_names=["image"],
            )
        return OnnxNetwork(file.getvalue()).eval()
    except (RuntimeError, TypeError, ValueError):  # an operator or a shape that one of the two does not know
        return None


def _same_function(before: torch.nn.Module, after: torch.nn.Module, image_size: int) -> bool:
    expected = noise_features(before, image_size)
    try:
        found = noise_features(after, image_size)
    except (AttributeError, RuntimeError, TypeError):  # the network reaches into its layers
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

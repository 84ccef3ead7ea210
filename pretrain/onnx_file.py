"""A backbone as an ONNX file for any batch of images of one size, put in place only after ONNX Runtime has computed the same features."""

from __future__ import annotations

import copy
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from warehouse.store import atomic_file

__all__ = ["TOLERANCE", "OnnxError", "write_onnx"]

TOLERANCE = 1e-4
"""Largest difference allowed between the features of ONNX Runtime and PyTorch, in units of their standard deviation if that is above 1."""

_MAX_BYTES = 2_000_000_000
_OPSET = 17
_OUTPUTS = ("features", "patch_tokens")
_CHECKED_BATCHES = (1, 3)
"""Batches that the file is checked on; it is traced with two images."""


class OnnxError(ValueError):
    """A network that cannot be written, or whose file computes something else; the message says which."""


class _Features(nn.Module):
    """Pooled features and patch tokens in one pass."""

    def __init__(self, backbone: VisionTransformer) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, 3, side, side) to (batch, dim) and (batch, patches, dim), both after the final norm."""
        tokens = self.backbone.forward_features(images)
        return self.backbone.forward_head(tokens, pre_logits=True), tokens[:, self.backbone.num_prefix_tokens :]


def write_onnx(backbone: VisionTransformer, path: Path, *, image_size: int, metadata: Mapping[str, str]) -> float:
    """Write a file with the input `image` and the outputs `features` and `patch_tokens`.

    Args:
        backbone: on the CPU, built for `image_size`.
        path: of the file; it is there only if it was checked.
        image_size: side in pixels, fixed in the file.
        metadata: what a reader has to know, such as mean and std of the input.

    Returns:
        The largest difference found between ONNX Runtime and PyTorch.

    Raises:
        OnnxError: the weights are too large for one file, a part of the network has no ONNX operator, or the features differ.
    """
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in backbone.state_dict().values())
    if num_bytes > _MAX_BYTES:
        raise OnnxError(f"the weights have {num_bytes / 1e9:.1f} GB and an ONNX file holds 2; export it for timm or in DINOv2's layout")
    if backbone.patch_embed.img_size != (image_size, image_size):
        raise OnnxError(
            f"the backbone takes {backbone.patch_embed.img_size} pixels and {image_size} are asked for; set its input size first"
        )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        traced = Path(folder, "traced.onnx")
        _trace(_Features(_of_one_size(backbone)).eval(), traced, image_size)
        model = onnx.load(traced)
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model)
        content = model.SerializeToString()
    difference = _largest_difference(_Features(backbone).eval(), content, image_size)
    with atomic_file(path) as file:
        file.write(content)
    return difference


def _of_one_size(backbone: VisionTransformer) -> VisionTransformer:
    """A copy that takes one size of images, by operators that ONNX has."""
    fixed: Any = copy.deepcopy(backbone).eval().requires_grad_(False)
    fixed.dynamic_img_size = False
    fixed.patch_embed.strict_img_size, fixed.patch_embed.dynamic_img_pad, fixed.patch_embed.flatten = True, False, True
    network: VisionTransformer = fixed
    return network


def _trace(network: nn.Module, path: Path, image_size: int) -> None:
    images = torch.zeros(2, 3, image_size, image_size)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of the exporter's age, and of sizes that become constants
            torch.onnx.export(
                network,
                (images,),
                str(path),
                dynamo=False,  # the newer exporter needs a further package and ten times as long
                opset_version=_OPSET,
                input_names=["image"],
                output_names=list(_OUTPUTS),
                dynamic_axes={name: {0: "batch"} for name in ("image", *_OUTPUTS)},
            )
    except (RuntimeError, TypeError, ValueError) as error:
        raise OnnxError(f"the network has a part that ONNX cannot express ({str(error).splitlines()[0]}); export it for timm") from error


@torch.inference_mode()
def _largest_difference(network: nn.Module, content: bytes, image_size: int) -> float:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    largest = 0.0
    for batch in _CHECKED_BATCHES:
        images = torch.randn(batch, 3, image_size, image_size, generator=generator)
        computed = session.run(None, {"image": images.numpy()})
        for name, expected, found in zip(_OUTPUTS, network(images), computed, strict=True):
            if tuple(found.shape) != tuple(expected.shape):
                raise OnnxError(f"ONNX Runtime gives {name} of shape {found.shape}, PyTorch {tuple(expected.shape)}; export it for timm")
            difference = float((torch.from_numpy(found) - expected).abs().max())
            largest = max(largest, difference)
            if not difference <= TOLERANCE * max(1.0, float(expected.std())):
                raise OnnxError(f"ONNX Runtime's {name} differ from PyTorch's by {difference:.2g}; nothing was written, export it for timm")
    return largest

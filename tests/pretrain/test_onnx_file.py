from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from pretrain.onnx_file import OnnxError, write_onnx

SIZES: dict[str, Any] = {"img_size": 28, "patch_size": 14, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 0}


def backbone(**changed: Any) -> Any:
    torch.manual_seed(0)
    model = timm.create_model("vit_small_patch14_reg4_dinov2", dynamic_img_size=True, **{**SIZES, **changed}).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def test_onnx_runtime_gives_the_features_of_any_batch(tmp_path: Path) -> None:
    model = backbone()
    difference = write_onnx(model, tmp_path / "model.onnx", image_size=28, metadata={"mean": "[0.5, 0.5, 0.5]"})
    assert 0 <= difference < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    assert session.get_modelmeta().custom_metadata_map["mean"] == "[0.5, 0.5, 0.5]"
    assert [(put.name, put.shape, put.type) for put in session.get_inputs()] == [("image", ["batch", 3, 28, 28], "tensor(float)")]
    for batch in (1, 2, 5):
        images = torch.rand(batch, 3, 28, 28)
        features, patches = session.run(None, {"image": images.numpy()})
        with torch.no_grad():
            expected = model.forward_features(images)
        assert features.shape == (batch, 24)
        np.testing.assert_allclose(features, expected[:, 0], atol=1e-4)
        np.testing.assert_allclose(patches, expected[:, 5:], atol=1e-4)
    assert model.dynamic_img_size  # the module that was given is as it was


class Drifting(VisionTransformer):
    """Gives other features at each call, as a network with a fault that tracing hides."""

    calls = 0

    def forward_features(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        self.calls += 1
        features: Tensor = super().forward_features(x) + 0.001 * self.calls
        return features


def test_a_file_with_other_features_is_not_put_in_place(tmp_path: Path) -> None:
    with pytest.raises(OnnxError, match=r"features differ from PyTorch's by 0\.00\d+; nothing was written"):
        write_onnx(Drifting(**SIZES).eval(), tmp_path / "model.onnx", image_size=28, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_weights_above_two_gigabytes_and_other_sizes_are_refused(tmp_path: Path) -> None:
    with torch.device("meta"):
        giant: Any = timm.create_model("vit_giant_patch14_reg4_dinov2", num_classes=0, img_size=224)
    with pytest.raises(OnnxError, match=r"weights have 4\.5 GB and an ONNX file holds 2"):
        write_onnx(giant, tmp_path / "model.onnx", image_size=224, metadata={})
    with pytest.raises(OnnxError, match="set its input size first"):
        write_onnx(backbone(), tmp_path / "model.onnx", image_size=42, metadata={})

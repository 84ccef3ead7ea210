"""Files of weights as others write them, as folders that timm loads: features equal the writer's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision

from pretrain.init_source import find_init
from pretrain.published_backbone import export_published
from tests.helpers.published import dinov2_layout


def loaded(folder: Path) -> Any:
    return timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()


def test_torchvisions_resnet_gives_torchvisions_features(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18(weights=None).eval()
    torch.save({"teacher": {f"backbone.{name}": value for name, value in theirs.state_dict().items()}}, tmp_path / "gastronet.pth")
    said = export_published(find_init(str(tmp_path / "gastronet.pth")), tmp_path / "folder")
    assert said == f"--init {tmp_path / 'gastronet.pth'}: 120 tensors of resnet18 loaded, 2 of a classifier left out"
    images = torch.rand(2, 3, 64, 64)
    theirs.fc = torch.nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(loaded(tmp_path / "folder")(images), theirs(images))


def test_dinov2s_file_gives_its_tokens(tmp_path: Path) -> None:
    model: Any = timm.create_model("vit_small_patch14_reg4_dinov2", img_size=224, num_classes=0).eval()
    torch.save(dinov2_layout(model), tmp_path / "dinov2.pth")
    export_published(find_init(str(tmp_path / "dinov2.pth")), tmp_path / "folder")
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        torch.testing.assert_close(
            loaded(tmp_path / "folder").forward_features(images), model.forward_features(images), rtol=1e-4, atol=1e-4
        )


def test_a_resnet_of_no_known_depth_and_one_with_a_part_too_many_are_refused(tmp_path: Path) -> None:
    state = torchvision.models.resnet18(weights=None).state_dict()
    torch.save({name: value for name, value in state.items() if not name.startswith("layer4.1")}, tmp_path / "short.pth")
    torch.save(state | {"extra.weight": torch.zeros(1)}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match="residual network of no size that timm has"):
        export_published(find_init(str(tmp_path / "short.pth")), tmp_path / "a")
    with pytest.raises(ValueError, match=r"is no resnet18 of torchvision: extra\.weight differ"):
        export_published(find_init(str(tmp_path / "more.pth")), tmp_path / "b")

"""Reference values come from DINOv2's DINOHead (facebookresearch/dinov2, b8931f7) on the same closed-form input."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from pretrain.config import HeadConfig, PretrainConfig
from pretrain.drop_path import KeptRows
from pretrain.model import PrototypeHead, build_network, forward_tokens, update_teacher
from pretrain.parallel import current_worker
from pretrain.state import build_state


def closed_form(*shape: int, a: float, s: float = 1.0, b: float = 0.11) -> Tensor:
    i = np.arange(math.prod(shape), dtype=np.float64)
    return torch.from_numpy((s * np.sin(a * i + b) * np.cos(0.013 * i)).astype(np.float32)).view(*shape)


def test_head_gives_the_reference_logits() -> None:
    head = PrototypeHead(384, HeadConfig(num_prototypes=16, hidden_dim=32, bottleneck_dim=8))
    with torch.no_grad():
        for number, (name, parameter) in enumerate(head.named_parameters()):
            parameter.copy_(
                torch.ones_like(parameter) if name.endswith("weight_g") else closed_form(*parameter.shape, a=0.3 + 0.05 * number, s=0.1)
            )
        logits = head(closed_form(5, 384, a=0.9))
    assert float(logits.sum()) == pytest.approx(6.7683331, rel=1e-5)
    assert float(logits.square().sum()) == pytest.approx(27.2000107, rel=1e-5)
    assert logits[0, :4].tolist() == pytest.approx([0.7875798, 0.4534756, -0.3711745, -0.8040320], rel=1e-4)


def test_moving_average_gives_the_reference_values() -> None:
    teacher = [closed_form(7, a=0.37)]
    update_teacher(teacher, [closed_form(7, a=0.9)], 0.994, skip=torch.zeros(()))
    assert float(teacher[0].sum()) == pytest.approx(4.8763842, rel=1e-6)
    assert teacher[0][:4].tolist() == pytest.approx([0.1097783, 0.4640503, 0.7521765, 0.9347067], rel=1e-6)


def test_a_skipped_moving_average_leaves_the_teacher_whatever_the_student_holds() -> None:
    teacher = [closed_form(7, a=0.37)]
    update_teacher(teacher, [torch.full((7,), torch.nan)], 0.994, skip=torch.ones(()))
    assert torch.equal(teacher[0], closed_form(7, a=0.37))


@pytest.mark.parametrize("architecture", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_tokens_without_a_mask_are_those_of_timm_at_both_sizes_of_crop(architecture: str) -> None:
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0, depth=2, patch_size=8, img_size=32, dynamic_img_size=True).eval()
    assert isinstance(model, VisionTransformer)
    for side in (32, 16):
        images = torch.rand(2, 3, side, side)
        with torch.no_grad():
            cls, patches = forward_tokens(model, images)
            expected = model.forward_features(images)
        assert torch.equal(cls, expected[:, 0])
        assert torch.equal(patches, expected[:, model.num_prefix_tokens :])


def test_a_convolutional_stem_counts_patches_in_pixels_of_the_image(micro: PretrainConfig) -> None:
    stem = dataclasses.replace(micro.model, architecture="vit_tiny_r_s16_p8_224")
    network = build_network(dataclasses.replace(micro, model=stem), student=False)
    _, patches = forward_tokens(network.backbone, torch.rand(2, 3, 32, 32), torch.zeros(2, 16, dtype=torch.bool), network.mask_token)
    assert patches.shape == (2, 16, 24)
    with pytest.raises(ValueError, match="not a multiple of 4"):
        build_network(dataclasses.replace(micro, model=dataclasses.replace(stem, patch_size=2)), student=False)


def test_hidden_patches_do_not_reach_the_student_and_reach_the_teacher(micro: PretrainConfig) -> None:
    network = build_network(micro, student=True).eval()
    masks = torch.zeros(2, 16, dtype=torch.bool)
    masks[:, 5] = True
    images = torch.rand(2, 3, 32, 32)
    changed = images.clone()
    changed[:, :, 8:16, 8:16] = 0  # patch 5 of a 4 by 4 grid
    with torch.no_grad():
        where = masks.flatten().nonzero().squeeze(1)
        hidden = [network(x, masks, where, hide=True).patch_logits for x in (images, changed)]
        seen = [network(x, masks, where, hide=False).patch_logits for x in (images, changed)]
    torch.testing.assert_close(hidden[0], hidden[1])
    assert not torch.allclose(seen[0], seen[1])


def test_teacher_takes_no_gradient(micro: PretrainConfig) -> None:
    teacher = build_network(micro, student=False)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.training


def test_activation_checkpointing_changes_no_gradient(micro: PretrainConfig) -> None:
    network = build_network(micro, student=True)
    images, masks = torch.rand(4, 3, 32, 32), torch.ones(4, 16, dtype=torch.bool)
    rows = torch.tensor([[[0, 2], [1, 3]], [[0, 1], [2, 0]]])
    places = torch.tensor([[[0, -1, 1, -1], [-1, 0, -1, 1]], [[0, 1, -1, -1], [-1, -1, 0, -1]]])
    kept = KeptRows(rows, places, torch.tensor([[2, 2], [2, 1]]), 2.0)
    first: Any = network.backbone.blocks[0]
    gradients = []
    for recompute in (False, True):
        network.activation_checkpointing = recompute
        network.zero_grad()
        torch.autograd.backward(network(images, masks, torch.arange(64), hide=True, kept_global=kept).patch_logits.square().sum())
        gradients.append(first.mlp.fc1.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_an_architecture_that_is_no_vit_is_refused_by_name(micro: PretrainConfig) -> None:
    config = dataclasses.replace(micro, model=dataclasses.replace(micro.model, architecture="resnet18"))
    with pytest.raises(ValueError, match="resnet18"):
        build_network(config, student=True)


def test_student_and_teacher_share_no_storage(micro: PretrainConfig) -> None:
    state = build_state(micro, current_worker(micro.train, use_gpu=False))
    ours, theirs = (
        {tensor.untyped_storage().data_ptr() for tensor in network.state_dict().values()}
        for network in (state.student_network, state.teacher_network)
    )
    assert not ours & theirs
    assert all(torch.equal(a, b) for a, b in zip(state.student_network.parameters(), state.teacher_network.parameters(), strict=True))

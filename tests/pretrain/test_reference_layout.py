"""The layout of DINOv2's public files, read by timm's own loader and by its formulas."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from torch import Tensor

from pretrain.reference_layout import LayoutError, reference_arguments, reference_names, reference_state, write_reference

SIZES: dict[str, Any] = {"img_size": 28, "embed_dim": 24, "depth": 2, "num_heads": 2}
ARCHITECTURES = ["vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_giant_patch14_reg4_dinov2"]


def backbone(architecture: str, **changed: Any) -> Any:
    """A tiny network of which every weight is of some size."""
    torch.manual_seed(0)
    model = timm.create_model(architecture, num_classes=0, **{**SIZES, **changed}).eval().requires_grad_(False)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model


def by_formulas(state: dict[str, Tensor], images: Tensor, *, num_heads: int) -> Tensor:
    """Class tokens as Oquab et al. 2023 and Darcet et al. 2024 define them, from the reference's names alone."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    patches = F.conv2d(images, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14).flatten(2).transpose(1, 2)
    x = torch.cat((state["cls_token"].expand(len(images), -1, -1), patches), 1) + state["pos_embed"]
    if "register_tokens" in state:
        x = torch.cat((x[:, :1], state["register_tokens"].expand(len(images), -1, -1), x[:, 1:]), 1)
    for block in (f"blocks.{number}" for number in range(2)):
        qkv = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x))
        qkv = qkv.reshape(*qkv.shape[:2], 3, num_heads, -1).permute(2, 0, 3, 1, 4)
        weights = (qkv[0] @ qkv[1].transpose(-2, -1) * qkv.shape[-1] ** -0.5).softmax(-1)
        mixed = linear(f"{block}.attn.proj", (weights @ qkv[2]).transpose(1, 2).flatten(2))
        x = x + state[f"{block}.ls1.gamma"] * mixed
        hidden = norm(f"{block}.norm2", x)
        if f"{block}.mlp.w12.weight" in state:
            gate, value = linear(f"{block}.mlp.w12", hidden).chunk(2, dim=-1)
            out = linear(f"{block}.mlp.w3", F.silu(gate) * value)
        else:
            out = linear(f"{block}.mlp.fc2", F.gelu(linear(f"{block}.mlp.fc1", hidden)))
        x = x + state[f"{block}.ls2.gamma"] * out
    return norm("norm", x)[:, 0]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_timm_loads_the_file_as_it_loads_the_public_ones(architecture: str, tmp_path: Path) -> None:
    model = backbone(architecture, init_values=1e-5)
    write_reference(model, None, tmp_path / "dinov2_pretrain.pth")
    overlay = {"file": str(tmp_path / "dinov2_pretrain.pth"), "hf_hub_id": None, "url": ""}
    read = timm.create_model(architecture, pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0, init_values=1e-5, **SIZES).eval()
    images = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        assert torch.equal(read(images), model(images))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_formulas_of_the_reference_give_equal_features(architecture: str, tmp_path: Path) -> None:
    model = backbone(architecture)
    write_reference(model, None, tmp_path / "dinov2_pretrain.pth")
    state = torch.load(tmp_path / "dinov2_pretrain.pth", weights_only=True)
    images = torch.rand(2, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(by_formulas(state, images, num_heads=2), model(images), rtol=1e-4, atol=1e-4)


def test_names_and_shapes_are_those_of_the_public_files() -> None:
    """175 weights of vit_small/14: ../shared/facts/pretraining.md, reference value 13."""
    assert len(reference_names(depth=12, has_registers=False, has_layer_scale=True, is_swiglu=False)) == 175
    state = reference_state(backbone("vit_small_patch14_reg4_dinov2"), torch.full((1, 24), 2.0))
    assert {name: tuple(state[name].shape) for name in state if not name.startswith("blocks.")} == {
        "cls_token": (1, 1, 24),
        "mask_token": (1, 24),
        "norm.bias": (24,),
        "norm.weight": (24,),
        "patch_embed.proj.bias": (24,),
        "patch_embed.proj.weight": (24, 3, 14, 14),
        "pos_embed": (1, 5, 24),  # 2 x 2 patches and the class token, as timm has it without registers only
        "register_tokens": (1, 4, 24),
    }
    assert state["pos_embed"][:, 0].abs().max() == 0
    assert state["mask_token"].mean() == 2
    assert sorted(name.removeprefix("blocks.1.") for name in state if name.startswith("blocks.1.")) == [
        *("attn.proj.bias", "attn.proj.weight", "attn.qkv.bias", "attn.qkv.weight", "ls1.gamma", "ls2.gamma"),
        *("mlp.fc1.bias", "mlp.fc1.weight", "mlp.fc2.bias", "mlp.fc2.weight"),
        *("norm1.bias", "norm1.weight", "norm2.bias", "norm2.weight"),
    ]


def test_the_arguments_name_the_function_of_the_size() -> None:
    with torch.device("meta"):
        small: Any = timm.create_model("vit_small_patch14_reg4_dinov2", num_classes=0, img_size=224)
        giant: Any = timm.create_model("vit_giant_patch14_reg4_dinov2", num_classes=0, img_size=224)
    told = reference_arguments(small)
    assert (told["function"], told["img_size"], told["num_heads"], told["num_register_tokens"], told["mlp_ratio"]) == (
        "vit_small",
        224,
        6,
        4,
        4.0,
    )
    told = reference_arguments(giant)
    assert (told["function"], told["ffn_layer"], told["mlp_ratio"]) == ("vit_giant2", "swiglufused", 4)
    assert reference_arguments(backbone("vit_small_patch14_dinov2"))["function"] is None


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: backbone("vit_small_patch16_224", qk_norm=True), r"lacks, or lacks some \(blocks\.0\.attn\.k_norm\.bias"),
        (lambda: backbone("vit_small_patch16_224", img_size=32, pre_norm=True), r"norm_pre\.bias"),
        (lambda: backbone("vit_base_patch16_clip_224", img_size=32), r"eps 1e-05"),
        (lambda: backbone("vit_small_patch16_224", img_size=32, act_layer="relu"), "activation is ReLU and DINOv2's is GELU"),
        (lambda: backbone("vit_small_patch16_224", img_size=32, reg_tokens=2), "position embedding is for other tokens"),
        (lambda: backbone("vit_small_patch16_224", img_size=32, class_token=False, global_pool="avg"), "no class token"),
    ],
)
def test_what_the_reference_cannot_compute_is_refused(make: Callable[[], Any], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match=sentence):
        write_reference(make(), None, tmp_path / "dinov2_pretrain.pth")
    assert list(tmp_path.iterdir()) == []

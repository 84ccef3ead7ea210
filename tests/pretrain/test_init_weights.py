"""Files of public layouts in a run's network; the foreign reader is timm's own loading of the same file."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from timm.layers.pos_embed import resample_abs_pos_embed
from torch import Tensor

from pretrain.config import ModelConfig, PretrainConfig
from pretrain.continuation import continued, model_of
from pretrain.init_source import InitSource, find_init
from pretrain.init_weights import Fitted, fit_init
from pretrain.model import Network, forward_tokens
from pretrain.parallel import current_worker
from pretrain.state import build_state
from tests.helpers.published import SIZES, dinov2_layout, dinov3_layout, tiny


def with_model(micro: PretrainConfig, architecture: str, *, img_size: int, patch_size: int) -> PretrainConfig:
    scale = 1e-5 if "dinov" in architecture else 0.0
    model = ModelConfig(architecture=architecture, img_size=img_size, patch_size=patch_size, layer_scale_init=scale, **SIZES)
    return dataclasses.replace(micro, model=model, augment=dataclasses.replace(micro.augment, local_size=patch_size))


def tokens(config: PretrainConfig, fitted: Fitted, images: Tensor) -> Tensor:
    """Class and patch tokens of the student that starts from fitted weights."""
    state = build_state(config, current_worker(config.train, use_gpu=False), initial=fitted.tensors)
    assert isinstance(state.student_network, Network)
    assert isinstance(state.teacher_network, Network)
    backbone = state.student_network.backbone.eval()
    with torch.no_grad():
        cls, patches = forward_tokens(backbone, images)
        assert torch.equal(forward_tokens(state.teacher_network.backbone, images)[0], cls)
    return torch.cat((cls[:, None], patches), dim=1)


def timm_tokens(config: PretrainConfig, path: Path, images: Tensor) -> Tensor:
    """The same as timm itself reads the file."""
    model: Any = timm.create_model(
        config.model.architecture,
        pretrained=True,
        pretrained_cfg_overlay={"file": str(path), "num_classes": 0, "custom_load": False},
        num_classes=0,
        img_size=config.model.img_size,
        patch_size=config.model.patch_size,
        dynamic_img_size=True,
        **SIZES,
    ).eval()
    with torch.no_grad():
        found = model.forward_features(images)
    return torch.cat((found[:, :1], found[:, model.num_prefix_tokens :]), dim=1)


def timm_layout(model: torch.nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


CASES: dict[str, tuple[str, int, int, Callable[[torch.nn.Module], dict[str, Tensor]]]] = {
    "registers": ("vit_small_patch14_reg4_dinov2", 70, 14, dinov2_layout),
    "no registers": ("vit_small_patch14_dinov2", 70, 14, dinov2_layout),
    "plain": ("vit_small_patch16_224", 80, 16, timm_layout),
    "DINOv3": ("vit_small_patch16_dinov3", 80, 16, dinov3_layout),
    "DINOv3 with biases": ("vit_small_patch16_dinov3_qkvb", 80, 16, dinov3_layout),
    "DINOv3 of timm": ("vit_small_patch16_dinov3", 80, 16, timm_layout),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("patches", [5, 3])
def test_tokens_are_those_of_timm_at_the_files_grid_and_at_another(case: str, patches: int, micro: PretrainConfig, tmp_path: Path) -> None:
    architecture, side, patch, layout = CASES[case]
    path = tmp_path / "weights.pth"
    torch.save(layout(tiny(architecture, img_size=side)), path)
    config = with_model(micro, architecture, img_size=patches * patch, patch_size=patch)
    fitted = fit_init(find_init(str(path)), config)
    resampled = patches != 5 and "DINOv3" not in case
    assert fitted.report.resampled == (("pos_embed 5x5 -> 3x3",) if resampled else ())
    images = torch.rand(2, 3, patches * patch, patches * patch, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(tokens(config, fitted, images), timm_tokens(config, path, images), rtol=1e-6, atol=1e-6)


def test_a_patch_embedding_of_another_size_is_resampled_as_timm_does_it(micro: PretrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "plain.safetensors"
    safetensors.torch.save_file(dict(tiny("vit_small_patch16_224", img_size=64).state_dict()), path)
    config = with_model(micro, "vit_small_patch16_224", img_size=56, patch_size=14)
    fitted = fit_init(find_init(str(path)), config)
    assert fitted.report.resampled == ("patch embedding 16x16 -> 14x14",)
    images = torch.rand(2, 3, 56, 56)
    torch.testing.assert_close(tokens(config, fitted, images), timm_tokens(config, path, images), rtol=1e-6, atol=1e-6)


def test_a_resampled_position_embedding_is_timms(micro: PretrainConfig, tmp_path: Path) -> None:
    state = dinov2_layout(tiny("vit_small_patch14_dinov2", img_size=70))
    torch.save(state, tmp_path / "w.pth")
    fitted = fit_init(find_init(str(tmp_path / "w.pth")), with_model(micro, "vit_small_patch14_dinov2", img_size=28, patch_size=14))
    expected = resample_abs_pos_embed(state["pos_embed"], new_size=[2, 2], num_prefix_tokens=1)
    assert torch.equal(fitted.tensors["backbone.pos_embed"], expected)


@pytest.fixture
def dinov2_config(micro: PretrainConfig) -> PretrainConfig:
    return with_model(micro, "vit_small_patch14_reg4_dinov2", img_size=42, patch_size=14)


def test_a_teachers_checkpoint_in_chunks_has_the_same_values_and_says_what_it_leaves_out(
    dinov2_config: PretrainConfig, tmp_path: Path
) -> None:
    model = tiny("vit_small_patch14_reg4_dinov2", img_size=70)
    torch.save(dinov2_layout(model), tmp_path / "flat.pth")
    teacher = {f"backbone.{name}": tensor for name, tensor in dinov2_layout(model, chunks=True).items()}
    teacher |= {"dino_head.mlp.0.weight": torch.ones(2, 2)}
    torch.save({"teacher": teacher, "iteration": 7}, tmp_path / "teacher.pth")
    flat, nested = (fit_init(find_init(str(tmp_path / name)), dinov2_config) for name in ("flat.pth", "teacher.pth"))
    assert flat.tensors.keys() == nested.tensors.keys()
    assert all(torch.equal(nested.tensors[name], tensor) for name, tensor in flat.tensors.items())
    assert nested.report.left_out == ("iteration", "dino_head of other sizes")
    assert torch.equal(nested.tensors["mask_token"], torch.linspace(0, 1, 32).view(1, 32))


def test_each_tensor_is_counted_once_in_one_line(dinov2_config: PretrainConfig, tmp_path: Path) -> None:
    path = tmp_path / "dinov2_vits14_reg4_pretrain.pth"
    torch.save(dinov2_layout(tiny("vit_small_patch14_reg4_dinov2", img_size=70)), path)
    report = fit_init(find_init(str(path)), dinov2_config).report
    # a block has 14 tensors; token, registers, positions, two of the patch embedding, two of the norm, mask token; a head has eight
    assert report.sentence() == (f"--init {path}: 35 tensors loaded, 1 resampled (pos_embed 5x5 -> 3x3), 16 fresh (dino_head, ibot_head)")
    state = build_state(dinov2_config, current_worker(dinov2_config.train, use_gpu=False))
    assert 35 + 1 + 16 == len(state.student_network.state_dict())
    (sha256,) = report.files.values()
    assert len(sha256) == 64


def test_registers_are_fresh_in_a_model_that_has_them(dinov2_config: PretrainConfig, tmp_path: Path) -> None:
    state = dinov2_layout(tiny("vit_small_patch14_dinov2", img_size=42))
    torch.save(state, tmp_path / "w.pth")
    fitted = fit_init(find_init(str(tmp_path / "w.pth")), dinov2_config)
    assert "backbone.reg_token" in fitted.report.fresh
    assert torch.equal(fitted.tensors["backbone.cls_token"], state["cls_token"] + state["pos_embed"][:, :1])


def spoil(state: dict[str, Tensor], case: str) -> Any:
    if case == "unknown":
        return state | {"blocks.0.adapter.weight": torch.ones(3)}
    if case == "missing":
        return {name: tensor for name, tensor in state.items() if not name.startswith("blocks.1.mlp")}
    if case == "shape":
        return state | {"blocks.1.mlp.fc2.weight": torch.ones(32, 64)}
    if case == "scale":
        return {name: tensor for name, tensor in state.items() if "gamma" not in name}
    if case == "not finite":
        return state | {"norm.bias": torch.full((32,), torch.nan)}
    if case == "code":
        return {"model": state, "args": argparse.Namespace(lr=1)}
    if case == "list":
        return list(state.values())
    return {"epoch": 3}


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("unknown", r"has blocks\.0\.adapter\.weight, for which vit_small_patch14_reg4_dinov2 has no place"),
        ("missing", r"lacks blocks\.1\.mlp\.fc1\.bias, .* of vit_small_patch14_reg4_dinov2"),
        ("shape", r"blocks\.1\.mlp\.fc2\.weight is 32x64 there and 32x128 in the model"),
        ("scale", r"lacks blocks\.0\.ls1\.gamma, .*model\.layer_scale_init"),
        ("not finite", r"norm\.bias of --init .* has values that are not finite"),
        ("code", r"holds more than tensors.*save its state dict alone"),
        ("list", r"holds a list in place of named tensors"),
        ("empty", r"has no tensors under its names epoch"),
    ],
)
def test_what_would_be_ignored_or_does_not_fit_is_refused_by_name(
    case: str, sentence: str, dinov2_config: PretrainConfig, tmp_path: Path
) -> None:
    torch.save(spoil(dinov2_layout(tiny("vit_small_patch14_reg4_dinov2", img_size=42)), case), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=sentence):
        fit_init(find_init(str(tmp_path / "w.pth")), dinov2_config)


def test_a_file_cut_short_and_other_files_are_refused(dinov2_config: PretrainConfig, tmp_path: Path) -> None:
    torch.save(dinov2_layout(tiny("vit_small_patch14_reg4_dinov2", img_size=42)), tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for name, content in (("cut.pth", whole[: len(whole) // 2]), ("cut.safetensors", whole[:100]), ("page.pth", b"<html>not found</html>")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"--init .*{name} (is not a whole file of weights|holds more than tensors)"):
            fit_init(find_init(str(tmp_path / name)), dinov2_config)


def test_a_folder_of_timm_tells_its_model_and_normalisation(micro: PretrainConfig, tmp_path: Path) -> None:
    model = tiny("vit_tiny_patch16_224", img_size=64)
    timm.models.save_for_hf(model, str(tmp_path / "export"), model_args={**SIZES, "img_size": 64, "dynamic_img_size": True})
    source = find_init(str(tmp_path / "export"))
    assert (source.architecture, source.mean) == ("vit_tiny_patch16_224", (0.5, 0.5, 0.5))
    config = continued("micro", micro, source)
    assert config.model == ModelConfig(
        architecture="vit_tiny_patch16_224", img_size=32, patch_size=16, layer_scale_init=0.0, drop_path_rate=0.3, **SIZES
    )
    assert (config.augment.mean, config.augment.local_size) == ((0.5, 0.5, 0.5), 16)
    images = torch.rand(2, 3, 32, 32)
    read: Any = timm.create_model(f"local-dir:{tmp_path / 'export'}", pretrained=True, num_classes=0).eval()
    with torch.no_grad():
        expected = read.forward_features(images)
    torch.testing.assert_close(tokens(config, fit_init(source, config), images), expected, rtol=1e-6, atol=1e-6)


def test_names_are_found_in_the_hubs_cache_and_nowhere_else(tmp_path: Path) -> None:
    name, revision = "vit_small_patch14_reg4_dinov2.lvd142m", "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / f"models--timm--{name}"
    snapshot = repository / "snapshots" / revision
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(revision)
    safetensors.torch.save_file(dict(tiny("vit_small_patch14_reg4_dinov2", img_size=42).state_dict()), snapshot / "model.safetensors")
    source = find_init(name, cache=tmp_path)
    assert (source.weights.resolve(), source.architecture) == (snapshot / "model.safetensors", "vit_small_patch14_reg4_dinov2")
    with pytest.raises(ValueError, match=r"weights of --init vit_base_patch14_dinov2 are not on this machine; add --allow-download"):
        find_init("vit_base_patch14_dinov2", cache=tmp_path)
    with pytest.raises(ValueError, match=r"--init weights/mine\.pth is no file or folder here"):
        find_init("weights/mine.pth", cache=tmp_path)


def test_folders_without_a_timm_model_are_refused(tmp_path: Path) -> None:
    for content, sentence in (
        ('{"model_type": "dinov2"}', r"is of transformers \(dinov2\)"),
        ("{", "names no architecture of timm"),
        ('{"architecture": "vit_tiny_patch16_224", "model_args": {"act_layer": "relu"}}', "act_layer, which a run cannot keep"),
    ):
        (tmp_path / "config.json").write_text(content)
        (tmp_path / "model.safetensors").write_bytes(b"")
        with pytest.raises(ValueError, match=sentence):
            find_init(str(tmp_path))


@pytest.mark.parametrize(
    ("architecture", "patch", "layout", "scale"),
    [
        ("vit_small_patch14_reg4_dinov2", 14, dinov2_layout, 1e-5),
        ("vit_small_patch14_dinov2", 14, dinov2_layout, 1e-5),
        ("vit_small_patch16_224", 16, timm_layout, 0.0),
        ("vit_small_patch16_dinov3", 16, dinov3_layout, 1e-5),
        ("vit_small_patch16_dinov3_qkvb", 16, dinov3_layout, 1e-5),
    ],
)
def test_the_model_of_a_file_is_read_from_its_tensors(
    architecture: str, patch: int, layout: Any, scale: float, micro: PretrainConfig, tmp_path: Path
) -> None:
    torch.save(layout(tiny(architecture, img_size=4 * patch, embed_dim=64)), tmp_path / "w.pth")
    found = model_of(InitSource(told="w", weights=tmp_path / "w.pth"), dataclasses.replace(micro.model, img_size=64))
    assert (found.architecture, found.patch_size, found.embed_dim, found.depth) == (architecture, patch, 64, 2)
    assert (found.img_size % patch, found.num_heads, found.layer_scale_init) == (0, 1, scale)


def test_a_continuation_has_a_quarter_of_the_rate_and_frozen_steps_but_the_last_phase_its_own_rate(
    micro: PretrainConfig, tmp_path: Path
) -> None:
    torch.save(dinov2_layout(tiny("vit_small_patch14_reg4_dinov2", img_size=42)), tmp_path / "w.pth")
    source = find_init(str(tmp_path / "w.pth"))
    optim = dataclasses.replace(micro.optim, freeze_last_layer_steps=2)
    recipe = dataclasses.replace(micro, optim=optim)
    assert continued("small", recipe, source).optim == dataclasses.replace(optim, base_lr=2.5e-3, freeze_backbone_steps=4)
    assert continued("vits14-hires", recipe, source).optim.base_lr == 1e-2

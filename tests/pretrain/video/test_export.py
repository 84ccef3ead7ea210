"""A written video backbone loads as it was; damage is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from pretrain.video.export import is_video_backbone, load_video_backbone, read_video_info, write_video_backbone
from tests.pretrain.video.filler import det, small_network


def test_a_network_comes_back_as_it_was_written(tmp_path: Path) -> None:
    model, clip = small_network(), det((1, 3, 4, 32, 32), 0.0371)
    write_video_backbone(model, tmp_path, mean=(0.1, 0.2, 0.3), std=(1, 2, 3), card={"step": 7})
    assert is_video_backbone(tmp_path)
    assert read_video_info(tmp_path).mean == (0.1, 0.2, 0.3)
    again = load_video_backbone(tmp_path)
    assert again.sizes == model.sizes
    assert again(clip).cls.equal(model(clip).cls)
    told = json.loads((tmp_path / "config.json").read_bytes())
    assert (told["architecture"], told["num_frames"], told["endoforge"]) == ("divided_space_time_vit", 4, {"step": 7})
    assert len(safetensors.torch.load_file(tmp_path / "model.safetensors")) == len(list(model.parameters()))


def test_another_folder_is_refused_with_what_it_is(tmp_path: Path) -> None:
    assert not is_video_backbone(tmp_path)
    with pytest.raises(ValueError, match=r"has no config\.json; give a folder that a video recipe exported"):
        load_video_backbone(tmp_path)
    (tmp_path / "config.json").write_text('{"architecture": "vit_small_patch14_dinov2"}')
    with pytest.raises(ValueError, match=r"'vit_small_patch14_dinov2', and a video backbone has 'divided_space_time_vit'"):
        load_video_backbone(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    model = small_network()
    write_video_backbone(model, tmp_path)
    weights = model.state_dict()
    write_video_backbone(model.sizes, tmp_path, weights={name: value for name, value in weights.items() if name != "cls_token"})
    with pytest.raises(ValueError, match=r"do not fit its config\.json .*cls_token.*; export the model again"):
        load_video_backbone(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"no whole model\.safetensors"):
        load_video_backbone(tmp_path)
    with pytest.raises(ValueError, match="sizes alone hold no weights"):
        write_video_backbone(model.sizes, tmp_path)
    assert torch.isfinite(model.pos_embed).all()

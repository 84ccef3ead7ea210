"""Check 6: an inflated image network is the image network on equal frames; and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from pretrain.video.inflate import Inflated, inflate, sizes_of
from pretrain.video.model import DividedSpaceTimeViT, SpaceTimeSizes


def _image_network(name: str, **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    network: torch.nn.Module = timm.create_model(name, num_classes=0, **options)
    return network.eval()


def _video_of(weights: dict[str, Tensor], image_size: int, num_heads: int | None = None) -> tuple[DividedSpaceTimeViT, Inflated]:
    like = SpaceTimeSizes(image_size=image_size, patch_size=image_size)
    model = DividedSpaceTimeViT(sizes_of(weights, like, told="x", num_heads=num_heads)).eval()
    found = inflate(weights, model.sizes, told="x")
    missing, unexpected = model.load_state_dict(found.tensors, strict=False)
    assert sorted(missing) == sorted(found.fresh)
    assert not unexpected
    return model, found


def test_equal_frames_and_one_frame_give_the_class_token_of_the_image_network() -> None:
    image = _image_network("vit_tiny_patch16_224")
    model, found = _video_of(image.state_dict(), 224)
    assert (found.num_loaded, len(found.inflated), len(found.fresh)) == (150, 72, 25)
    assert found.sentence() == "150 tensors loaded, 72 inflated over time, 25 fresh"
    frame = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        expected = image(frame)
        for num_frames in (1, 8):
            clip = frame.unsqueeze(2).expand(-1, -1, num_frames, -1, -1)
            assert float((model(clip).cls - expected).abs().max()) <= 2e-6 * max(1.0, float(expected.abs().max()))


def test_registers_and_layer_scale_are_carried() -> None:
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": 2, "img_size": 56}
    image = _image_network("vit_small_patch14_reg4_dinov2", init_values=0.1, **sizes)
    with torch.no_grad():
        image.reg_token.normal_()  # type: ignore[operator]
    model, found = _video_of(image.state_dict(), 56, num_heads=2)
    assert model.sizes.num_registers == 4
    assert model.sizes.layer_scale
    assert not found.resampled
    frame = torch.rand(1, 3, 56, 56)
    with torch.inference_mode():
        tokens = image.forward_features(frame)  # type: ignore[operator]
        clip = model(frame.unsqueeze(2).expand(-1, -1, 4, -1, -1))
    assert clip.cls.allclose(tokens[:, 0], atol=1e-5)
    assert clip.patches[:, 2].flatten(1, 2).allclose(tokens[:, 5:], atol=1e-5)


def test_another_grid_is_resampled_and_said() -> None:
    image = _image_network("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=2)
    model, found = _video_of(image.state_dict(), 96, num_heads=2)
    assert found.resampled == ("pos_embed 14x14 -> 6x6",)
    assert model.pos_embed.shape == (1, 37, 24)


def test_a_video_network_is_loaded_as_it_is_but_for_its_frames() -> None:
    model = DividedSpaceTimeViT(SpaceTimeSizes(embed_dim=12, depth=2, num_heads=2, image_size=32, num_frames=4))
    with torch.no_grad():
        model.time_embed.copy_(torch.arange(4.0).view(1, 4, 1).expand(1, 4, 12))
    longer = SpaceTimeSizes(embed_dim=12, depth=2, num_heads=2, image_size=32, num_frames=8)
    found = inflate(model.state_dict(), longer, told="x")
    assert not found.inflated
    assert not found.fresh
    assert found.resampled == ("time_embed 4 -> 8",)
    assert found.tensors["time_embed"][0, :, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_what_would_be_ignored_or_random_is_refused() -> None:
    image = _image_network("vit_tiny_patch16_224", embed_dim=24, depth=1, num_heads=2, img_size=32).state_dict()
    sizes = sizes_of(image, SpaceTimeSizes(image_size=32), told="x", num_heads=2)
    with pytest.raises(ValueError, match=r"--init x has extra\.weight, for which a video backbone of these sizes has no place"):
        inflate({**image, "extra.weight": torch.zeros(1)}, sizes, told="x")
    with pytest.raises(ValueError, match=r"--init x lacks blocks\.0\.attn\.qkv\.weight"):
        inflate({name: tensor for name, tensor in image.items() if name != "blocks.0.attn.qkv.weight"}, sizes, told="x")
    with pytest.raises(ValueError, match=r"--init x does not fit: cls_token is 1x1x24 there and 1x1x12 in the model"):
        inflate(image, SpaceTimeSizes(embed_dim=12, depth=1, num_heads=2, image_size=32), told="x")
    with pytest.raises(ValueError, match=r"has no pos_embed: its positions are rotary or relative"):
        inflate({name: tensor for name, tensor in image.items() if name != "pos_embed"}, sizes, told="x")
    gated = {**image, "blocks.0.mlp.fc1.weight": torch.zeros(192, 24)}
    with pytest.raises(ValueError, match=r"gated MLPs"):
        inflate(gated, sizes, told="x")

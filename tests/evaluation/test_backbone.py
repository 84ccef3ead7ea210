from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load, save

from evaluation.backbone import BackboneError, ModelRef, features_of, load_backbone, many_images, own_image_size, token_batches
from evaluation.features import cached_features, cached_tokens, extract_features
from evaluation.images import item_image
from evaluation.tasks import read_task
from evaluation.tasks.items import Item, TaskError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 3), dtype=np.uint8)


def _ref(folder: str | Path, **changes: str) -> ModelRef:
    return ModelRef(**{"model_id": "m", "label": "model", "path": str(folder), **changes})  # type: ignore[arg-type]


def test_a_transformer_gives_cls_and_mean_patch_tokens_of_its_last_blocks(vit_folder: str) -> None:
    backbone = load_backbone(_ref(vit_folder), device="cpu")
    features = features_of(backbone, PIXELS)
    assert {name: values.shape for name, values in features.items()} == {
        "last": (3, 24),
        "last4": (3, 96),
        "last+mean": (3, 48),
        "last4+mean": (3, 120),
    }
    reference: Any = timm.create_model(f"local-dir:{vit_folder}", pretrained=True, num_classes=0).eval()
    mean, std = (torch.tensor(reference.pretrained_cfg[name]).view(3, 1, 1) for name in ("mean", "std"))
    images = (torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        tokens = reference.forward_features(images)
    torch.testing.assert_close(torch.from_numpy(features["last"]), tokens[:, 0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(torch.from_numpy(features["last+mean"][:, 24:]), tokens[:, 5:].mean(1), atol=1e-5, rtol=1e-4)


def test_a_cnn_gives_pooled_features_and_a_map_of_its_last_two_stages(cnn_folder: str, colours: Path) -> None:
    backbone = load_backbone(_ref(cnn_folder), device="cpu")
    assert backbone.image_size == 64
    pixels = PIXELS.repeat(3, 1).repeat(3, 2)[:, :64, :64]
    features = features_of(backbone, pixels)
    assert {name: values.shape for name, values in features.items()} == {"last": (3, 1280), "last4": (3, 24 + 40 + 112 + 320 + 1280)}
    of_many = features_of(backbone, pixels, run=many_images(backbone, 100))
    for name, values in features.items():
        np.testing.assert_allclose(of_many[name], values, rtol=1e-3, atol=1e-4 * np.abs(values).max())
    (batch,) = token_batches(backbone, read_task(colours).items[:2], batch_size=None, num_workers=1)
    assert (batch.shape, batch.dtype) == ((2, 112 + 320, 4, 4), np.dtype("float16"))


def test_random_weights_are_the_same_for_one_seed_and_not_the_trained_ones(vit_folder: str) -> None:
    def features(seed: int, weights: str) -> np.ndarray:
        return features_of(load_backbone(_ref(vit_folder, weights=weights), device="cpu", seed=seed), PIXELS)["last"]

    state = torch.random.get_rng_state()
    first = features(0, "random")
    assert (torch.random.get_rng_state() == state).all()
    assert (features(0, "random") == first).all()
    assert not np.allclose(features(1, "random"), first)
    assert not np.allclose(features(0, "trained"), first)


def test_another_image_size_resamples_the_position_embeddings(vit_folder: str) -> None:
    backbone = load_backbone(_ref(vit_folder), device="cpu", image_size=42)
    assert features_of(backbone, np.zeros((1, 42, 42, 3), np.uint8))["last"].shape == (1, 24)
    assert (backbone.own_size, own_image_size(_ref(vit_folder))) == (28, 28)


def test_a_size_becomes_the_nearest_multiple_of_the_patches_of_a_transformer_alone(vit_folder: str, cnn_folder: str) -> None:
    sizes = {asked: load_backbone(_ref(vit_folder), device="cpu", image_size=asked).image_size for asked in (5, 20, 22, 28, 48)}
    assert sizes == {5: 14, 20: 14, 22: 28, 28: 28, 48: 42}
    assert load_backbone(_ref(cnn_folder), device="cpu", image_size=50).image_size == 50
    assert own_image_size(_ref(cnn_folder)) == 64


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_file_says_which(vit_folder: str, tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "it's a\nmodel"
    shutil.copytree(vit_folder, folder)
    assert load_backbone(_ref(folder), device="cpu").image_size == 28
    (folder / missing).unlink()
    (folder / "pytorch_model.bin").write_bytes(b"never opened")
    with pytest.raises(BackboneError, match=f"has no {missing}"):
        load_backbone(_ref(folder), device="cpu")


def test_damaged_weights_and_other_weights_are_errors(vit_folder: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(vit_folder, folder)
    weights = folder / "model.safetensors"
    content = weights.read_bytes()
    state = load(content)
    weights.write_bytes(content[: len(content) // 2])
    with pytest.raises(BackboneError, match="is not a whole safetensors file"):
        load_backbone(_ref(folder), device="cpu")
    del state["cls_token"]
    weights.write_bytes(save(state))
    with pytest.raises(BackboneError, match=r"do not fit its config.json \(.*cls_token"):
        load_backbone(_ref(folder), device="cpu")
    (folder / "config.json").write_text(json.dumps({"architecture": "vit_of_nobody"}))
    with pytest.raises(BackboneError, match="cannot build"):
        load_backbone(_ref(folder), device="cpu")
    (folder / "config.json").write_text("{")
    with pytest.raises(BackboneError, match=r"unreadable config\.json"):
        load_backbone(_ref(folder), device="cpu")


def test_features_come_from_the_cache_until_it_is_damaged(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    backbone, items = load_backbone(_ref(vit_folder), device="cpu"), read_task(colours).items

    def cached(model: ModelRef) -> dict[str, np.ndarray]:
        return dict(cached_features(backbone, model, items, data_id="d", seed=0, cache_dir=tmp_path, batch_size=4, num_workers=2))

    first = cached(_ref(vit_folder))
    direct = extract_features(backbone, items, batch_size=4, num_workers=1)
    assert all((first[name] == direct[name]).all() for name in direct)
    (file,) = tmp_path.iterdir()
    written = file.stat().st_mtime_ns
    cached(_ref(vit_folder))
    assert file.stat().st_mtime_ns == written
    file.write_bytes(file.read_bytes()[:100])
    again = cached(_ref(vit_folder))
    assert all((again[name] == first[name]).all() for name in first)
    cached(_ref(vit_folder, weights="random"))
    cached(_ref(vit_folder, model_id="other"))
    assert len(list(tmp_path.iterdir())) == 3


def test_tokens_are_mapped_from_a_file_that_holds_every_batch(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    backbone, items = load_backbone(_ref(vit_folder), device="cpu"), read_task(colours).items[:7]
    tokens = cached_tokens(backbone, _ref(vit_folder), items, data_id="d", seed=0, cache_dir=tmp_path, batch_size=3, num_workers=2)
    assert isinstance(tokens, np.memmap)
    assert tokens.shape == (7, 24, 2, 2)
    (whole,) = token_batches(backbone, items, batch_size=7, num_workers=1)
    np.testing.assert_allclose(tokens, whole, atol=2e-3)


def test_a_crop_box_is_cut_out_and_checked(tmp_path: Path, picture: Callable[..., Path]) -> None:
    from PIL import Image

    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[2:6, 4:8] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    item = Item(path=str(tmp_path / "x.png"), split="train", group="", label="a", box=(4, 2, 4, 4))
    assert (item_image(item, size=8) == 255).all()
    with pytest.raises(TaskError, match=r"crop box \(17, 2, 4, 4\) is outside .*x.png' \(20x10\)"):
        item_image(Item(path=item.path, split="train", group="", label="a", box=(17, 2, 4, 4)), size=8)
    (tmp_path / "broken.jpg").write_bytes(picture(tmp_path / "whole.jpg", (9, 9, 9), seed=0).read_bytes()[:300])
    with pytest.raises(TaskError, match=r"broken\.jpg' does not decode"):
        item_image(Item(path=str(tmp_path / "broken.jpg"), split="train", group="", label="a"), size=8)

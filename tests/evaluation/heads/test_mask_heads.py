"""Mask heads: what they output, how large they are, and that they are themselves when loaded again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from evaluation.config import EvaluateConfig
from evaluation.heads import (
    CLASS_HEADS,
    MASK_HEADS,
    TUNED_CLASS_HEADS,
    TUNED_MASK_HEADS,
    DptDecoder,
    FpnDecoder,
    HeadError,
    HeadSettings,
    MaskLabelled,
    changes_backbone,
    chosen_heads,
    joined,
)
from evaluation.heads.names import HEAD_KINDS
from evaluation.heads.stored import load_head, save_head
from evaluation.heads.unet_decoder import UnetDecoder

CPU = torch.device("cpu")


def discs(num: int, seed: int, channels: tuple[int, ...], grids: tuple[int, ...]) -> tuple[Any, npt.NDArray[np.float32]]:
    """Discs of random places as maps that show them among noise, and as targets of 28 x 28."""
    rng = np.random.default_rng(seed)
    axis = (np.arange(28) + 0.5) / 28
    centres = rng.uniform(0.3, 0.7, (num, 2))
    distance = np.hypot(axis[None, :, None] - centres[:, :1, None], axis[None, None] - centres[:, 1:, None])
    targets = (distance < 0.25).astype(np.float32)
    maps = []
    for dim, grid in zip(channels, grids, strict=True):
        level = rng.normal(size=(num, dim, grid, grid))
        level[:, 0] += 6 * torch.nn.functional.adaptive_avg_pool2d(torch.from_numpy(targets)[:, None], grid)[:, 0].numpy()
        maps.append(level.astype(np.float16))
    return tuple(maps), targets


QUICK = EvaluateConfig(
    segmentation_epochs=20, segmentation_learning_rates=(0.03,), decoder_epochs=8, decoder_learning_rates=(1e-2,), dpt_width=8
)


@pytest.mark.parametrize(
    ("name", "channels", "grids", "config"),
    [
        ("linear_segmentation", (5,), (14,), QUICK),
        ("boosted_linear", (3, 4, 5, 6), (28, 14, 14, 7), QUICK),
        ("fpn", (4, 5, 6), (14, 7, 4), QUICK),
        ("unet", (4, 5, 6), (14, 7, 4), QUICK),
        ("dpt", (4, 4, 4, 4), (7, 7, 7, 7), QUICK),
        ("dpt", (4, 4, 4, 4), (7, 7, 7, 7), replace(QUICK, dpt_logits="full")),
    ],
)
def test_a_head_learns_discs_and_is_the_same_when_loaded(
    name: str, channels: tuple[int, ...], grids: tuple[int, ...], config: EvaluateConfig, tmp_path: Path
) -> None:
    settings = HeadSettings(config=config, num_classes=2, metric="dice", device=CPU)
    train, val = (
        MaskLabelled(split, *discs(num, seed, channels, grids))  # type: ignore[arg-type]
        for split, num, seed in (("train", 32, 1), ("val", 8, 2))
    )
    head = MASK_HEADS[name].fit(train, val, settings)
    assert float(head.details["val_dice"]) > 0.6
    maps = [torch.from_numpy(level).float() for level in discs(3, 3, channels, grids)[0]]
    save_head(tmp_path / "head.safetensors", name, head, {})
    loaded = load_head(tmp_path / "head.safetensors", device=CPU)
    assert torch.equal(loaded.logits(maps), head.logits(maps))  # type: ignore[union-attr]
    if name == "dpt":
        assert (head.logits(maps).shape[-1], head.details["logits"]) == ((56, "half") if config.dpt_logits == "half" else (112, "full"))


def test_mask_heads_cannot_be_given_the_test_split() -> None:
    with pytest.raises(ValueError, match="a head was given the 'test' split"):
        MaskLabelled("test", *discs(2, 0, (2,), (7,)))  # type: ignore[arg-type]


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_decoders_have_the_stated_shapes_and_sizes() -> None:
    fpn = FpnDecoder((40, 112, 320))
    assert size(fpn) == 67_521
    grids = ((40, 28), (112, 14), (320, 7))
    assert fpn([torch.zeros(2, dim, grid, grid) for dim, grid in grids]).shape == (2, 1, 28, 28)
    unet = UnetDecoder((40, 112, 320))
    assert size(unet) == 327_041
    assert unet([torch.zeros(2, dim, grid, grid) for dim, grid in grids]).shape == (2, 1, 28, 28)
    vit = [torch.zeros(1, 384, 16, 16)] * 4
    narrow = DptDecoder((384,) * 4)
    assert narrow(vit).shape == (1, 1, 256, 256)
    assert (size(narrow), size(DptDecoder((384,) * 4, 256))) == (1_257_809, 18_332_801)
    stages = ((24, 56), (40, 28), (112, 14), (320, 7))
    pyramid = DptDecoder(tuple(dim for dim, _ in stages), is_pyramid=True)
    assert pyramid([torch.zeros(1, dim, grid, grid) for dim, grid in stages]).shape == (1, 1, 224, 224)
    half = DptDecoder(tuple(dim for dim, _ in stages), is_pyramid=True, is_half=True)
    assert (half([torch.zeros(1, dim, grid, grid) for dim, grid in stages]).shape, size(half)) == ((1, 1, 112, 112), size(pyramid))
    odd = DptDecoder((6,) * 4, 8)
    assert odd([torch.zeros(1, 6, 5, 7)] * 4).shape == (1, 1, 80, 112)


def test_maps_are_joined_on_the_grid_of_the_last_but_one() -> None:
    fine, middle, coarse = torch.arange(16.0).view(1, 1, 4, 4), torch.ones(1, 1, 2, 2), torch.full((1, 1, 1, 1), 7.0)
    found = joined([fine, middle, coarse])
    assert found[0].tolist() == [[[2.5, 4.5], [10.5, 12.5]], [[1, 1], [1, 1]], [[7, 7], [7, 7]]]
    assert joined([fine]) is fine


def test_heads_are_chosen_by_name_for_labels_that_they_serve() -> None:
    assert chosen_heads(None, ("knn", "linear"), "ordinal") == ("knn", "linear")
    assert chosen_heads(("linear", "fpn", "fpn"), (), "segmentation") == ("linear_segmentation", "fpn")
    with pytest.raises(
        HeadError, match=r"head 'ordinal' does not serve classification labels; give knn, linear, linear_grid, finetune, lora$"
    ):
        chosen_heads(("ordinal",), (), "classification")
    with pytest.raises(HeadError, match=r"head 'svm' is no head; give knn, linear, .*linear_segmentation, boosted_linear, fpn, unet, dpt"):
        chosen_heads(("svm",), (), "segmentation")
    assert set(HEAD_KINDS) == {*CLASS_HEADS, *MASK_HEADS, *TUNED_CLASS_HEADS, *TUNED_MASK_HEADS, "fcos"}
    assert {name for name in HEAD_KINDS if changes_backbone(name)} == {*TUNED_CLASS_HEADS, *TUNED_MASK_HEADS}


def test_a_stored_head_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "head.safetensors"
    with pytest.raises(HeadError, match="is not there or not readable"):
        load_head(path, device=CPU)
    path.write_bytes(b"cut")
    path.with_suffix(".json").write_text('{"format": 1, "head": "knn", "state": {}}')
    with pytest.raises(HeadError, match="is damaged"):
        load_head(path, device=CPU)
    path.with_suffix(".json").write_text('{"format": 2}')
    with pytest.raises(HeadError, match="has format 2, expected 1"):
        load_head(path, device=CPU)

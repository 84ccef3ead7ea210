"""Reference values come from DINOv2's MaskingGenerator and collate function (facebookresearch/dinov2, b8931f7)."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest
from hypothesis import given, strategies as st

from pretrain.config import MaskConfig
from pretrain.masking import batch_masks, block_mask, mask_weights


def test_block_masks_are_the_reference_masks_for_the_same_draws() -> None:
    rng = random.Random(0)
    masks = [block_mask(16, 16, number, rng=rng, max_block=128) for number in (0, 25, 64, 128)]
    assert [int(mask.sum()) for mask in masks] == [0, 25, 64, 128]
    assert hashlib.sha256(np.packbits(masks[3]).tobytes()).hexdigest()[:16] == "81416323ea9440b3"


def test_a_thousand_masks_of_64_patches_hide_nearly_that_many() -> None:
    rng = random.Random(0)
    [block_mask(16, 16, number, rng=rng, max_block=128) for number in (0, 25, 64, 128)]
    counts = [int(block_mask(16, 16, 64, rng=rng, max_block=128).sum()) for _ in range(1000)]
    assert float(np.mean(counts)) == pytest.approx(63.934, abs=0.05)
    assert (min(counts), max(counts)) == (63, 64)


def test_a_batch_of_eight_images_is_masked_as_by_the_reference() -> None:
    masks = batch_masks(16, 16, MaskConfig(), rng=random.Random(0))
    assert int(masks.any(axis=1).sum()) == 8
    assert int(masks.sum()) == len(mask_weights(masks)) == 625
    assert float(mask_weights(masks).sum()) == pytest.approx(8.0)


def test_weights_of_a_crop_sum_to_one_in_row_major_order() -> None:
    masks = batch_masks(6, 7, MaskConfig(), rng=random.Random(3))
    crop_of_patch = np.nonzero(masks)[0]
    for crop in np.unique(crop_of_patch):
        assert float(mask_weights(masks)[crop_of_patch == crop].sum()) == pytest.approx(1.0)


@given(seed=st.integers(0, 2**32), height=st.integers(3, 20), width=st.integers(3, 20), share=st.floats(0, 1))
def test_a_mask_never_hides_more_than_asked(seed: int, height: int, width: int, share: float) -> None:
    wanted = int(height * width * share)
    mask = block_mask(height, width, wanted, rng=random.Random(seed), max_block=0.5 * height * width)
    assert mask.shape == (height, width)
    assert int(mask.sum()) <= wanted

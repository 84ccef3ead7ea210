from __future__ import annotations

import dataclasses
import hashlib
import subprocess
import sys

import pytest
import torch

from pretrain.config import AugmentConfig, LossConfig, ModelConfig, PretrainConfig
from pretrain.identity import learning_settings
from pretrain.model import Network
from pretrain.recipes import RECIPES, recipe
from warehouse.store import canonical_json


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"'vitx14'; choose one of demo, smoke, small, vits14, vitb14, vitl14, vitg14, vits14-fast, vitb14-fast"
    ):
        recipe("vitx14")


@pytest.mark.parametrize(("name", "millions"), [("vits14", 22.1), ("vitb14", 86.6), ("vitl14", 304.4), ("vitg14", 1136.5)])
def test_backbones_have_the_published_numbers_of_parameters(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = Network(RECIPES[name]())
    # the published 37 by 37 position embedding has 1113 rows more than our 16 by 16
    counted = sum(parameter.numel() for parameter in network.backbone.parameters()) + 1113 * int(network.backbone.embed_dim)
    assert counted / 1e6 == pytest.approx(millions, abs=0.3)


def test_recipes_and_settings_import_nothing_heavy() -> None:
    code = "import sys, pretrain.recipes; print(*sorted({'torch', 'ray', 'timm', 'cv2', 'numpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_settings_that_cannot_work_say_what_to_give() -> None:
    with pytest.raises(ValueError, match="img_size 100 is not a multiple of patch_size 16"):
        ModelConfig(architecture="vit_tiny_patch16_224", img_size=100, patch_size=16)
    with pytest.raises(ValueError, match="global_scale"):
        AugmentConfig(local_size=16, global_scale=(0.5, 0.2))
    with pytest.raises(ValueError, match="koleo_group is 1; give 2 or more images"):
        LossConfig(koleo_group=1)


def test_blur_has_two_presets_and_takes_numbers() -> None:
    found = [AugmentConfig(local_size=16, blur_p=given).blur_probabilities for given in ("released", "paper", (0.1, 0.2, 0.3))]
    assert found == [(0.0, 0.9, 0.5), (1.0, 0.1, 0.5), (0.1, 0.2, 0.3)]


def test_local_crops_must_fit_the_patches(micro: PretrainConfig) -> None:
    with pytest.raises(ValueError, match="local_size 20 is not a multiple of patch_size 8"):
        dataclasses.replace(micro, augment=dataclasses.replace(micro.augment, local_size=20))


def test_runs_of_a_recipe_keep_their_names() -> None:
    """What was trained before a setting came must be recognised: a change here makes finished runs train again."""
    digests = {
        name: hashlib.sha256(canonical_json(learning_settings(recipe(name))).encode()).hexdigest()[:16] for name in ("vits14", "vitl14")
    }
    assert digests == {"vits14": "2f99236701c01fa1", "vitl14": "3be7b381b9330681"}

"""Tiny real files for the evaluation tests: labelled JPEGs, masks and exported backbones."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.models import save_for_hf

COLOURS = {"red": (200, 40, 40), "green": (40, 180, 60), "blue": (50, 60, 200)}


def write_image(path: Path, colour: tuple[int, int, int], *, seed: int, size: int = 48) -> Path:
    """A noisy picture of one colour."""
    noise = np.random.default_rng(seed).normal(0, 25, (size, size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(noise + colour, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def picture() -> Callable[..., Path]:
    return write_image


@pytest.fixture(scope="session")
def vit_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A five-block transformer with register tokens, as timm exports it."""
    folder = tmp_path_factory.mktemp("vit")
    arguments: dict[str, Any] = {"img_size": 28, "dynamic_img_size": True, "depth": 5, "embed_dim": 24, "num_heads": 2}
    torch.manual_seed(3)
    model = timm.create_model(
        "vit_small_patch14_reg4_dinov2", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 28, 28)}, **arguments
    )
    save_for_hf(model, str(folder), model_args=arguments, safe_serialization=True)
    return str(folder)


@pytest.fixture(scope="session")
def cnn_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("cnn")
    torch.manual_seed(4)
    model = timm.create_model("tf_efficientnet_lite0", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 64, 64)})
    save_for_hf(model, str(folder), safe_serialization=True)
    return str(folder)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of coloured pictures of six patients, two a split, as a labels.csv."""
    root = tmp_path_factory.mktemp("colours")
    lines = ["path,label,split,group"]
    for patient in range(6):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for repeat in range(2):
                file = f"p{patient}_{name}_{repeat}.png"
                write_image(root / file, colour, seed=100 * patient + 10 * number + repeat)
                lines.append(f"{file},{name},{('train', 'val', 'test')[patient // 2]},patient {patient}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="session")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures with a bright square on a dark ground, its mask, and a split.csv."""
    root = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(7)
    lines = ["image,mask,split,group"]
    for number in range(30):
        x, y = rng.integers(0, 28, 2)
        mask = np.zeros((56, 70), np.uint8)
        mask[y : y + 28, x : x + 28] = 255
        pixels = np.where(mask[..., None] > 0, (230, 220, 60), (60, 10, 20)) + rng.normal(0, 10, (56, 70, 3))
        for folder, image in (("images", np.clip(pixels, 0, 255).astype(np.uint8)), ("masks", mask)):
            (root / folder).mkdir(exist_ok=True)
            Image.fromarray(image).save(root / folder / f"{number}.png")
        lines.append(f"images/{number}.png,masks/{number}.png,{('train', 'train', 'train', 'val', 'test')[number % 5]},patient {number}")
    (root / "split.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def real_data() -> Path:
    folder = os.environ.get("ENDOFORGE_REAL_DATA")
    if not folder:
        pytest.skip("ENDOFORGE_REAL_DATA is not set")
    return Path(folder)

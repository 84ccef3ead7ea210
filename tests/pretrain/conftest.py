"""A tiny dataset as curation writes it, and a recipe that a CPU trains in seconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.config import AugmentConfig, CheckpointConfig, HeadConfig, LossConfig, ModelConfig, OptimConfig, PretrainConfig, TrainConfig
from tests.helpers.shards import picture, write_dataset

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin while they wait make a busy machine ten times slower


@pytest.fixture(scope="session")
def make_dataset() -> Callable[[Path, list[bytes], int], Path]:
    return write_dataset


@pytest.fixture(scope="session")
def make_picture() -> Callable[[int], bytes]:
    return picture


@pytest.fixture(scope="session")
def dataset_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("datasets") / "tiny", [picture(number) for number in range(14)], 5)


@pytest.fixture(scope="session")
def micro() -> PretrainConfig:
    """Every part of the recipe, small: stochastic depth, both heads, local crops, three checkpoints."""
    head = HeadConfig(num_prototypes=24, hidden_dim=16, bottleneck_dim=8)
    return PretrainConfig(
        model=ModelConfig(
            architecture="vit_tiny_patch16_224",
            img_size=32,
            patch_size=8,
            embed_dim=24,
            depth=2,
            num_heads=2,
            drop_path_rate=0.3,
        ),
        dino_head=head,
        ibot_head=head,
        augment=AugmentConfig(local_size=16, num_local=2),
        loss=LossConfig(teacher_temperature_warmup_steps=3),
        optim=OptimConfig(base_lr=1e-2, warmup_steps=2, freeze_last_layer_steps=1, teacher_momentum=0.9),
        train=TrainConfig(num_steps=9, batch_size=4, seed=5, log_every=1, num_loader_workers=0),
        checkpoint=CheckpointConfig(every=3),
    )

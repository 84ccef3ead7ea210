"""A tiny dataset as curation writes it, and a recipe that a CPU trains in seconds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pretrain.config import PretrainConfig
from tests.helpers.micro_recipe import micro_recipe
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
    return micro_recipe()

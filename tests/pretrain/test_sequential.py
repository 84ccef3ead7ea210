"""Shards read one after another: from a store through the cache, in any number of processes, damaged ones included."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from pretrain.config import DataConfig, PretrainConfig
from pretrain.damage import UnreadableLog
from pretrain.data import Batch, StepBatches, open_loader
from pretrain.identity import learning_settings
from pretrain.reader import ShardReader
from pretrain.shard_files import UnreadableError
from tests.helpers.shards import picture, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("remote") / "set", [picture(number) for number in range(30)], 5)


@pytest.fixture(scope="module")
def config(micro: PretrainConfig) -> PretrainConfig:
    return dataclasses.replace(
        micro,
        augment=dataclasses.replace(micro.augment, num_local=0),
        data=DataConfig(reader="sequential", window_images=12, cache_gb=0),
        train=dataclasses.replace(micro.train, batch_size=6, num_steps=8),
    )


def from_store(config: PretrainConfig, folder: Path, cache: Path, *, cache_gb: float = 1.0) -> PretrainConfig:
    return dataclasses.replace(
        config, data=dataclasses.replace(config.data, shards=f"file://{folder}", cache_gb=cache_gb, cache_dir=str(cache))
    )


def opened(folder: Path, config: PretrainConfig, *, rank: int = 0, world_size: int = 1) -> StepBatches:
    return StepBatches(ShardReader(folder, config.data), config, rank=rank, world_size=world_size)


def same(found: Batch, expected: Batch) -> bool:
    return torch.equal(found.global_crops, expected.global_crops) and torch.equal(found.masks, expected.masks)


def test_a_store_through_a_cache_smaller_than_the_dataset_gives_the_batches_of_the_disk(
    folder: Path, config: PretrainConfig, tmp_path: Path
) -> None:
    index = tmp_path / "index"  # the lake has the index, the store the tars
    index.mkdir()
    for name in ("dataset.json", "samples.parquet"):
        (index / name).write_bytes((folder / name).read_bytes())
    largest = max(path.stat().st_size for path in folder.glob("*.tar"))
    remote = from_store(config, folder, tmp_path / "cache", cache_gb=3.5 * largest / 1e9)
    whole = opened(folder, config)
    expected = [whole[step] for step in range(8)]
    batches = opened(index, remote)
    for step in range(8):
        assert same(batches[step], expected[step])
        assert sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")) <= 3.5 * largest
    assert batches.reader.files.num_bytes(0) == sorted(folder.glob("*.tar"))[0].stat().st_size
    thirds = [opened(index, remote, rank=rank, world_size=3) for rank in range(3)]
    crops = torch.cat([third[4].global_crops for third in thirds], dim=1)
    assert torch.equal(crops, expected[4].global_crops)


def test_loader_processes_that_share_a_cache_give_the_rest_of_a_cut_run(folder: Path, config: PretrainConfig, tmp_path: Path) -> None:
    whole = opened(folder, config)
    remote = from_store(config, folder, tmp_path / "cache")
    two = dataclasses.replace(remote, train=dataclasses.replace(remote.train, num_loader_workers=2))
    found = list(open_loader(opened(folder, two), first_step=5, pin_memory=False))
    assert [same(batch, whole[step]) for step, batch in zip(range(5, 8), found, strict=True)] == [True] * 3


def test_damaged_cut_and_missing_shards_of_a_store_are_named_and_replaced(
    config: PretrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_dataset(tmp_path / "set", [picture(number) for number in range(30)], 5)
    changed, short, gone, *_ = sorted(folder.glob("*.tar"))
    size = changed.stat().st_size
    changed.write_bytes(changed.read_bytes()[:-1] + b"x")
    short.write_bytes(short.read_bytes()[:700])
    gone.unlink()
    batches = opened(folder, from_store(config, folder, tmp_path / "cache"))
    other = opened(folder, from_store(config, folder, tmp_path / "other"))
    unreadable = UnreadableLog(batches.reader, limit=1.0)
    with caplog.at_level(logging.WARNING):
        for step in range(5):
            batch = batches[step]
            assert same(batch, other[step])
            assert len({crop.numpy().tobytes() for crop in batch.global_crops[0]}) == 6
            unreadable.add(6, batch.unreadable_shards.tolist())
    said = caplog.text
    assert f"{changed.name} is not what was written: its SHA-256 is " in said
    assert f"{short.name} is cut short: it has 700 bytes, and dataset.json says {size}" in said
    assert f"{gone.name} cannot be opened: it is not in file://{folder}" in said
    assert said.count("other samples stand in") == 3


def test_at_random_a_store_is_asked_for_the_bytes_of_each_image(folder: Path, tmp_path: Path) -> None:
    disk, store = ShardReader(folder), ShardReader(folder, DataConfig(shards=f"file://{folder}"))
    assert [store.read(sample) for sample in (0, 29, 7)] == [disk.read(sample) for sample in (0, 29, 7)]
    empty = ShardReader(folder, DataConfig(shards=f"file://{tmp_path}"))
    with pytest.raises(UnreadableError, match=r"there is no file:///"):
        empty.read(3)
    assert empty.trouble(0).startswith("cannot be opened: ")


def test_reader_and_window_are_a_part_of_a_runs_name_and_place_and_cache_are_not(micro: PretrainConfig) -> None:
    def learned(**data: Any) -> dict[str, Any]:
        return learning_settings(dataclasses.replace(micro, data=DataConfig(**data)))

    assert "data" not in learned()  # runs from before these settings keep their names
    assert learned(window_images=7, shards="s3://bucket/set", cache_gb=9, cache_dir="/fast") == learned()
    sequential = learned(reader="sequential", window_images=7)
    assert sequential["data"] == {"reader": "sequential", "window_images": 7}
    assert learned(reader="sequential", window_images=7, shards="/mnt/set", cache_gb=9) == sequential


def test_what_cannot_work_is_said_at_the_start(
    folder: Path, config: PretrainConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    largest = max(path.stat().st_size for path in folder.glob("*.tar"))
    with pytest.raises(ValueError, match=r"data\.cache_gb is 1e-06, and a shard of .* give several times that"):
        opened(folder, from_store(config, folder, tmp_path, cache_gb=1e-6))
    with pytest.raises(ValueError, match="holds a password"):
        ShardReader(folder, DataConfig(shards="s3://me:secret@bucket/set"))
    with caplog.at_level(logging.WARNING):
        opened(folder, from_store(config, folder, tmp_path, cache_gb=1.5 * largest / 1e9)).warn()
    assert "the shards of a window have" in caplog.text
    for wrong in ({"shards": "set"}, {"cache_dir": "s3://bucket"}, {"reader": "sequential", "shards": "s3://b/set", "cache_gb": 0}):
        with pytest.raises(ValueError, match="give"):
            DataConfig(**wrong)

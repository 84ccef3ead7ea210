from __future__ import annotations

import dataclasses
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pretrain.config import PretrainConfig
from pretrain.data import ShardReader, StepBatches, batch_samples, derive_seed, open_loader
from pretrain.decode import decoded_crops

MakeDataset = Callable[[Path, list[bytes], int], Path]
MakePicture = Callable[[int], bytes]


def test_reader_returns_the_bytes_that_the_tar_holds(dataset_dir: Path) -> None:
    reader = ShardReader(dataset_dir)
    stored: dict[int, bytes] = {}
    for path in sorted(dataset_dir.glob("*.tar")):
        with tarfile.open(path) as tar:
            stored |= {int(m.name[:8]): tar.extractfile(m).read() for m in tar if m.name.endswith(".jpg")}  # type: ignore[union-attr]
    assert len(reader) == len(stored) == 14
    assert all(reader.read(sample) == stored[sample] for sample in range(14))


def test_more_shards_than_may_be_open_are_read_right(tmp_path: Path, make_dataset: MakeDataset, make_picture: MakePicture) -> None:
    reader = ShardReader(make_dataset(tmp_path / "many", [make_picture(n) for n in range(6)], 1), max_open_shards=2)
    for sample in (0, 1, 2, 3, 0, 5, 4, 0):
        assert reader.read(sample) == make_picture(sample)


def test_an_epoch_takes_each_sample_at_most_once_and_the_next_has_another_order() -> None:
    def epoch(first: int) -> list[int]:
        return [int(s) for step in range(first, first + 3) for s in batch_samples(step, num_samples=14, batch_size=4, seed=1)[1]]

    assert len(set(epoch(0))) == 12
    assert epoch(0) != epoch(3)
    assert [batch_samples(step, num_samples=14, batch_size=4, seed=1)[0] for step in (0, 2, 3, 6)] == [0, 0, 1, 2]


def test_every_sample_is_seen_over_the_epochs() -> None:
    seen = {int(sample) for step in range(30) for sample in batch_samples(step, num_samples=14, batch_size=4, seed=1)[1]}
    assert seen == set(range(14))


def test_two_workers_see_together_what_one_sees(dataset_dir: Path, micro: PretrainConfig) -> None:
    reader = ShardReader(dataset_dir)
    whole = StepBatches(reader, micro, rank=0, world_size=1)[5]
    parts = [StepBatches(reader, micro, rank=rank, world_size=2)[5] for rank in range(2)]
    assert torch.equal(whole.global_crops, torch.cat([part.global_crops for part in parts], dim=1))
    assert torch.equal(whole.local_crops, torch.cat([part.local_crops for part in parts], dim=1))
    masks = [batch.masks.view(2, -1, batch.masks.shape[1]) for batch in (whole, *parts)]
    assert masks[0].any()
    assert torch.equal(masks[0], torch.cat(masks[1:], dim=1))


def test_batches_keep_frames_of_a_video_apart(dataset_dir: Path, micro: PretrainConfig, tmp_path: Path) -> None:
    folder = shutil.copytree(dataset_dir, tmp_path / "timed")
    table = pq.read_table(folder / "samples.parquet")
    videos = [number // 4 for number in range(14)]  # of at most four frames each; an epoch has four batches of three
    ids = [f"v{video}-{number % 4 * 10**6:012d}" for number, video in enumerate(videos)]
    table = table.set_column(2, "frame_id", [ids]).set_column(3, "video_id", [[f"v{video}" for video in videos]])
    pq.write_table(table, folder / "samples.parquet")
    reader = ShardReader(folder)
    config = dataclasses.replace(micro, train=dataclasses.replace(micro.train, batch_size=3))
    batches = StepBatches(reader, config, rank=0, world_size=1)
    for step in range(40):
        _, samples = batch_samples(step, num_samples=14, batch_size=3, seed=5, footage=reader.footage)
        assert len({videos[sample] for sample in samples}) == 3
    _, samples = batch_samples(7, num_samples=14, batch_size=3, seed=5, footage=reader.footage)
    for slot, sample in enumerate(samples):
        crops = decoded_crops(reader.read(int(sample)), config.augment, global_size=32, rng=np.random.default_rng([5, 1, int(sample)]))
        assert crops is not None
        assert np.array_equal(crops[0], batches[7].global_crops[:, slot])


@pytest.mark.parametrize("num_loader_workers", [0, 2])
def test_a_loader_started_in_the_middle_gives_what_one_from_the_start_gives(
    dataset_dir: Path, micro: PretrainConfig, num_loader_workers: int
) -> None:
    config = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_loader_workers=num_loader_workers))
    batches = StepBatches(ShardReader(dataset_dir), config, rank=0, world_size=1)
    whole = list(open_loader(batches, first_step=0, pin_memory=False))
    rest = list(open_loader(batches, first_step=6, pin_memory=False))
    assert len(whole) == 9
    assert len(rest) == 3
    torch.testing.assert_close(rest, whole[6:], rtol=0, atol=0)


@pytest.mark.timeout(60)
def test_a_loader_process_does_not_wait_for_threads_that_opencv_had_here(dataset_dir: Path, micro: PretrainConfig) -> None:
    config = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_loader_workers=1))
    batches = StepBatches(ShardReader(dataset_dir), config, rank=0, world_size=1)
    cv2.setNumThreads(2)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 5)  # starts them
    assert len(next(open_loader(batches, first_step=0, pin_memory=False)).global_crops) == 2


def test_the_loader_draws_nothing_from_the_global_generator(dataset_dir: Path, micro: PretrainConfig) -> None:
    batches = StepBatches(ShardReader(dataset_dir), micro, rank=0, world_size=1)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    next(open_loader(batches, first_step=0, pin_memory=False))
    assert torch.equal(before, torch.get_rng_state())


def test_an_unreadable_image_is_replaced_and_counted(
    tmp_path: Path, micro: PretrainConfig, make_dataset: MakeDataset, make_picture: MakePicture
) -> None:
    jpegs = [make_picture(number) for number in range(4)]
    jpegs[2] = b"not a jpeg"
    batches = StepBatches(ShardReader(make_dataset(tmp_path / "bad", jpegs, 4)), micro, rank=0, world_size=1)
    assert int(batches[0].num_unreadable) == 1


def test_a_dead_shard_is_replaced_by_different_samples(
    tmp_path: Path, micro: PretrainConfig, make_dataset: MakeDataset, make_picture: MakePicture
) -> None:
    folder = make_dataset(tmp_path / "dead", [make_picture(number) for number in range(48)], 6)
    dead = sorted(folder.glob("*.tar"))[1]
    dead.write_bytes(bytes(dead.stat().st_size))
    config = dataclasses.replace(
        micro,
        augment=dataclasses.replace(
            micro.augment, num_local=0, global_scale=(1, 1), hflip_p=0, jitter_p=0, gray_p=0, blur_p=(0, 0, 0), solarize_p=0
        ),
        train=dataclasses.replace(micro.train, batch_size=8),
    )
    whole = StepBatches(ShardReader(folder), config, rank=0, world_size=1)
    halves = [StepBatches(ShardReader(folder), config, rank=rank, world_size=2) for rank in range(2)]
    for step in range(6):
        crops = whole[step].global_crops
        assert len({crop.numpy().tobytes() for crop in crops[0]}) == 8  # no image is twice in the batch
        assert torch.equal(crops, torch.cat([half[step].global_crops for half in halves], dim=1))
        assert set(whole[step].unreadable_shards.tolist()) <= {1}
    assert sum(int(whole[step].num_unreadable) for step in range(6)) == 6  # one epoch meets each dead sample once


def test_a_missing_shard_is_replaced_like_a_damaged_one(
    tmp_path: Path, micro: PretrainConfig, make_dataset: MakeDataset, make_picture: MakePicture
) -> None:
    folder = make_dataset(tmp_path / "gone", [make_picture(number) for number in range(4)], 1)
    sorted(folder.glob("*.tar"))[2].unlink()
    batches = StepBatches(ShardReader(folder), micro, rank=0, world_size=1)
    assert batches[0].unreadable_shards.tolist() == [2]


def test_a_dataset_of_unreadable_images_is_an_error(tmp_path: Path, micro: PretrainConfig, make_dataset: MakeDataset) -> None:
    batches = StepBatches(ShardReader(make_dataset(tmp_path / "bad", [b"x", b"", b"y", b"z"], 4)), micro, rank=0, world_size=1)
    with pytest.raises(ValueError, match="no readable image"):
        batches[0]


def test_a_dataset_smaller_than_the_batch_is_an_error_with_the_remedy(
    tmp_path: Path, micro: PretrainConfig, make_dataset: MakeDataset, make_picture: MakePicture
) -> None:
    reader = ShardReader(make_dataset(tmp_path / "small", [make_picture(0)], 4))
    with pytest.raises(ValueError, match="fewer than one batch of 4"):
        StepBatches(reader, micro, rank=0, world_size=1)


def test_a_batch_that_cannot_be_shared_is_an_error(dataset_dir: Path, micro: PretrainConfig) -> None:
    with pytest.raises(ValueError, match="multiple of 3"):
        StepBatches(ShardReader(dataset_dir), micro, rank=0, world_size=3)


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"dataset\.json"):
        ShardReader(tmp_path)


def test_seeds_of_neighbouring_keys_have_nothing_in_common() -> None:
    seeds = {derive_seed(0, step, rank) for step in range(100) for rank in range(4)}
    assert len(seeds) == 400
    assert np.mean([bin(derive_seed(0, 0, 0) ^ derive_seed(0, 0, rank)).count("1") for rank in range(1, 50)]) > 20

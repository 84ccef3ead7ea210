"""Crops made for many images at once are those made one by one."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pretrain.augment import CropDraw, cut, draw_boxes, draw_crops
from pretrain.config import AugmentConfig, DataConfig, PretrainConfig
from pretrain.data import Batch, ShardReader, StepBatches, open_loader, with_crops
from pretrain.device_crops import crops_on_device, is_on_device, pack_images
from pretrain.identity import learning_settings
from pretrain.metrics import read_metrics
from pretrain.parallel import current_worker
from pretrain.state import build_state
from pretrain.trainer import Trainer, train
from tests.helpers.shards import picture, write_dataset

CPU = torch.device("cpu")
PLAIN = AugmentConfig(local_size=16, num_local=2, hflip_p=0, jitter_p=0, gray_p=0, blur_p=(0, 0, 0), solarize_p=0)
CHANGES: list[dict[str, object]] = [
    {},
    {"hflip_p": 1.0},
    {"vflip_p": 1.0},
    {"jitter_p": 1.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0},
    {"jitter_p": 1.0, "brightness": 0.0, "saturation": 0.0, "hue": 0.0},
    {"jitter_p": 1.0, "brightness": 0.0, "contrast": 0.0, "hue": 0.0, "saturation": 0.9},
    {"jitter_p": 1.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.5},
    {"gray_p": 1.0},
    {"blur_p": (1.0, 1.0, 1.0)},
    {"solarize_p": 1.0},
]

Drawn = list[tuple[np.ndarray, list[CropDraw]]]


def image(seed: int, height: int, width: int) -> np.ndarray:
    """Smooth blobs with grain, black and white included."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 256, (7, 7, 3), dtype=np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray((coarse + rng.normal(0, 12, coarse.shape)).clip(0, 255), np.uint8)


def drawn(config: AugmentConfig, sizes: list[tuple[int, int]], *, first_seed: int = 0) -> Drawn:
    found = []
    for seed, (height, width) in enumerate(sizes, start=first_seed):
        rng = np.random.default_rng(seed)
        boxes = draw_boxes(width, height, config, rng=rng)
        found.append((image(seed, height, width), draw_crops(boxes, config, rng=rng)))
    return found


def with_augment(config: PretrainConfig, augment: AugmentConfig) -> PretrainConfig:
    return dataclasses.replace(config, augment=augment)


def one_by_one(found: Drawn, config: PretrainConfig) -> tuple[np.ndarray, np.ndarray]:
    crops = [cut(pixels, draws, config.augment, global_size=config.model.img_size) for pixels, draws in found]
    whole, local = (np.stack(kind, axis=1) for kind in zip(*crops, strict=True))
    return whole, local


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: " ".join(change) or "resize")
def test_each_operation_gives_the_pixels_of_pil_and_opencv(change: dict[str, object], micro: PretrainConfig) -> None:
    config = with_augment(micro, dataclasses.replace(PLAIN, **change))  # type: ignore[arg-type]
    found = drawn(config.augment, [(40, 60), (33, 90), (32, 32), (48, 64)])
    made = crops_on_device(pack_images(found, config), config, CPU)
    for crops, expected in zip(made, one_by_one(found, config), strict=True):
        difference = np.abs(crops.numpy().astype(int) - expected)
        assert crops.shape == expected.shape
        assert difference.max() <= 2  # one of the resize, before a factor of up to 1.9
        assert (difference > 0).mean() < 0.08  # OpenCV blurs with 8 binary digits


def test_more_images_than_a_part_of_many_sizes_stay_in_their_places(micro: PretrainConfig) -> None:
    config = with_augment(micro, AugmentConfig(local_size=16, num_local=3, vflip_p=0.5))
    found = drawn(config.augment, [(20 + 7 * seed % 31, 50 + 5 * seed % 23) for seed in range(70)])
    made = crops_on_device(pack_images(found, config), config, CPU)
    for crops, expected in zip(made, one_by_one(found, config), strict=True):
        difference = np.abs(crops.numpy().astype(int) - expected)
        assert difference.mean() < 0.05
        assert difference.max() <= 6  # a difference of one before contrast and saturation


def test_pixels_of_upright_images_differ_by_the_rounding_between_two_passes(micro: PretrainConfig) -> None:
    config = with_augment(micro, PLAIN)
    found = drawn(config.augment, [(90, 33), (120, 50)])  # PIL begins with the rows of some of these
    for crops, expected in zip(crops_on_device(pack_images(found, config), config, CPU), one_by_one(found, config), strict=True):
        assert np.abs(crops.numpy().astype(int) - expected).max() <= 6


def test_independent_draws_have_the_same_statistics(micro: PretrainConfig) -> None:
    config = with_augment(micro, AugmentConfig(local_size=16, num_local=4))
    sizes = [(48, 64)] * 120
    device = [crops.numpy() for crops in crops_on_device(pack_images(drawn(config.augment, sizes), config), config, CPU)]
    cpu = one_by_one(drawn(config.augment, sizes, first_seed=1000), config)
    for crops, others in zip(device, cpu, strict=True):
        assert crops.mean() == pytest.approx(others.mean(), abs=4)
        assert crops.std() == pytest.approx(others.std(), rel=0.04)
        sharpness = [
            np.mean([cv2.Laplacian(crop, cv2.CV_32F).std() for crop in part.reshape(-1, *part.shape[2:])]) for part in (crops, others)
        ]
        assert sharpness[0] == pytest.approx(sharpness[1], rel=0.1)
        is_gray = [(part[..., 0] == part[..., 2]).all(axis=(2, 3)).mean() for part in (crops, others)]
        assert is_gray[0] == pytest.approx(is_gray[1], abs=0.09)


def test_no_local_crops_are_an_empty_tensor(micro: PretrainConfig) -> None:
    config = with_augment(micro, dataclasses.replace(PLAIN, num_local=0))
    _, local = crops_on_device(pack_images(drawn(config.augment, [(40, 60)]), config), config, CPU)
    assert local.shape == (0, 1, 16, 16, 3)


def test_a_large_image_that_is_no_jpeg_is_made_smaller_before_it_is_moved(micro: PretrainConfig) -> None:
    config = with_augment(micro, PLAIN)
    found = drawn(config.augment, [(1600, 1500)])
    images = pack_images(found, config)
    assert images.canvases[0].shape == (1, 208, 192, 3)  # an eighth, in sixteens
    expected = one_by_one(found, config)[0].astype(int)
    assert np.abs(crops_on_device(images, config, CPU)[0].numpy() - expected).mean() < 4


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory, micro: PretrainConfig) -> tuple[PretrainConfig, StepBatches, StepBatches]:
    jpegs = [picture(number) for number in range(12)]
    jpegs[3] = b"no jpeg"
    reader = ShardReader(write_dataset(tmp_path_factory.mktemp("device") / "set", jpegs, 4))
    config = dataclasses.replace(micro, train=dataclasses.replace(micro.train, num_steps=3, num_loader_workers=1, compile="off"))
    cpu = StepBatches(reader, config, rank=0, world_size=1)
    return config, cpu, StepBatches(reader, config, rank=0, world_size=1, decode_only=True)


def test_a_loader_that_only_decodes_gives_the_batches_of_one_that_crops(both: tuple[PretrainConfig, StepBatches, StepBatches]) -> None:
    config, cpu, decoding = both
    for step, batch in enumerate(open_loader(decoding, first_step=0, pin_memory=False)):
        expected: Batch = cpu[step]
        assert batch.global_crops.shape == (2, 4, 0, 0, 3)
        found = with_crops(batch, config, CPU)
        assert found.images is None
        assert found.unreadable_shards.tolist() == expected.unreadable_shards.tolist()
        assert torch.equal(found.masks, expected.masks)
        for crops, others in ((found.global_crops, expected.global_crops), (found.local_crops, expected.local_crops)):
            assert crops.shape == others.shape
            assert float((crops.float() - others.float()).abs().mean()) < 0.1


def test_a_step_of_decoded_images_has_the_losses_of_one_of_crops(both: tuple[PretrainConfig, StepBatches, StepBatches]) -> None:
    config, cpu, decoding = both
    worker = current_worker(config.train, use_gpu=False)
    losses = [float(Trainer(build_state(config, worker), config, worker).step(0, batches[0])["loss/total"]) for batches in (decoding, cpu)]
    assert losses[0] == pytest.approx(losses[1], rel=2e-3)


class _Stop(Exception):
    pass


def test_a_run_from_a_cache_with_crops_of_the_device_goes_on_after_a_cut_as_if_there_was_none(
    dataset_dir: Path, micro: PretrainConfig, tmp_path: Path
) -> None:
    data = DataConfig(
        reader="sequential", window_images=8, shards=f"file://{dataset_dir}", cache_dir=str(tmp_path / "cache"), augment_on="device"
    )
    config = dataclasses.replace(
        micro,
        data=data,
        train=dataclasses.replace(micro.train, num_steps=4, compile="off"),
        checkpoint=dataclasses.replace(micro.checkpoint, every=2),
    )

    def trained(run_dir: Path, *, last: int) -> list[tuple[int, str, float]]:
        def stop(done: int) -> None:
            if done == last:
                raise _Stop

        with contextlib.suppress(_Stop):
            train(config, dataset_dir=dataset_dir, run_dir=run_dir, run_id="r", validate=None, use_gpu=False, at_checkpoint=stop)
        return [row for row in read_metrics(run_dir / "metrics.jsonl") if row[1].startswith("loss/")]

    straight = trained(tmp_path / "straight", last=-1)
    trained(tmp_path / "cut", last=2)
    assert trained(tmp_path / "cut", last=-1) == straight
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 3


def test_the_device_is_taken_where_it_is_a_gpu_or_asked_for(micro: PretrainConfig) -> None:
    def asked(where: str) -> PretrainConfig:
        return dataclasses.replace(micro, data=DataConfig(augment_on=where))  # type: ignore[arg-type]

    gpu = torch.device("cuda")
    assert [is_on_device(asked(where), device) for where in ("auto", "cpu", "device") for device in (gpu, CPU)] == [
        True, False, False, False, True, True,
    ]  # fmt: skip
    assert learning_settings(asked("device")) == learning_settings(micro)

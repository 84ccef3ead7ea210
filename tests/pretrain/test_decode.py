from __future__ import annotations

import cv2
import numpy as np
import pytest

from pretrain.augment import draw_boxes, multi_crop
from pretrain.config import AugmentConfig
from pretrain.decode import Reduction, choose_reduction, decode, decoded_crops, jpeg_size

PLAIN = AugmentConfig(local_size=48, num_local=4, hflip_p=0, jitter_p=0, gray_p=0, blur_p=(0, 0, 0), solarize_p=0)


def tissue(number: int, width: int = 900, height: int = 701) -> bytes:
    """A JPEG with detail at every size, as natural images have."""
    rng = np.random.default_rng(number)
    image = np.full((height, width, 3), 110, np.float32)
    for cells, strength in ((4, 40), (16, 20), (64, 10), (256, 5)):
        noise = rng.normal(0, strength, (cells, cells, 3)).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    encoded: bytes = cv2.imencode(".jpg", image.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    return encoded


@pytest.mark.parametrize(
    ("boxes", "reduction"),
    [
        ([(0, 0, 400, 448), (10, 10, 106, 120)], 1),
        ([(0, 0, 448, 448), (10, 10, 106, 106)], 2),
        ([(0, 0, 447, 900), (10, 10, 900, 900)], 1),
        ([(0, 0, 1024, 900), (0, 0, 192, 192)], 4),
        ([(0, 0, 9000, 9000), (0, 0, 9000, 384)], 8),
        ([(0, 0, 100, 100), (0, 0, 9000, 9000)], 1),
    ],
)
def test_the_smallest_box_decides_the_scale(boxes: list[tuple[float, float, float, float]], reduction: Reduction) -> None:
    assert choose_reduction(boxes, [224, 48]) == reduction


def test_the_header_tells_the_size() -> None:
    assert jpeg_size(tissue(0, 301, 64)) == (301, 64)
    progressive = cv2.imencode(".jpg", np.zeros((30, 50, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert jpeg_size(progressive) == (50, 30)


def test_what_has_no_plain_jpeg_header_has_no_size() -> None:
    jpeg = tissue(0, 40, 30)
    exif = b"\xff\xe1" + (14).to_bytes(2, "big") + b"Exif\0\0" + bytes(6)
    png = cv2.imencode(".png", np.zeros((30, 50, 3), np.uint8))[1].tobytes()
    for data in (b"", b"\xff\xd8", jpeg[:40], jpeg[:2] + exif + jpeg[2:], png):
        assert jpeg_size(data) is None


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
def test_a_reduced_image_is_the_mean_of_blocks(reduction: Reduction) -> None:
    data = tissue(1, 640, 480)
    full, reduced = decode(data), decode(data, reduction)
    assert full is not None
    assert reduced is not None
    means = cv2.resize(full, (640 // reduction, 480 // reduction), interpolation=cv2.INTER_AREA).astype(int)
    assert np.abs(reduced - means).mean() < 2


def test_crops_from_a_reduced_image_show_the_same_place() -> None:
    for seed in range(6):
        data = tissue(seed)
        reduction = choose_reduction(draw_boxes(900, 701, PLAIN, rng=np.random.default_rng(seed)), [112, 112, 48, 48, 48, 48])
        assert reduction in (2, 4)
        image = decode(data)
        assert image is not None
        full = multi_crop(image, PLAIN, global_size=112, rng=np.random.default_rng(seed))
        reduced = decoded_crops(data, PLAIN, global_size=112, rng=np.random.default_rng(seed))
        assert reduced is not None
        for crops, others in zip(reduced, full, strict=True):
            assert np.abs(crops.astype(int) - others).mean() < 3


def test_crops_from_reduced_images_have_the_same_statistics() -> None:
    def statistics(crops: np.ndarray) -> list[float]:
        gray = [cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).astype(np.float32) for crop in crops]
        sharpness = np.mean([cv2.Laplacian(crop, cv2.CV_32F).std() for crop in gray])
        return [float(crops.mean()), float(crops.std()), float(sharpness)]

    config = AugmentConfig(local_size=48, num_local=2)
    full, reduced = [], []
    for seed in range(40):
        data = tissue(seed % 8)
        image = decode(data)
        assert image is not None
        full.append(multi_crop(image, config, global_size=112, rng=np.random.default_rng(seed))[0])
        found = decoded_crops(data, config, global_size=112, rng=np.random.default_rng(seed))
        assert found is not None
        reduced.append(found[0])
    (mean, deviation, sharpness), others = statistics(np.concatenate(full)), statistics(np.concatenate(reduced))
    assert others[0] == pytest.approx(mean, abs=1.0)
    assert others[1] == pytest.approx(deviation, rel=0.02)
    assert others[2] == pytest.approx(sharpness, rel=0.1)


def test_small_images_are_decoded_in_full() -> None:
    data = tissue(3, 150, 130)
    image = decode(data)
    assert image is not None
    full = multi_crop(image, PLAIN, global_size=112, rng=np.random.default_rng(1))
    found = decoded_crops(data, PLAIN, global_size=112, rng=np.random.default_rng(1))
    assert found is not None
    assert np.array_equal(found[0], full[0])
    assert np.array_equal(found[1], full[1])


def test_an_image_with_exif_is_turned_and_cut_in_full() -> None:
    jpeg = tissue(3, 300, 200)
    tiff = b"II*\0\x08\0\0\0" + b"\x01\0" + b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0" + bytes(4)  # orientation 6: a quarter turn
    exif = b"\xff\xe1" + (8 + len(tiff)).to_bytes(2, "big") + b"Exif\0\0" + tiff
    turned = jpeg[:2] + exif + jpeg[2:]
    image = decode(turned)
    assert image is not None
    assert image.shape == (300, 200, 3)
    found = decoded_crops(turned, PLAIN, global_size=32, rng=np.random.default_rng(1))
    assert found is not None
    assert np.array_equal(found[0], multi_crop(image, PLAIN, global_size=32, rng=np.random.default_rng(1))[0])


def test_what_is_no_image_has_no_crops() -> None:
    for data in (b"", b"no jpeg", tissue(0)[:300]):
        assert decoded_crops(data, PLAIN, global_size=32, rng=np.random.default_rng(0)) is None

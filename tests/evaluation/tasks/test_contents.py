"""Images of every depth and orientation are read right, and unreadable ones are left out before any work."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from evaluation.images import item_image
from evaluation.tasks import Item, TaskData, TaskError, fingerprint, read_task, readable_task

RAMP = np.linspace(0, 1, 64 * 64).reshape(64, 64)


def pixels(path: Path, size: int = 64) -> npt.NDArray[np.uint8]:
    return item_image(Item(path=str(path), split="test", group=""), size=size)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("16 bits.png", (RAMP * 65535).astype(np.uint16)),
        ("12 bits in 16.png", (RAMP * 4095).astype(np.uint16)),
        ("16 bits.tif", (RAMP * 65535).astype(np.uint16)),
        ("10 bits in 32.tif", (RAMP * 1023).astype(np.int32)),
        ("share.tif", RAMP.astype(np.float32)),
        ("float of 8 bits.tif", (RAMP * 255).astype(np.float32)),
        ("8 bits.png", (RAMP * 255).astype(np.uint8)),
    ],
)
def test_grey_of_every_depth_is_the_same_picture(tmp_path: Path, name: str, values: npt.NDArray[np.generic]) -> None:
    Image.fromarray(values).save(tmp_path / name)
    found = pixels(tmp_path / name)
    assert np.abs(found[..., 0] - RAMP * 255).max() <= 1
    assert (found == found[..., :1]).all()


@pytest.mark.parametrize("values", [np.where(RAMP > 0.5, np.nan, RAMP), RAMP - 0.5, RAMP * 1e6])
def test_values_that_cannot_be_scaled_are_refused(tmp_path: Path, values: npt.NDArray[np.float64]) -> None:
    Image.fromarray(values.astype(np.float32)).save(tmp_path / "odd.tif")
    with pytest.raises(TaskError, match=r"image .*odd\.tif' has values from .*; give 0 to 1, or whole numbers of 8 to 16 bits"):
        pixels(tmp_path / "odd.tif")


def test_exif_orientation_is_applied_and_boxes_are_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    raw = np.zeros((32, 64, 3), np.uint8)
    raw[:, :32] = 255  # left as stored, top as shown
    Image.fromarray(raw).save(tmp_path / "turned.jpg", exif=exif)
    found = pixels(tmp_path / "turned.jpg")
    assert found[:28].min() > 250
    assert found[36:].max() < 5
    below = Item(path=str(tmp_path / "turned.jpg"), split="test", group="", box=(0, 40, 32, 24))
    assert item_image(below, size=8).max() < 5


def test_too_many_pixels_are_one_sentence(tmp_path: Path) -> None:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20000, 10000, 8, 0, 0, 0, 0))
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    with pytest.raises(TaskError, match=r"image .*bomb\.png' has more than 178,956,970 pixels; make it smaller"):
        pixels(tmp_path / "bomb.png")


def folder(root: Path, number: int = 40) -> Path:
    for place in range(number):
        for kind in ("images", "masks"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            values = np.zeros((16, 16), np.uint8)
            values[:8, : 4 + place % 8] = 255
            Image.fromarray(values).save(root / kind / f"{place}.png")
    return root


def test_unreadable_images_are_left_out_up_to_a_limit(tmp_path: Path) -> None:
    task = read_task(folder(tmp_path))
    whole, identity = readable_task(task)
    assert whole == task
    assert identity == fingerprint(task)
    whole_file = (tmp_path / "images" / "7.png").read_bytes()
    (tmp_path / "images" / "7.png").write_bytes(whole_file[:60])
    found, identity = readable_task(task)
    assert len(found.items) == 39
    assert identity == fingerprint(found)
    (fault,) = found.unreadable
    assert fault.startswith(f"image '{tmp_path}/images/7.png' does not decode")
    assert found.notes[-1] == "unreadable: 1 of 40 images are left out (7.png)"
    (tmp_path / "images" / "8.png").write_bytes(b"no image")
    with pytest.raises(TaskError, match=r"2 of 40 images cannot be used, more than --max-unreadable 0\.01 allows; .*no known image format"):
        readable_task(task)
    assert len(readable_task(task, max_unreadable=0.05)[0].items) == 38
    with pytest.raises(TaskError, match="more than --max-unreadable 0 allows"):
        readable_task(task, max_unreadable=0)


def test_a_truncated_jpeg_and_a_mask_of_another_aspect_are_found_without_features(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "images" / "3.png").unlink()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "images" / "3.jpg")
    data = (tmp_path / "images" / "3.jpg").read_bytes()
    (tmp_path / "images" / "3.jpg").write_bytes(data[: len(data) * 2 // 3])
    Image.fromarray(np.array([[0, 255]] * 4, np.uint8)).save(tmp_path / "masks" / "5.png")
    found, _ = readable_task(read_task(tmp_path), max_unreadable=0.05)
    truncated, aspect = sorted(found.unreadable)
    assert "truncated" in truncated
    assert aspect.endswith("images/5.png': its mask is 2x4 pixels and the image 16x16, another aspect")


def test_a_box_outside_its_image_is_refused_before_any_work(tmp_path: Path) -> None:
    root = folder(tmp_path, number=3)
    items = [
        Item(path=str(root / "images" / f"{place}.png"), split="train", group="", label="a", box=(2 + 10 * place, 0, 4, 4))
        for place in range(3)
    ]
    task = TaskData(name="boxes", kind="classification", items=tuple(items), classes=("a", "b"))
    with pytest.raises(TaskError, match=r"task boxes: 1 crop boxes are outside their images; the first: crop box \(22, 0, 4, 4\)"):
        readable_task(task)

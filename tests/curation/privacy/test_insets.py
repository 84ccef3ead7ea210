import os
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.packs.pack import iter_pack
from curation.privacy.insets import find_insets
from curation.privacy.text_boxes import Box
from curation.sources.discover import hash_video

WIDTH, HEIGHT = 384, 288
INSIDE = np.full((HEIGHT, WIDTH), 255, np.uint8)


def scene(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = cv2.resize(rng.normal(0, 1, (12, 16)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.stack([165 + 40 * waves, 95 + 30 * waves, 70 + 25 * waves], axis=2), 0, 255).astype(np.uint8)


def with_tracker(rgb: np.ndarray, seed: int) -> np.ndarray:
    rgb[200:280, 10:110] = (30, 170, 90)
    cv2.line(rgb, (20 + seed, 210), (90, 270 - seed), (20, 20, 20), 2)
    return rgb


def with_second_picture(rgb: np.ndarray, seed: int) -> np.ndarray:
    rgb[60:140, 240:340] = cv2.resize(scene(100 + seed), (100, 80))
    cv2.rectangle(rgb, (240, 60), (339, 139), (220, 220, 220), 2)
    return rgb


def iou(one: Box, other: Box) -> float:
    masks = np.zeros((2, 400, 400), bool)
    for mask, box in zip(masks, (one, other), strict=True):
        mask[box.y : box.y + box.height, box.x : box.x + box.width] = True
    return float((masks[0] & masks[1]).sum() / (masks[0] | masks[1]).sum())


def test_a_green_tracker_is_found_in_one_picture() -> None:
    (box,) = find_insets([with_tracker(scene(0), 0)], INSIDE)
    assert iou(box, Box(10, 200, 100, 80)) > 0.95


def test_a_second_picture_is_found_by_its_sides_although_it_moves() -> None:
    (box,) = find_insets([with_second_picture(scene(seed), seed) for seed in range(8)], INSIDE)
    assert box.x <= 240 < 340 <= box.x + box.width + 2
    assert iou(box, Box(240, 60, 100, 80)) > 0.75


@pytest.mark.parametrize("num_pictures", [1, 5, 8])
def test_tissue_has_no_inset(num_pictures: int) -> None:
    assert find_insets([scene(seed) for seed in range(num_pictures)], INSIDE) == ()


def test_in_one_scene_everything_stands_still_and_nothing_is_an_inset() -> None:
    assert find_insets([with_second_picture(scene(0), seed) for seed in range(8)], INSIDE) == ()


def test_an_inset_is_black_in_stored_frames(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", {"g": "1"}
        for seed in range(8):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(with_tracker(scene(seed), seed), format="rgb24")))
        container.mux(stream.encode())
    config = IngestConfig(max_hash_distance=0, min_blur=0, text="off")
    result = ingest_video(hash_video(str(path)), lake_root=str(tmp_path), config=config)
    assert result.pack is not None
    assert result.frames_part is not None
    assert {row["crop_width"] for row in pq.read_table(tmp_path / result.frames_part).to_pylist()} == {WIDTH}
    for _, jpeg in iter_pack(tmp_path / result.pack.path):
        picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE))
        assert picture[208:272, 18:102].max() < 12
        assert picture[:190].min() > 12


@pytest.mark.real_data
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
def test_real_frames_without_an_inset_have_none_and_real_trackers_are_found() -> None:
    real_data = Path(os.environ["ENDOFORGE_REAL_DATA"])
    frames = sorted((real_data / "cvc_clinicdb" / "images").iterdir())[::77]
    assert find_insets([np.asarray(cv2.imread(str(frame), cv2.IMREAD_COLOR_RGB)) for frame in frames], INSIDE) == ()
    with_one = cv2.imread(str(real_data / "kvasir_seg" / "images" / "test_0033.jpg"), cv2.IMREAD_COLOR_RGB)
    (box,) = find_insets([np.asarray(with_one)], np.full((352, 352), 255, np.uint8))
    assert iou(box, Box(21, 234, 100, 104)) > 0.9

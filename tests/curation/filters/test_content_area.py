import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from curation.filters.content_area import ContentArea, content_mask, find_content_area, full_area
from curation.video import overview_frames, probe


def circle_truth(height: int, width: int, center: tuple[float, float], radius: float) -> np.ndarray:
    ys, xs = np.mgrid[:height, :width] + 0.5
    return np.asarray((xs - center[0]) ** 2 + (ys - center[1]) ** 2 <= radius**2)


def octagon_truth(height: int, width: int, box: tuple[int, int, int, int], cut: int) -> np.ndarray:
    left, top, right, bottom = box
    ys, xs = np.mgrid[:height, :width] + 0.5
    inside = (xs > left) & (xs < right) & (ys > top) & (ys < bottom)
    for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
        inside &= np.abs(xs - x) + np.abs(ys - y) > cut
    return np.asarray(inside)


def film(truth: np.ndarray, *, seed: int, num_frames: int = 6, text: bool = True) -> list[np.ndarray]:
    """Unevenly lit tissue inside, noise and burned-in text outside, as JPEG frames; every frame is dark on another side."""
    rng = np.random.default_rng(seed)
    height, width = truth.shape
    ys, xs = np.mgrid[:height, :width]
    frames = []
    for number in range(num_frames):
        waves = cv2.resize(
            rng.normal(0, 1, (height // 16 + 2, width // 16 + 2)).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        angle = rng.uniform(0, 2 * np.pi)
        light = np.clip(0.5 + 0.9 * ((xs / width - 0.5) * np.cos(angle) + (ys / height - 0.5) * np.sin(angle)), 0.05, 1)
        tissue = np.stack([150 + 40 * waves, 80 + 25 * waves, 60 + 20 * waves], axis=2) * (light * truth)[..., None]
        frame = np.clip(tissue + rng.normal(3, 4, tissue.shape), 0, 255).astype(np.uint8)
        if text:
            scale, weight = height / 700, max(1, height // 400)
            for line, row in (("DOE JOHN 1961", 0.08), (f"12:30:{number:02d}", 0.95)):
                cv2.putText(frame, line, (5, int(row * height) + 4), cv2.FONT_HERSHEY_SIMPLEX, scale, (230, 230, 230), weight)
        frames.append(np.asarray(cv2.imdecode(cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], cv2.IMREAD_COLOR)))
    return frames


def iou(area: ContentArea, truth: np.ndarray) -> float:
    found = np.zeros(truth.shape, bool)
    found[area.y : area.y + area.height, area.x : area.x + area.width] = content_mask(area, (area.height, area.width)) > 0
    return float((found & truth).sum() / (found | truth).sum())


@pytest.mark.parametrize(
    ("size", "center", "radius"),
    [((720, 1280), (614, 397), 570), ((576, 720), (360, 288), 260), ((1024, 1280), (660, 500), 480), ((288, 384), (190, 144), 130)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_circles_are_found_to_97_percent(size: tuple[int, int], center: tuple[float, float], radius: float, seed: int) -> None:
    truth = circle_truth(*size, center, radius)
    area = find_content_area(film(truth, seed=seed))
    assert area.shape == "circle"
    assert iou(area, truth) >= 0.97


@pytest.mark.parametrize(
    ("size", "box", "cut"),
    [((288, 384), (42, 14, 358, 280), 40), ((720, 1280), (300, 20, 1230, 700), 120), ((320, 320), (20, 10, 300, 310), 60)],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_octagons_are_found_to_97_percent(size: tuple[int, int], box: tuple[int, int, int, int], cut: int, seed: int) -> None:
    truth = octagon_truth(*size, box, cut)
    area = find_content_area(film(truth, seed=seed))
    assert area.shape == "polygon"
    assert iou(area, truth) >= 0.97


@pytest.mark.parametrize("border", [(6, 16, 44), (70, 70, 80), (0, 90, 60)])
def test_a_coloured_border_is_told_from_the_picture(border: tuple[int, int, int]) -> None:
    truth = octagon_truth(480, 640, (120, 20, 600, 460), 90)
    frames = [np.where(truth[..., None], frame, np.maximum(frame, border).astype(np.uint8)) for frame in film(truth, seed=2)]
    area = find_content_area(frames)
    assert area.shape == "polygon"
    assert iou(area, truth) >= 0.97


def test_a_side_panel_leaves_a_rectangle() -> None:
    truth = np.zeros((480, 640), bool)
    truth[:, 200:] = True
    area = find_content_area(film(truth, seed=3))
    assert area.shape == "rectangle"
    assert iou(area, truth) >= 0.97


def test_a_picture_without_a_border_is_full() -> None:
    truth = np.ones((240, 320), bool)
    frames = [np.maximum(frame, 60) for frame in film(truth, seed=4, text=False)]
    assert find_content_area(frames) == full_area(320, 240)


def test_a_black_video_is_full_and_not_an_error() -> None:
    assert find_content_area([np.zeros((240, 320, 3), np.uint8)] * 3) == full_area(320, 240)


def test_the_area_of_small_copies_is_given_in_source_pixels() -> None:
    truth = circle_truth(720, 1280, (614, 397), 500)
    small = [cv2.resize(frame, (426, 240), interpolation=cv2.INTER_AREA) for frame in film(truth, seed=5)]
    assert iou(find_content_area(small, size=(1280, 720)), truth) >= 0.97


def test_no_frames_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="at least one"):
        find_content_area([])


def test_the_mask_holds_only_pixels_wholly_inside() -> None:
    area = ContentArea(x=0, y=0, width=4, height=4, shape="circle", geometry=(2.0, 2.0, 2.0))
    assert (content_mask(area, (4, 4)) > 0).astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    diamond = ContentArea(x=10, y=10, width=4, height=4, shape="polygon", geometry=(12.0, 10.0, 14.0, 12.0, 12.0, 14.0, 10.0, 12.0))
    assert (content_mask(diamond, (4, 4)) > 0).astype(int).tolist() == [[0, 0, 0, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]]


@pytest.mark.real_data
@pytest.mark.skipif("ENDOFORGE_REAL_DATA" not in os.environ, reason="ENDOFORGE_REAL_DATA is not set")
@pytest.mark.parametrize(
    ("name", "shape", "box"),
    [  # measured by hand on enlarged frames
        ("laparoscopy/rvimlab_endo.mp4", "circle", (45, 0, 1184, 720)),
        ("colonoscopy/cvc_seq01.mp4", "polygon", (42, 13, 360, 280)),
        ("colonoscopy/cvc_seq19.mp4", "polygon", (28, 12, 342, 282)),
        ("colonoscopy/cvc_seq24.avi", "polygon", (61, 27, 357, 280)),
    ],
)
def test_real_videos_match_a_hand_check(name: str, shape: str, box: tuple[int, int, int, int]) -> None:
    path = str(Path(os.environ["ENDOFORGE_REAL_DATA"]) / "videos" / name)
    header = probe(path)
    area = find_content_area(overview_frames(path, num_frames=8, max_side=480), size=(header.width, header.height))
    assert area.shape == shape
    found = (area.x, area.y, area.x + area.width, area.y + area.height)
    assert max(abs(ours - theirs) for ours, theirs in zip(found, box, strict=True)) <= 0.015 * header.width

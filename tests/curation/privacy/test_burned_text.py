import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from curation.ingest.config import IngestConfig
from curation.ingest.ingest import ingest_video
from curation.privacy.text_boxes import Box, blacked_out
from curation.privacy.text_detector import TextCheckFailed, _boxes as boxes_of, find_text, load_text_detector
from curation.sources.discover import hash_video
from warehouse.records import IngestedVideo

WIDTH, HEIGHT = 384, 288
LINES = ("MUELLER ANNA", "12/03/1958", "ID 4711-08")


def tissue(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    waves = cv2.resize(rng.normal(0, 1, (HEIGHT // 16, WIDTH // 16)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    fine = cv2.GaussianBlur(rng.normal(0, 12, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 1.0)
    waves = waves + fine / 12
    return np.clip(np.stack([165 + 25 * waves, 90 + 18 * waves, 70 + 14 * waves], axis=2), 0, 255).astype(np.uint8)


def written(rgb: np.ndarray, *, x: int = 24, y: int = 60) -> np.ndarray:
    for number, line in enumerate(LINES):
        cv2.putText(rgb, line, (x, y + 24 * number), cv2.FONT_HERSHEY_SIMPLEX, 0.55, (255, 255, 255), 1, cv2.LINE_AA)
    return rgb


def letters(x: int = 24, y: int = 60) -> np.ndarray:
    return written(np.zeros((HEIGHT, WIDTH, 3), np.uint8), x=x, y=y)[:, :, 0] > 128


def film(path: Path, pictures: list[np.ndarray]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.width, stream.height, stream.pix_fmt, stream.options = WIDTH, HEIGHT, "yuv420p", {"crf": "14", "g": "2"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def ingested(path: Path, lake: Path, config: IngestConfig) -> tuple[IngestedVideo, list[dict[str, object]], list[np.ndarray]]:
    result = ingest_video(hash_video(str(path)), lake_root=str(lake), config=config)
    assert result.frames_part is not None
    rows = pq.read_table(lake / result.frames_part).to_pylist()
    packs = {pack.pack_id: (lake / pack.path).read_bytes() for pack in (result.pack, result.spare) if pack}
    stored = [packs[row["pack_id"]][row["byte_offset"] :][: row["byte_size"]] for row in rows if row["pack_id"]]
    return result, rows, [np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)) for jpeg in stored]


def test_text_is_found_line_by_line_and_tissue_is_not_text() -> None:
    detector = load_text_detector()
    boxes = find_text(written(tissue(0)), detector)
    hidden = blacked_out(np.full((HEIGHT, WIDTH), 1, np.uint8), boxes) == 0
    assert hidden[letters()].mean() > 0.98
    assert hidden.mean() < 0.2
    assert find_text(tissue(0), detector) == ()


@pytest.mark.parametrize("size", [(32, 32), (1920, 90), (60, 700), (1, 1)])
def test_a_picture_of_any_size_is_looked_at(size: tuple[int, int]) -> None:
    for box in find_text(np.zeros((*size, 3), np.uint8), load_text_detector()):
        assert 0 <= box.x < box.x + box.width <= size[1]
        assert 0 <= box.y < box.y + box.height <= size[0]


def test_a_line_is_what_the_network_is_sure_of_somewhere_and_a_tall_region_is_its_sure_cores() -> None:
    answer = np.zeros((200, 400), np.float32)
    answer[10:16, 20:60] = 0.5
    assert boxes_of(answer, (400, 200)) == ()  # nowhere sure
    answer[12, 30] = 0.8
    assert boxes_of(answer, (800, 400)) == (Box(28, 8, 104, 36),)  # in pixels of the picture, and larger than the mark
    answer[80:110, 20:60] = 0.3
    answer[85:90, 25:55] = answer[100:105, 25:55] = 0.97
    assert boxes_of(answer, (400, 200))[1:] == (Box(18, 78, 44, 19), Box(18, 93, 44, 19))
    answer[80:110, 20:60] = 0.8
    assert boxes_of(answer, (400, 200))[1:] == (Box(0, 57, 83, 76),)  # high, and sure throughout


def test_a_look_at_a_part_finds_what_is_in_it() -> None:
    picture = written(tissue(0))
    whole = find_text(picture, load_text_detector())
    part = find_text(picture, load_text_detector(), Box(0, 96, WIDTH, 32))
    assert (len(part), len(whole)) == (1, 3)
    assert 80 < part[0].y < 110


def test_a_detector_that_cannot_be_run_says_so() -> None:
    class Broken:
        def get_inputs(self) -> list[object]:
            raise RuntimeError("no session")

    with pytest.raises(TextCheckFailed, match="failed on a picture of 384x288"):
        find_text(tissue(0), Broken())


def test_an_overlay_never_reaches_a_pack_although_its_background_changes(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [written(tissue(seed)) for seed in range(20)])
    result, rows, pictures = ingested(path, tmp_path, IngestConfig(max_hash_distance=0))
    assert result.video is not None
    assert len(pictures) == 20
    for picture in pictures:
        assert np.median(picture[letters()]) < 8
        assert (picture[letters()] > 150).mean() < 0.02
    assert all(0.05 < float(str(row["text_share"])) < 0.25 for row in rows)
    assert rows[0]["text_boxes"] == rows[5]["text_boxes"]


def test_text_that_comes_and_goes_between_two_looks_is_found_because_it_stands_still(tmp_path: Path) -> None:
    pictures = [tissue(seed) if not 4 <= seed < 8 else written(tissue(seed), y=150) for seed in range(24)]
    path = film(tmp_path / "film.mp4", pictures)
    _, _, stored = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, text_interval_s=1000))
    assert len(stored) == 24
    for position in range(4, 8):  # the first of them was stored before anything could be known to stand still
        assert (stored[position][letters(y=150)] > 150).mean() < 0.02, position


def test_what_one_look_finds_hides_only_what_lies_before_the_camera_moves_on(tmp_path: Path) -> None:
    """The first sample is in the overview too; that a picture is looked at twice must not make it last."""
    pictures = [written(tissue(0)), *(tissue(seed) for seed in range(1, 12))]
    _, rows, stored = ingested(film(tmp_path / "film.mp4", pictures), tmp_path, IngestConfig(max_hash_distance=0, text_interval_s=1000))
    assert len(stored) == 12
    assert (stored[0][letters()] > 150).mean() < 0.02
    for position in range(2, 12):
        assert rows[position]["text_share"] == 0, position
        assert np.median(stored[position][letters()]) > 60, position


def test_soft_text_that_appears_between_two_looks_is_found(tmp_path: Path) -> None:
    soft = cv2.GaussianBlur(written(np.zeros((HEIGHT, WIDTH, 3), np.uint8)), (0, 0), 0.8).astype(np.float32) * 50 / 255
    pictures = [tissue(seed) for seed in range(6)]
    pictures += [np.clip(tissue(seed) + soft, 0, 255).astype(np.uint8) for seed in range(6, 16)]
    _, _, stored = ingested(film(tmp_path / "film.mp4", pictures), tmp_path, IngestConfig(max_hash_distance=0, text_interval_s=1000))
    for position in range(6, 16):
        assert (stored[position][letters()] > 20).mean() < 0.02, position


def fine_tissue(seed: int) -> np.ndarray:
    """With speckles as sharp as letters."""
    picture = tissue(seed).astype(np.int16)
    rng = np.random.default_rng(1000 + seed)
    ys, xs = rng.integers(0, HEIGHT - 4, 400), rng.integers(0, WIDTH - 4, 400)
    for y, x in zip(ys.tolist(), xs.tolist(), strict=True):
        picture[y : y + 3, x : x + 3] += 60
    return np.clip(picture, 0, 255).astype(np.uint8)


def test_a_name_that_comes_with_a_frozen_picture_is_found(tmp_path: Path) -> None:
    frozen = written(tissue(100))
    pictures = [*(tissue(seed) for seed in range(5)), *[frozen] * 5, *(tissue(seed) for seed in range(5, 10))]
    path = film(tmp_path / "film.mp4", pictures)
    _, _, stored = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, freeze_motion=0, text_interval_s=1000))
    assert len(stored) == 15
    for position in range(5, 10):
        assert (stored[position][letters()] > 150).mean() < 0.02, position


def test_a_name_that_appears_on_a_frozen_picture_is_found(tmp_path: Path) -> None:
    pictures = [
        *(tissue(seed) for seed in range(5)),
        *[tissue(100)] * 4,
        *[written(tissue(100))] * 4,
        *(tissue(seed) for seed in range(5, 8)),
    ]
    path = film(tmp_path / "film.mp4", pictures)
    _, _, stored = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, freeze_motion=0, text_interval_s=1000))
    for position in range(9, 13):
        assert (stored[position][letters()] > 150).mean() < 0.02, position


def test_a_name_shown_for_a_moment_among_sharp_speckles_is_found_however_long_nothing_was(tmp_path: Path) -> None:
    pictures = [written(fine_tissue(seed)) if 30 <= seed < 34 else fine_tissue(seed) for seed in range(40)]
    path = film(tmp_path / "film.mp4", pictures)
    _, _, stored = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, text_interval_s=1000))
    assert len(stored) == 40
    for position in range(30, 34):
        assert (stored[position][letters()] > 150).mean() < 0.02, position


def rings(rgb: np.ndarray, *, dx: int = 0) -> np.ndarray:
    """Vessel-like loops with a highlight, in which the detector sees text and nobody reads any."""
    for x, y, radius in ((120, 90, 14), (230, 160, 18), (170, 210, 11)):
        cv2.ellipse(rgb, (x + dx, y), (radius, radius - 4), 25, 20, 330, (70, 20, 25), 3, cv2.LINE_AA)
        cv2.ellipse(rgb, (x + dx, y), (radius // 3, 2), 60, 0, 360, (250, 245, 240), -1, cv2.LINE_AA)
    return rgb


def test_what_the_detector_takes_for_text_is_not_hidden_if_no_character_is_read(tmp_path: Path) -> None:
    """A steady camera: the loops are found in every look, at the same place."""
    noise = np.random.default_rng(3)
    pictures = [np.clip(rings(tissue(0), dx=n // 4).astype(int) + noise.normal(0, 2, (HEIGHT, WIDTH, 3)), 0, 255) for n in range(12)]
    assert len(find_text(rings(tissue(0)), load_text_detector())) > 0
    path = film(tmp_path / "film.mp4", [picture.astype(np.uint8) for picture in pictures])
    _, rows, _ = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, freeze_motion=0, text_interval_s=0))
    assert [row["text_share"] for row in rows] == [0.0] * 12
    assert [row["unconfirmed_share"] for row in rows] == [0.0] * 12


def test_text_that_is_gone_for_two_looks_is_not_hidden_any_more(tmp_path: Path) -> None:
    pictures = [written(tissue(seed)) if seed < 6 else tissue(seed) for seed in range(16)]
    path = film(tmp_path / "film.mp4", pictures)
    _, rows, stored = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, text_interval_s=2))
    for position in range(6):
        assert (stored[position][letters()] > 150).mean() < 0.02, position
    assert [rows[position]["text_share"] for position in range(11, 16)] == [0.0] * 5


def test_short_fields_and_a_running_clock_are_hidden(tmp_path: Path) -> None:
    pictures, clock = [], np.zeros((HEIGHT, WIDTH), bool)
    for seed in range(12):
        rgb, mask = tissue(seed), np.zeros((HEIGHT, WIDTH), np.uint8)
        for text, x, y in (("12", 60, 80), (f"10:33:{15 + seed}", 200, 120), ("F 67", 80, 200)):
            cv2.putText(rgb, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (230, 230, 90), 2, cv2.LINE_AA)
            cv2.putText(mask, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.6, 255, 1, cv2.LINE_AA)
        pictures.append(rgb)
        clock = mask > 128
    _, rows, stored = ingested(film(tmp_path / "film.mp4", pictures), tmp_path, IngestConfig(max_hash_distance=0))
    for picture in stored:
        assert (picture[clock] > 150).mean() < 0.02
    assert {row["unconfirmed_share"] for row in rows} == {0.0}


def test_text_may_be_cropped_away(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [written(tissue(seed), x=20, y=24) for seed in range(6)])
    _, rows, pictures = ingested(path, tmp_path, IngestConfig(max_hash_distance=0, text="crop"))
    assert {row["text_share"] for row in rows} == {0.0}
    assert rows[0]["crop_y"] > 60  # type: ignore[operator]
    assert (rows[0]["crop_width"], pictures[0].shape[1]) == (WIDTH, WIDTH)


def test_frames_with_text_may_be_dropped(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [written(tissue(seed)) for seed in range(3)])
    result, rows, _ = ingested(path, tmp_path, IngestConfig(text="drop"))
    assert result.pack is None
    assert [row["drop_reason"] for row in rows] == ["text"] * 3


def test_text_is_not_looked_for_where_that_is_switched_off(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [written(tissue(seed)) for seed in range(3)])
    _, rows, pictures = ingested(path, tmp_path, IngestConfig(text="off"))
    assert {(row["text_share"], row["unconfirmed_share"]) for row in rows} == {(None, None)}
    assert (pictures[0][letters()] > 150).mean() > 0.5


def test_a_place_named_for_pictures_of_this_size_is_black(tmp_path: Path) -> None:
    path = film(tmp_path / "film.mp4", [tissue(seed) for seed in range(3)])
    masks = (f"{WIDTH}x{HEIGHT}:100,50,40,30", "1920x1080:0,0,1920,1080")
    _, _, pictures = ingested(path, tmp_path, IngestConfig(text="off", text_masks=masks))
    for picture in pictures:
        assert picture[52:78, 102:138].max() < 12
        assert picture[100:, :].min() > 12


def test_frames_that_could_not_be_checked_are_quarantined(tmp_path: Path) -> None:
    """In a Python without ONNX Runtime the check fails, and no frame may pass."""
    film(tmp_path / "film.mp4", [tissue(seed) for seed in range(3)])
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from curation.ingest import IngestConfig\n"
        "from curation.sources.discover import hash_video\n"
        "from curation.ingest.ingest import ingest_video\n"
        "import pyarrow.parquet as pq\n"
        "lake = sys.argv[1]\n"
        "result = ingest_video(hash_video(lake + '/film.mp4'), lake_root=lake, config=IngestConfig())\n"
        "print(result.pack, result.video.status, result.video.warning.partition(': ')[0])\n"
        "print(pq.read_table(lake + '/' + result.frames_part)['drop_reason'].to_pylist())\n"
    )
    shown = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout
    assert shown.splitlines() == ["None partial text could not be looked for", str(["text_unchecked"] * 3)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda: IngestConfig(text_interval_s=-1), "text_interval_s=-1"),
        (lambda: IngestConfig(text_masks=("1920x1080",)), "WIDTHxHEIGHT:X,Y,WIDTH,HEIGHT"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: Callable[[], IngestConfig], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        change()

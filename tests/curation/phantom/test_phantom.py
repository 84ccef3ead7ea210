from __future__ import annotations

import csv
import dataclasses
import itertools
import shutil
from collections import Counter
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from curation.phantom import phantom_eval_patient, write_archive, write_eval_index
from curation.phantom.config import PhantomConfig
from curation.phantom.patient import content_area_mask
from curation.phantom.phantom import eval_patients, phantom_video, render_video, video_path
from curation.phantom.scene import STATIONS
from curation.phantom.video import VideoTruth
from tests.helpers.phantoms import read_truth, write_evaluation_sets
from warehouse.store import file_sha256

SMALL = PhantomConfig(
    num_train_videos=2,
    num_eval_patients=4,
    seconds=6.0,
    fps=10.0,
    size=128,
    landmarks_per_station=2,
    images_per_grade=2,
    polyps_per_patient=3,
)


def decode(path: Path) -> list[npt.NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [np.asarray(frame.to_ndarray(format="rgb24"), dtype=np.uint8) for frame in container.decode(video=0)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> VideoTruth:
    return render_video(tmp_path_factory.mktemp("phantom") / "a b" / "procedure ü 'x'.mp4", config=SMALL, patient=0)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation_sets(folder, config=SMALL)
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_decoded_frame_has_one_row_of_truth_at_its_own_time(video: VideoTruth) -> None:
    with av.open(str(video.path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        decoded = [round(frame.time * 1_000_000) for frame in container.decode(video=0)]
    assert len(decoded) == 60
    assert video.frames.column("pts_us").to_pylist() == decoded


def test_truth_on_disk_is_the_truth_returned(video: VideoTruth) -> None:
    area, frames = read_truth(video.truth_path)
    assert area == video.area
    assert frames.equals(video.frames)
    assert video.truth_path.name == "procedure ü 'x'.truth.parquet"
    assert pq.read_table(video.truth_path).schema.equals(video.frames.schema)


def test_rendering_twice_gives_the_same_bytes(video: VideoTruth, tmp_path: Path) -> None:
    again = render_video(tmp_path / "again.mp4", config=SMALL, patient=0)
    assert file_sha256(again.path) == file_sha256(video.path)
    assert file_sha256(again.truth_path) == file_sha256(video.truth_path)


def test_another_seed_gives_other_bytes(video: VideoTruth, tmp_path: Path) -> None:
    other = render_video(tmp_path / "other.mp4", config=dataclasses.replace(SMALL, seed=1), patient=0)
    assert file_sha256(other.path) != file_sha256(video.path)


def test_pixels_outside_the_content_area_are_dark_and_those_inside_are_lit(video: VideoTruth) -> None:
    frames = decode(video.path)
    mask = content_area_mask(video.area, (video.width, video.height))
    rows = video.frames.to_pylist()
    lit = [row["frame"] for row in rows if not row["dark"]]
    brightest = np.max([frames[number].max(axis=2) for number in lit], axis=0)
    inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), dtype=np.uint8)).astype(bool)
    assert np.median(brightest[inner]) > 90
    assert (brightest[inner] > 30).mean() > 0.97
    _, top, right, _ = video.area.box
    corner = brightest[max(top, 0) : top + 6, right - 6 : right]
    assert corner.max() < 70


def test_frozen_frames_repeat_the_frame_before_and_moving_ones_do_not(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, seconds=20.0)
    truth = next(
        each
        for patient in range(8)
        if sum((each := render_video(tmp_path / f"{patient}.mp4", config=config, patient=patient)).frames.column("freeze").to_pylist()) > 3
    )
    frames = [frame.astype(np.int16) for frame in decode(truth.path)]
    change = np.array([0.0] + [float(np.abs(b - a).mean()) for a, b in itertools.pairwise(frames)])
    frozen = np.array(truth.frames.column("freeze").to_pylist())
    dark = np.array(truth.frames.column("dark").to_pylist())
    moving = ~frozen & ~dark
    moving[0] = False
    assert np.median(change[frozen]) < 0.5
    assert np.median(change[moving]) > 3 * np.median(change[frozen])


def test_flagged_disturbances_show_in_the_pixels(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, seconds=24.0, size=96)
    brightness: dict[str, list[float]] = {"dark": [], "bright": [], "clean": []}
    sharpness: dict[str, list[float]] = {"blur": [], "clean": []}
    for patient in range(4):
        truth = render_video(tmp_path / f"{patient}.mp4", config=config, patient=patient)
        inside = content_area_mask(truth.area, (truth.width, truth.height))
        inside = cv2.erode(inside.astype(np.uint8), np.ones((15, 15), dtype=np.uint8)).astype(bool)
        for row, frame in zip(truth.frames.to_pylist(), decode(truth.path), strict=True):
            if row["freeze"] or row["out_of_body"]:
                continue
            gray = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
            flags = [flag for flag in ("dark", "bright", "blur", "bubbles") if row[flag]]
            kind = flags[0] if flags else "clean"
            if kind in brightness:
                brightness[kind].append(float(gray[inside].mean()))
            if kind in sharpness:
                sharpness[kind].append(float(np.abs(cv2.Laplacian(gray, cv2.CV_32F))[inside].mean()))
    assert all(brightness.values())
    assert all(sharpness.values())
    assert np.median(brightness["dark"]) < 0.4 * np.median(brightness["clean"])
    assert np.median(brightness["bright"]) > 1.3 * np.median(brightness["clean"])
    assert np.median(sharpness["blur"]) < 0.7 * np.median(sharpness["clean"])


def test_the_head_is_outside_the_body_and_has_no_station(video: VideoTruth) -> None:
    rows = video.frames.to_pylist()
    outside = [row["out_of_body"] for row in rows]
    assert outside[0]
    assert not outside[-1]
    assert outside == sorted(outside, reverse=True)
    assert all((row["station"] is None) == row["out_of_body"] for row in rows)
    assert {row["station"] for row in rows} - {None} <= set(STATIONS)


def test_polyp_boxes_lie_in_the_content_area_and_are_there_exactly_where_a_polyp_is(tmp_path: Path) -> None:
    rows = []
    for patient in (0, 2, 4):
        truth = render_video(tmp_path / f"{patient}.mp4", config=SMALL, patient=patient)
        left, top, right, bottom = truth.area.box
        for row in truth.frames.to_pylist():
            assert row["has_polyp"] == (row["polyp_left"] is not None)
            if row["has_polyp"]:
                assert max(left, 0) <= row["polyp_left"] < row["polyp_right"] <= min(right, truth.width)
                assert max(top, 0) <= row["polyp_top"] < row["polyp_bottom"] <= min(bottom, truth.height)
            rows.append(row)
    assert any(row["has_polyp"] for row in rows)
    assert any(not row["has_polyp"] for row in rows)


def test_dwell_times_over_many_videos_are_long_tailed() -> None:
    from curation.phantom.script import draw_script

    counts: Counter[str] = Counter()
    for seed in range(40):
        script = draw_script(seed, num_frames=500, fps=25.0, procedure="gastroscopy" if seed % 2 else "colonoscopy")
        for segment in script.segments:
            counts[segment.station or "outside"] += segment.stop - segment.start
        assert script.segments[-1].stop == 500
        assert all(first.stop == second.start for first, second in itertools.pairwise(script.segments))
    del counts["outside"]
    ranked = [count for _, count in counts.most_common()]
    assert set(counts) == set(STATIONS)
    assert ranked[0] > 4 * ranked[-1]


def test_a_finished_video_is_not_rendered_again(tmp_path: Path) -> None:
    path = Path(phantom_video(1, out_dir=str(tmp_path), config=SMALL))
    assert path == video_path(tmp_path, 1)
    assert path.name == "procedure 001.mp4"
    before = path.stat().st_mtime_ns
    assert phantom_video(1, out_dir=str(tmp_path), config=SMALL) == str(path)
    assert path.stat().st_mtime_ns == before
    phantom_video(1, out_dir=str(tmp_path), config=dataclasses.replace(SMALL, seconds=2.0))
    assert path.stat().st_mtime_ns != before
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_video_lost_after_its_evidence_is_rendered_again(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, seconds=1.0)
    path = Path(phantom_video(0, out_dir=str(tmp_path), config=config))
    digest = file_sha256(path)
    path.unlink()
    phantom_video(0, out_dir=str(tmp_path), config=config)
    assert file_sha256(path) == digest


@pytest.mark.parametrize("task", ["landmarks", "grades"])
def test_labels_name_existing_images_and_keep_patients_in_one_split(evaluation: Path, task: str) -> None:
    rows = read_csv(evaluation / task / "labels.csv")
    assert list(rows[0]) == ["path", "label", "split", "group", "site", "device"]
    expected = set(STATIONS) if task == "landmarks" else {"0", "1", "2", "3"}
    assert {row["label"] for row in rows} == expected
    assert Counter(row["label"] for row in rows) == dict.fromkeys(expected, 8)
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    assert len({(row["group"], row["split"]) for row in rows}) == len({row["group"] for row in rows}) == 4
    for row in rows:
        image = cv2.imread(str(evaluation / task / row["path"]))
        assert image is not None
        assert image.mean() > 5


def test_polyp_masks_are_binary_have_the_image_s_size_and_show_a_polyp(evaluation: Path) -> None:
    rows = read_csv(evaluation / "polyps" / "split.csv")
    assert list(rows[0]) == ["image", "mask", "split", "group", "site", "device"]
    assert len(rows) >= 10
    for row in rows:
        image = cv2.imread(str(evaluation / "polyps" / row["image"]))
        mask = cv2.imread(str(evaluation / "polyps" / row["mask"]), cv2.IMREAD_UNCHANGED)
        assert image is not None
        assert mask is not None
        assert Path(row["image"]).stem == Path(row["mask"]).stem
        assert mask.shape == image.shape[:2]
        assert set(np.unique(mask)) == {0, 255}
        assert 0.012 < np.count_nonzero(mask) / mask.size < 0.45


def test_evaluation_patients_have_no_video(evaluation: Path) -> None:
    groups = {row["group"] for task in ("landmarks", "grades") for row in read_csv(evaluation / task / "labels.csv")}
    assert groups == {"patient_002", "patient_003", "patient_004", "patient_005"}
    assert list(eval_patients(SMALL)) == [2, 3, 4, 5]


def test_a_training_patient_is_refused_as_evaluation_patient(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got evaluation patient 1, expected 2 to 5"):
        phantom_eval_patient(1, out_dir=str(tmp_path), config=SMALL)


def test_evaluation_images_are_the_same_bytes_again_and_are_not_written_twice(evaluation: Path, tmp_path: Path) -> None:
    evidence = phantom_eval_patient(2, out_dir=str(tmp_path), config=SMALL)
    written = sorted(path for path in tmp_path.rglob("*") if path.suffix in {".jpg", ".png"})
    assert written
    for path in written:
        assert file_sha256(path) == file_sha256(evaluation / path.relative_to(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in written}
    assert phantom_eval_patient(2, out_dir=str(tmp_path), config=SMALL) == evidence
    assert {path: path.stat().st_mtime_ns for path in written} == before


def test_an_archive_has_a_copy_a_damaged_file_and_a_film_of_held_out_pictures(video: VideoTruth, evaluation: Path, tmp_path: Path) -> None:
    for patient in (0, 1):
        place = video_path(tmp_path / "videos", patient)
        place.parent.mkdir(parents=True)
        shutil.copy(video.path, place)
    shutil.copytree(evaluation, tmp_path / "evaluation")
    write_archive(tmp_path, config=SMALL)
    rows = read_csv(tmp_path / "videos.csv")
    assert [Path(row["uri"]).name for row in rows] == [
        "procedure_000.mp4",
        "procedure_000_again.mp4",
        "procedure 001.mp4",
        "procedure 001_damaged.mp4",
        "teaching film.mp4",
    ]
    assert {row["site"] for row in rows} <= {"Northgate", "Southgate"}
    assert [row["patient"] for row in rows] == ["patient_000", "patient_000", "patient_001", "patient_001", "patient_005"]
    whole, again, _, damaged, film = (tmp_path / row["uri"] for row in rows)
    assert again.read_bytes() == whole.read_bytes()
    assert damaged.stat().st_size * 2 <= (tmp_path / rows[2]["uri"]).stat().st_size
    held = read_csv(tmp_path / "holdout.csv")
    assert len(held) == 4
    assert all((tmp_path / row["path"]).is_file() for row in held)
    with av.open(film) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4 * SMALL.fps
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    write_archive(tmp_path, config=SMALL)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")} == before


def test_the_index_does_not_depend_on_the_order_of_patients(evaluation: Path, tmp_path: Path) -> None:
    evidence = sorted(str(path) for path in (evaluation / "evidence").iterdir())
    counts = write_eval_index(evidence[::-1], out_dir=str(tmp_path), config=SMALL)
    assert counts["landmarks"] == 72
    assert counts["grades"] == 32
    assert (tmp_path / "landmarks" / "labels.csv").read_bytes() == (evaluation / "landmarks" / "labels.csv").read_bytes()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("num_train_videos", 0, "expected 1 or more"),
        ("num_eval_patients", 3, "expected 4 or more"),
        ("seconds", 0.0, "above 0"),
        ("fps", 0.5, "1 to 120"),
        ("size", 321, "even number"),
        ("landmarks_per_station", 0, "1 or more"),
        ("spread", 1.5, "0 to 1"),
        ("seed", -1, "0 or above"),
    ],
)
def test_settings_that_cannot_work_are_refused(field: str, value: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PhantomConfig(), **{field: value})  # type: ignore[arg-type]

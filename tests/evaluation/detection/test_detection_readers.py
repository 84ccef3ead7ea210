"""Box tasks read the published layouts, and say what they leave out."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.tasks import TaskError, readable_task, resolve_task
from evaluation.tasks.voc import read_voc
from evaluation.tasks.voc_tree import natural_key
from tests.evaluation.detection.trees import annotation, frame, polyps_set

NAMES = {"adenomatous": "adenomatous", "hyperplastic": "hyperplastic"}


def test_boxes_count_from_one_and_their_last_pixel_is_inside(tmp_path: Path) -> None:
    found = read_voc(annotation(tmp_path / "1.xml", [("Adenomatous", 1, 1, 10, 20)]), names=NAMES)
    assert [(box.corners, box.name, box.unique_id) for box in found.boxes] == [((0, 0, 10, 20), "adenomatous", "")]


def test_boxes_without_width_or_height_are_left_out_and_counted(tmp_path: Path) -> None:
    boxes = [("adenomatous", 5, 5, 5, 20), ("hyperplastic", 0, 0, 0, 0), ("hyperplastic", 9, 9, 30, 12)]
    found = read_voc(annotation(tmp_path / "1.xml", boxes), names=NAMES)
    assert (len(found.boxes), found.num_degenerate) == (1, 2)
    assert read_voc(annotation(tmp_path / "2.xml", []), names=NAMES).boxes == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<annotation><object>", "is no whole XML"),
        ("", "is no whole XML"),
        ("<html></html>", "has the root 'html'"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "has a document type"),
        ("<annotation><object><name>instrument</name></object></annotation>", "names an object 'instrument'; expected adenomatous"),
        ("<annotation><object><name>adenomatous</name></object></annotation>", "without four numbers in bndbox"),
        (
            "<annotation><object><name>adenomatous</name><bndbox><xmin>1</xmin><ymin>nan</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
            "</object></annotation>",
            "give finite numbers",
        ),
    ],
)
def test_damaged_annotations_are_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "1.xml"
    path.write_text(text)
    with pytest.raises(TaskError, match=said):
        read_voc(path, names=NAMES)


def test_names_sort_by_their_numbers() -> None:
    assert sorted(["10.jpg", "9.jpg", "a2b10", "a2b9"], key=natural_key) == ["9.jpg", "10.jpg", "a2b9", "a2b10"]


def test_the_source_tree_in_order_of_numbers(tmp_path: Path) -> None:
    task = resolve_task("kumc", polyps_set(tmp_path, videos=2, frames=3))
    assert (task.kind, task.classes) == ("detection", ("adenomatous", "hyperplastic"))
    assert [Path(item.path).name for item in task.split("train")] == ["9.jpg", "10.jpg", "11.jpg"] * 2
    assert [item.group for item in task.split("test")] == ["test 1"] * 3 + ["test 2"] * 3
    assert [len(item.boxes or ()) for item in task.split("val")] == [0, 1, 1] * 2
    assert {box.lesion for item in task.split("test") for box in item.boxes or ()} == {"test 1 hyperplastic", "test 2 adenomatous"}
    assert task.split_protocol.startswith("three_splits")
    assert (task.frames_per_s, task.frame_rate_source) == (30.0, "assumed: the publication names no frame rate")
    assert "frames: 18, of which 6 show nothing" in task.notes
    assert task.validate() == ()


def test_the_released_protocol_reports_what_it_chose_by(tmp_path: Path) -> None:
    task = resolve_task("kumc", polyps_set(tmp_path, videos=2, frames=3), protocol="published")
    assert {item.path for item in task.split("val")} == {item.path for item in task.split("test")}
    assert all("/val2019/" in item.path for item in task.split("test"))
    assert [text.partition(" (")[0] for text in task.leaks()] == [
        "leak: patients or sequences that the model's head is trained on are also scored",
        "leak: the frames that are reported have chosen the model",
    ]
    assert any("val2019 chooses the checkpoint and is reported" in note for note in task.notes)


def test_the_prepared_tree_reads_its_lists(tmp_path: Path) -> None:
    polyps_set(tmp_path, videos=1, frames=3)
    prepared = tmp_path / "processed"
    (tmp_path / "PolypsSet").rename(prepared)
    (prepared / "ImageSets").mkdir()
    for split in ("train", "val", "test"):
        (prepared / "ImageSets" / f"{split}.txt").write_text("1 0 11 3\n1 0 9 3\n1 0 10 3\n1 0 99 3\n")
    task = resolve_task("kumc", tmp_path)
    assert [Path(item.path).name for item in task.split("train")] == ["9.jpg", "10.jpg", "11.jpg"]
    assert (
        "left out: 3 of 12 frames (train 1/99.jpg, val 1/99.jpg, test 1/99.jpg); 3 not there, 0 damaged or of unknown names" in task.notes
    )
    assert any("in the order of a directory listing" in note for note in task.notes)
    (prepared / "ImageSets" / "val.txt").write_text("../../elsewhere 0 1 3\n")
    with pytest.raises(TaskError, match="expected the name of a folder"):
        resolve_task("kumc", tmp_path)


def test_flat_splits_and_capital_suffixes(tmp_path: Path) -> None:
    polyps_set(tmp_path, videos=2, frames=3)
    train = tmp_path / "PolypsSet" / "train2019"
    for kind in ("Image", "Annotation"):
        for path in sorted((train / kind).rglob("*.*")):
            path.rename(train / kind / f"{path.parent.name}_{path.stem}{path.suffix.upper()}")
        shutil.rmtree(train / kind / "1")
        shutil.rmtree(train / kind / "2")
    task = resolve_task("kumc", tmp_path / "PolypsSet")
    assert [Path(item.path).name for item in task.split("train")] == [f"{v}_{n}.JPG" for v in (1, 2) for n in (9, 10, 11)]
    assert all(item.group == item.path for item in task.split("train"))
    assert "train: 6 frames lie flat, so their videos are not known" in task.notes


def test_frames_that_cannot_be_used_are_left_out_and_told(tmp_path: Path) -> None:
    folder = polyps_set(tmp_path, videos=2, frames=4) / "PolypsSet" / "test2019" / "Annotation" / "1"
    (folder / "10.xml").write_text("<annotation><object>")
    (folder / "9.xml").unlink()
    annotation(folder / "11.xml", [("hyperplastic", 5, 5, 5, 40), ("hyperplastic", 60, 60, 300, 300)])
    task, _ = readable_task(resolve_task("kumc", tmp_path))
    assert [Path(item.path).name for item in task.split("test")][:2] == ["11.jpg", "12.jpg"]
    assert [box.corners for box in task.split("test")[0].boxes or ()] == [(59, 59, 96, 80)]
    notes = "; ".join(task.notes)
    assert "left out: 2 of 24 frames (test 1/9.xml, test 1/10.xml); 1 not there, 1 damaged or of unknown names" in notes
    assert "degenerate boxes: 1 without width or height" in notes
    assert "boxes: 1 reach over the border of their frame and are cut there, 0 lie outside" in notes


def test_a_tree_of_which_most_is_missing_is_refused(tmp_path: Path) -> None:
    polyps_set(tmp_path, videos=1, frames=3)
    for path in tmp_path.rglob("*.xml"):
        path.unlink()
    with pytest.raises(TaskError, match="9 of 9 frames cannot be used"):
        resolve_task("kumc", tmp_path)
    with pytest.raises(TaskError, match="no folder such as train2019/Image"):
        resolve_task("kumc", tmp_path / "PolypsSet" / "train2019" / "Image")


def test_real_colon_names_its_lesions_and_its_rate(tmp_path: Path) -> None:
    for video in ("001-001", "001-011", "001-013"):
        for number in (0, 30, 31, 60):
            boxes = [("lesion", 10, 10, 40, 40)] if number else []
            frame(tmp_path / f"{video}_frames" / f"{video}_{number}.jpg", boxes, seed=number)
            annotation(tmp_path / f"{video}_annotation" / f"{video}_{number}.xml", boxes, extra=f"<unique_id>{video}_1</unique_id>")
    task = resolve_task("real_colon_detection", tmp_path)
    assert [len(task.split(split)) for split in ("train", "val", "test")] == [3, 3, 3]
    assert [[box.lesion for box in item.boxes or ()] for item in task.split("test")] == [[], ["001-013_1"], ["001-013_1"]]
    assert task.frames_per_s == 1.0
    (tmp_path / "video_info.csv").write_text("unique_video_name,fps\n001-001,30.0\n001-013,60.0\n")
    task = resolve_task("real_colon_detection", tmp_path)
    assert task.frames_per_s == 1.5
    with pytest.raises(TaskError, match=r"videos of site 004 0 of 15\); complete the download$"):  # auto reads no boxes
        task.validate()


def test_boxes_of_masks_are_those_of_their_regions(tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for number in range(1, 5):
        mask = np.zeros((60, 80), np.uint8)
        mask[10:20, 5:25] = mask[40:50, 60:75] = 255
        mask[0, 79] = 255  # a speck
        Image.fromarray(mask).save(tmp_path / "masks" / f"{number:03}.png")
        pixels = np.random.default_rng(number).integers(0, 255, (120, 160, 3), np.uint8)  # twice the mask's size
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:03}.png")
    (tmp_path / "splits").mkdir()
    sequences = "".join(f"{number:03}.png,{number}\n" for number in range(1, 5))
    (tmp_path / "splits" / "cvc_clinicdb_sequences.csv").write_text("file,sequence\n" + sequences)
    task = resolve_task("cvc_clinicdb_boxes", tmp_path)
    assert [box.corners for box in task.items[0].boxes or ()] == [(10, 20, 50, 40), (120, 80, 150, 100)]
    assert len({box.lesion for item in task.items for box in item.boxes or ()}) == 8
    assert "boxes: made from masks, 8 connected regions of 4 images" in task.notes
    assert "specks: 4 regions below 0.1% of their picture have no box" in task.notes
    with pytest.raises(TaskError, match="was asked for as segmentation, but its labels are boxes"):
        resolve_task("cvc_clinicdb_boxes", tmp_path, kind="segmentation")

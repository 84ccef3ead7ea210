"""Folders are read by their layout, or refused with the task that they look like."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from evaluation.tasks import TaskError, read_task, resolve_task


def write(root: Path, *names: str) -> None:
    """Pictures that are white in one corner."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.zeros((16, 16), np.uint8)
        pixels[:8, :8] = 255
        Image.fromarray(pixels).save(path)


PUBLISHED = {
    "cvc": ([f"Original/{n}.tif" for n in range(4)] + [f"Ground Truth/{n}.tif" for n in range(4)], "cvc_clinicdb"),
    "cvc one level down": (["CVC-ClinicDB/Original/1.tif", "CVC-ClinicDB/Ground Truth/1.tif"], "cvc_clinicdb"),
    "limuc": ([f"{part}/Mayo {n}/1.bmp" for part in ("train_and_validation_sets", "test_set") for n in range(4)], "limuc"),
    "hyperkvasir": (["labeled-images/lower-gi-tract/anatomical-landmarks/cecum/1.jpg"], "hyperkvasir_landmarks"),
    "polypgen": ([f"data_C{n}/{what}_C{n}/1.jpg" for n in (2, 3) for what in ("images", "masks", "bbox")], "polypgen"),
    "real colon": ([f"001-0{n}_{what}/001-0{n}_0.jpg" for n in (11, 12) for what in ("frames", "annotation")], "real_colon"),
    "one tract": (["anatomical-landmarks/cecum/1.jpg", "pathological-findings/polyps/1.jpg"], "hyperkvasir_landmarks"),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_data_is_named_with_its_task(tmp_path: Path, name: str) -> None:
    files, task = PUBLISHED[name]
    write(tmp_path, *files)
    with pytest.raises(TaskError, match=f"looks like data of the task {task} .*; give --task {task}"):
        resolve_task("auto", tmp_path)


HALF_KNOWN = {
    "splits of masks": (["train/images/1.png", "train/masks/1.png", "val/images/2.png"], "a folder 'images' where a class was expected"),
    "splits and more": (["train/a/1.png", "val/a/2.png", "other/a/3.png"], "has the splits train, val beside other"),
    "sets of masks": (["one/images/1.png", "one/masks/1.png", "two/images/1.png"], "one holds images/ and masks/, a set of its own"),
    "masks alone": (["images/1.png", "GT/1.png"], "a folder 'GT' where a class was expected"),
}


@pytest.mark.parametrize("name", HALF_KNOWN)
def test_a_folder_that_is_half_known_is_refused(tmp_path: Path, name: str) -> None:
    files, message = HALF_KNOWN[name]
    write(tmp_path, *files)
    with pytest.raises(TaskError, match=message):
        resolve_task("auto", tmp_path)


VOC = "<annotation><object><name>polyp</name><bndbox/></object></annotation>"
OF_BOXES = {
    "Pascal VOC": ("Annotations/1.xml", VOC, "JPEGImages/1.jpg", r"Annotations has files in VOC's .* the task kumc, .*; these are polyp\)"),
    "kumc with other classes": ("train/Annotation/1.xml", VOC, "train/Image/1.jpg", "train/Annotation has files in VOC's layout"),
    "beside the frames": ("video1/1.xml", VOC, "video1/1.jpg", "video1 has files in VOC's layout"),
    "COCO": ("annotations/instances_train.json", "{}", "train2017/1.jpg", "annotations has files in COCO's layout"),
    "YOLO": ("train/labels/1.txt", "0 0.5 0.5 0.25 0.25\n", "train/images/1.jpg", "train/labels has files in YOLO's layout"),
    "SUN": ("annotation_txt/case1.txt", "a.jpg 10,10,20,20,0\n", "case1/a.jpg", "annotation_txt has files in SUN's layout"),
}


@pytest.mark.parametrize("name", OF_BOXES)
def test_boxes_that_no_task_reads_are_no_classes(tmp_path: Path, name: str) -> None:
    told, text, image, message = OF_BOXES[name]
    write(tmp_path, image, "other/2.jpg")
    (tmp_path / told).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / told).write_text(text)
    with pytest.raises(TaskError, match=message):
        resolve_task("auto", tmp_path)


def test_other_files_of_texts_are_no_boxes(tmp_path: Path) -> None:
    write(tmp_path, *(f"{name}/{number}.png" for name in "ab" for number in range(6)))
    for name, text in (
        ("a/readme.txt", "3 of 4 pictures\n"),
        ("a/Thumbs.xml", "<html/>"),
        ("b/export.json", "{}"),
        ("b/torn.xml", "<anno"),
    ):
        (tmp_path / name).write_text(text)
    assert resolve_task("auto", tmp_path).classes == ("a", "b")


def test_what_macos_packs_and_empty_folders_are_no_classes(tmp_path: Path) -> None:
    write(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "val", "test") for name in "ab"))
    write(tmp_path, "__MACOSX/train/a/1.png", "train/a/__MACOSX/1.png", "train/a/.hidden/1.png")
    (tmp_path / "docs").mkdir()
    task = resolve_task("auto", tmp_path)
    assert task.classes == ("a", "b")
    assert Counter(item.split for item in task.items) == {"train": 2, "val": 2, "test": 2}


def test_nested_images_are_joined_by_their_path_and_grouped_by_folder(tmp_path: Path) -> None:
    write(tmp_path, *(f"{kind}/p{patient}/{number}.png" for kind in ("images", "masks") for patient in range(5) for number in range(3)))
    write(tmp_path, "masks/p9/0.png")
    task = read_task(tmp_path)
    assert len(task.items) == 15
    for item in task.items:
        assert Path(item.path).parts[-2:] == Path(str(item.mask)).parts[-2:]
        assert item.group == Path(item.path).parent.name
    assert "groups: the 5 folders inside images/" in task.notes
    assert "1 masks have no image, such as 'p9/0'" in task.notes


def test_split_folders_inside_images_give_the_splits(tmp_path: Path) -> None:
    write(tmp_path, *(f"{kind}/{split}/1.png" for kind in ("images", "masks") for split in ("train", "valid", "test")))
    task = read_task(tmp_path)
    assert {(item.split, Path(str(item.mask)).parent.name) for item in task.items} == {
        ("train", "train"),
        ("val", "valid"),
        ("test", "test"),
    }


def test_a_file_name_that_several_images_have_is_refused_in_a_table(tmp_path: Path) -> None:
    write(tmp_path, *(f"{kind}/p{patient}/0.png" for kind in ("images", "masks") for patient in range(3)))
    (tmp_path / "split.csv").write_text("image,split\n0.png,train\n")
    with pytest.raises(TaskError, match=r"line 2: 3 images are called '0.png'; name it by its path inside images/"):
        read_task(tmp_path)
    (tmp_path / "split.csv").write_text("image,split\np0/0.png,train\nimages/p1/0.png,val\np2/0.png,test\n")
    assert [Path(str(item.mask)).parent.name for item in read_task(tmp_path).items] == ["p0", "p1", "p2"]

"""Layouts and traps of published sets, on generated trees without their lists."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from evaluation.tasks import TaskError, folds_of, resolve_task
from tests.evaluation.tasks.published import tree

CENTRES = {"C1": 256, "C2": 301, "C3": 457, "C4": 227, "C5": 208, "C6": 88}


def test_the_official_names_of_landmarks_are_joined_by_file(tmp_path: Path) -> None:
    """The lists say normal-cecum where the folder is cecum."""
    names = {"cecum": "normal-cecum", "ileum": "ileum", "z-line": "normal-z-line"}
    tree(tmp_path, [f"labeled-images/lower-gi-tract/anatomical-landmarks/{folder}/{folder}{i}.jpg" for folder in names for i in range(5)])
    listed = [f"{folder}{i}.jpg;{name};{i}" for folder, name in names.items() for i in range(5)]
    (tmp_path / "5_fold_split.csv").write_text("\n".join(["file-name;class-name;split-index", *listed]))
    task = resolve_task("hyperkvasir_landmarks", tmp_path)
    assert task.classes == ("cecum", "ileum", "z-line")
    assert Counter(item.split for item in task.items) == {"train": 9, "val": 3, "test": 3}
    with pytest.raises(TaskError, match=r"not those of the publication \(cecum 5 of 1,009, ileum 5 of 9, pylorus 0 of 999, "):
        task.validate()


def test_cvc_clinicdb_is_read_as_published_and_grouped_by_frame_number(tmp_path: Path) -> None:
    tree(tmp_path, [f"CVC-ClinicDB/{folder}/{i}.tif" for folder in ("Original", "Ground Truth") for i in range(1, 613)])
    task = resolve_task("cvc_clinicdb", tmp_path)
    assert task.validate() == ()
    frames = Counter(item.group for item in task.items)
    assert [frames[str(i)] for i in range(1, 30)] == [
        *(25, 25, 17, 11, 25, 23, 25, 26, 22, 6, 22, 25, 25, 20, 20),
        *(25, 21, 20, 25, 20, 19, 19, 12, 25, 25, 18, 25, 20, 21),
    ]
    assert {Path(item.path).name for item in task.items if item.group == "10"} == {f"{i}.tif" for i in range(200, 206)}
    assert all(Path(str(item.mask)).parts[-2:] == ("Ground Truth", Path(item.path).name) for item in task.items)
    assert folds_of("cvc_clinicdb", tmp_path) == 5
    assert folds_of("cvc_clinicdb", tmp_path, protocol="endofm") == 1
    (tmp_path / "CVC-ClinicDB" / "Ground Truth" / "7.tif").unlink()
    with pytest.raises(TaskError, match=r"Original/7.tif has no mask 7.\* in .*Ground Truth; complete the download"):
        resolve_task("cvc_clinicdb", tmp_path)


def test_each_centre_of_polypgen_is_left_out_in_turn(tmp_path: Path) -> None:
    names = [(centre, f"{centre}_{i}") for centre, count in CENTRES.items() for i in range(count)]
    names[600] = ("C3", "C3_EndoCV2021_00489_")  # its mask has no underscore at the end
    images = [f"P/data_{centre}/images_{centre}/{name}.jpg" for centre, name in names]
    tree(tmp_path, images + [f"P/data_{centre}/masks_{centre}/{name.rstrip('_')}_mask.jpg" for centre, name in names])
    tree(tmp_path / "P" / "sequenceData" / "positive" / "seq1", ["images_seq1/a.jpg", "masks_seq1/a_mask.jpg"])
    task = resolve_task("polypgen", tmp_path)
    assert task.validate() == ()
    assert (len(task.items), task.fold, task.num_folds) == (1537, 5, 6)
    assert {item.group for item in task.split("test")} == {"C6"}
    for fold in (0, 2):
        assert Counter(item.group for item in resolve_task("polypgen", tmp_path, fold=fold).split("test")) == {
            f"C{fold + 1}": CENTRES[f"C{fold + 1}"]
        }


def test_real_colon_divides_the_videos_of_each_site(tmp_path: Path) -> None:
    videos = [f"00{site}-{video:03}" for site in (1, 2, 3, 4) for video in range(1, 16)]
    tree(tmp_path, [f"{video}_frames/{video}_{t}.jpg" for video in videos for t in (0, 1, 29, 30, 60)])
    for video in videos:
        (tmp_path / f"{video}_annotation").mkdir()
        for t, objects in ((0, ""), (30, "<object><name>lesion</name></object>"), (60, "")):
            (tmp_path / f"{video}_annotation" / f"{video}_{t}.xml").write_text(f"<annotation>{objects}</annotation>")
    task = resolve_task("real_colon", tmp_path)
    assert task.validate() == ()
    assert Counter(item.split for item in task.items) == {"train": 120, "val": 24, "test": 36}
    assert Counter(item.label for item in task.items) == {"lesion": 60, "no lesion": 120}
    assert {item.group[4:] for item in task.split("test")} == {"013", "014", "015"}
    (tmp_path / "004-015_annotation" / "004-015_30.xml").unlink()
    with pytest.raises(TaskError, match=r"004-015_30\.xml does not exist; unpack the annotations beside the frames"):
        resolve_task("real_colon", tmp_path)


def test_a_division_that_is_not_there_names_what_it_needs(tmp_path: Path) -> None:
    tree(tmp_path, [f"labelled_images/{name}/v{i}_1.jpg" for name in ("Ulcer", "Normal clean mucosa") for i in range(9)])
    with pytest.raises(TaskError, match=r"protocol published needs split_0.csv and split_1.csv \(official_splits in github.com/simula"):
        resolve_task("kvasir_capsule", tmp_path, protocol="published")
    with pytest.raises(TaskError, match="has no protocol 'five_fold'; give one of clean, made, two_fold"):
        resolve_task("kvasir_capsule", tmp_path, protocol="five_fold")
    assert resolve_task("kvasir_capsule", tmp_path).classes == ("Normal", "Ulcer")

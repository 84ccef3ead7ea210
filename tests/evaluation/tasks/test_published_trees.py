"""Tasks read the layouts that their publications distribute, with every image that their lists name."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.tasks import TaskData, TaskError, resolve_task
from tests.evaluation.tasks.published import tree

pytestmark = pytest.mark.real_data

LANDMARKS = {
    "normal-cecum": "lower-gi-tract/anatomical-landmarks/cecum",
    "ileum": "lower-gi-tract/anatomical-landmarks/ileum",
    "retroflex-rectum": "lower-gi-tract/anatomical-landmarks/retroflex-rectum",
    "normal-pylorus": "upper-gi-tract/anatomical-landmarks/pylorus",
    "retroflex-stomach": "upper-gi-tract/anatomical-landmarks/retroflex-stomach",
    "normal-z-line": "upper-gi-tract/anatomical-landmarks/z-line",
}


def rows(table: Path, delimiter: str = ",") -> list[dict[str, str]]:
    with table.open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def sizes(task: TaskData) -> tuple[int, int, int]:
    """Items of train, val and test."""
    count = Counter(item.split for item in task.items)
    return count["train"], count["val"], count["test"]


def with_lists(root: Path, *lists: Path) -> Path:
    """A download with the official lists beside it."""
    (root / "official_splits").mkdir()
    for path in lists:
        (root / "official_splits" / path.name).symlink_to(path)
    return root


def landmarks(root: Path, official: Path) -> Path:
    listed = rows(official / "5_fold_split.csv", ";")
    folders = [(row["file-name"], LANDMARKS.get(row["class-name"])) for row in listed]
    return tree(root, [f"labeled-images/{folder}/{name}" for name, folder in folders if folder])


def test_all_4104_landmarks_of_the_published_folders_are_in_the_official_folds(tmp_path: Path, real_data: Path) -> None:
    official = real_data / "splits" / "hyper_kvasir"
    root = with_lists(landmarks(tmp_path, official), official / "2_fold_split.csv", official / "5_fold_split.csv")
    task = resolve_task("hyperkvasir_landmarks", root)
    assert task.classes == ("cecum", "ileum", "pylorus", "retroflex-rectum", "retroflex-stomach", "z-line")
    assert (len(task.items), sizes(task)) == (4104, (2451, 817, 836))
    assert task.validate() == ()
    assert Counter(item.label for item in task.split("test")) == dict(zip(task.classes, (205, 5, 203, 79, 156, 188), strict=True))
    assert (task.fold, task.num_folds) == (4, 5)
    assert any("ileum has 9 images" in note for note in task.notes)
    first = resolve_task("hyperkvasir_landmarks", root, fold=0)
    assert (sizes(first)[2], first.fold) == (817, 0)
    half = resolve_task("hyperkvasir_landmarks", root, protocol="two_fold", fold=0)
    assert (sizes(half)[2], len(half.items)) == (2050, 4104)
    assert resolve_task("hyperkvasir_landmarks", root, protocol="published").items == task.items


def test_the_seed_42_draw_of_ssl4gie_has_its_sizes_and_one_ileum(tmp_path: Path, real_data: Path) -> None:
    task = resolve_task("hyperkvasir_landmarks", landmarks(tmp_path, real_data / "splits" / "hyper_kvasir"), protocol="ssl4gie")
    assert sizes(task) == (3284, 410, 410)
    assert task.validate() == ()


def limuc(root: Path, official: Path) -> Path:
    folds = [json.loads((official / f"fold_0_{part}.json").read_text()) for part in ("train", "val")]
    names = [f"train_and_validation_sets/{grade}/{name}" for fold in folds for grade, files in fold.items() for name in files]
    tests = zip(("Mayo 0", "Mayo 1", "Mayo 2", "Mayo 3"), (925, 464, 177, 120), strict=True)
    return tree(root, names + [f"test_set/{grade}/UC_patient_{600 + i % 85}_{i}.bmp" for grade, count in tests for i in range(count)])


def test_limuc_has_ten_folds_that_share_one_test_set(tmp_path: Path, real_data: Path) -> None:
    official = real_data / "splits" / "limuc"
    root = with_lists(limuc(tmp_path, official), *official.glob("fold_*.json"))
    task = resolve_task("limuc", root)
    assert (len(task.items), sizes(task)) == (11276, (8645, 945, 1686))
    assert task.validate() == ()
    assert (task.fold, task.num_folds) == (0, 10)
    assert task.cut is not None
    assert task.cut.positive == ("Mayo 2", "Mayo 3")
    last = resolve_task("limuc", root, fold=9)
    assert sizes(last)[1:] == (sum(map(len, json.loads((official / "fold_9_val.json").read_text()).values())), 1686)
    assert last.split("test") == task.split("test")
    assert not {item.group for item in last.split("val")} & {item.group for item in last.split("train")}


@pytest.mark.parametrize("task", ["hyperkvasir_landmarks", "limuc"])
def test_a_download_with_missing_files_is_refused_by_class(tmp_path: Path, real_data: Path, task: str) -> None:
    make: dict[str, tuple[Callable[[Path, Path], Path], str, str, str]] = {
        "hyperkvasir_landmarks": (
            landmarks,
            "hyper_kvasir",
            "labeled-images/upper-gi-tract/anatomical-landmarks/z-line",
            "z-line 832 of 932",
        ),
        "limuc": (limuc, "limuc", "train_and_validation_sets/Mayo 3", "Mayo 3 645 of 745"),
    }
    build, lists, folder, difference = make[task]
    root = build(tmp_path, real_data / "splits" / lists)
    files = sorted((root / folder).iterdir())
    files[0].unlink()
    name, _, published = difference.rpartition(" of ")
    warned = resolve_task(task, root).validate()
    assert warned == (f"counts differ from the publication: {name.rpartition(' ')[0]} {int(published) - 1} of {published}",)
    for file in files[1:100]:
        file.unlink()
    with pytest.raises(TaskError, match=rf"the images are not those of the publication \({difference}\); complete the download"):
        resolve_task(task, root).validate()


def test_gastrohun_has_its_patients_in_one_split_each(tmp_path: Path, real_data: Path) -> None:
    table = real_data / "splits" / "gastrohun" / "image_classification.csv"
    root = tree(tmp_path, [f"Labeled Images/{row['num patient']}/{row['filename']}" for row in rows(table)])
    task = resolve_task("gastrohun", with_lists(root, table), protocol="published")
    assert sizes(task) == (3722, 793, 803)
    assert (len(task.classes), task.validate(), task.leaks()) == (23, (), ())


def test_gastrovision_is_joined_by_class_and_name(tmp_path: Path, real_data: Path) -> None:
    lists = [real_data / "splits" / "gastrovision" / f"{name}.csv" for name in ("train", "validate", "test")]
    names = [f"Gastrovision/{row['Class']}/{row['Filename']}" for table in lists for row in rows(table)]
    task = resolve_task("gastrovision", with_lists(tree(tmp_path, [*names, "Gastrovision/Ulcer/1.jpg"]), *lists))
    assert sizes(task) == (4757, 1587, 1586)
    assert (len(task.classes), task.validate()) == (22, ())
    assert "patients" in task.notes[0]


CAPSULE = {
    "Blood": "Blood - fresh",
    "Erythematous": "Erythema",
    "Foreign Bodies": "Foreign body",
    "Ileo-cecal valve": "Ileocecal valve",
    "Normal": "Normal clean mucosa",
    "Reduced Mucosal View": "Reduced mucosal view",
}


@pytest.mark.slow  # 47,161 files
def test_the_official_folds_of_kvasir_capsule_leak_and_folds_by_video_do_not(tmp_path: Path, real_data: Path) -> None:
    lists = [real_data / "splits" / "kvasir_capsule" / f"split_{fold}.csv" for fold in (0, 1)]
    listed = [row for table in lists for row in rows(table)]
    names = [f"labelled_images/{CAPSULE.get(row['label'], row['label'])}/{row['filename']}" for row in listed]
    root = with_lists(tree(tmp_path, [*names, "labelled_images/Polyp/a_1.jpg"]), *lists)
    published = resolve_task("kvasir_capsule", root, protocol="published", fold=1)
    assert (sum(sizes(published)[:2]), sizes(published)[2], published.num_folds) == (23061, 24100, 2)
    groups = {split: {item.group for item in published.split(split)} for split in ("train", "val", "test")}
    assert len((groups["train"] | groups["val"]) & groups["test"]) == 7
    assert published.leaks()[0].startswith("leak: ")
    clean = resolve_task("kvasir_capsule", root)
    assert (len(clean.items), len({item.group for item in clean.items}), clean.num_folds) == (47161, 43, 5)
    assert clean.leaks() == ()
    assert clean.count_difference == ""


def test_medico_has_880_and_120_of_the_published_ids(tmp_path: Path, real_data: Path) -> None:
    lists = [real_data / "splits" / "kvasir_seg_medico2020" / name for name in ("train.txt", "val.txt")]
    ids = [name for path in lists for name in path.read_text().split()]
    root = tree(tmp_path, [f"Kvasir-SEG/{folder}/{name}.jpg" for folder in ("images", "masks") for name in ids])
    medico = resolve_task("kvasir_seg", with_lists(root, *lists))
    assert medico.split_protocol == "medico: the 880/120 images of Medico 2020"
    assert sum(sizes(medico)[:2]) == 880
    assert {Path(item.path).stem for item in medico.split("test")} == set(lists[1].read_text().split())
    assert medico.validate() == ()
    assert sizes(resolve_task("kvasir_seg", root, protocol="ssl4gie")) == (800, 100, 100)


def test_the_published_lists_of_cvc_clinicdb_leak_and_its_folds_do_not(real_data: Path) -> None:
    published = resolve_task("cvc_clinicdb", real_data, protocol="published")
    test, seen = published.split("test"), {item.path for item in published.split("train") + published.split("val")}
    assert (len(seen), len(test), sum(item.path in seen for item in test)) == (401, 171, 121)
    assert "7 of 22 groups" in published.leaks()[0]
    drawn = resolve_task("cvc_clinicdb", real_data, protocol="ssl4gie")
    assert sizes(drawn) == (490, 61, 61)
    assert "27 of 29 groups" in drawn.leaks()[0]
    folds = [resolve_task("cvc_clinicdb", real_data, fold=fold) for fold in range(5)]
    assert [sizes(fold)[2] for fold in folds] == [117, 133, 122, 122, 118]
    assert [fold.leaks() for fold in folds] == [()] * 5
    assert len({item.path for fold in folds for item in fold.split("test")}) == 612


def test_the_pair_of_one_polyp_in_effisegnets_list_is_noted(real_data: Path) -> None:
    task = resolve_task("kvasir_seg", real_data, protocol="effisegnet")
    assert (sizes(task), task.notes[1].startswith("at least one polyp is trained on and tested")) == ((800, 100, 100), True)


def test_one_polyp_set_is_tested_by_the_other(real_data: Path) -> None:
    assert sizes(resolve_task("kvasir_seg_to_cvc", real_data)) == (800, 200, 612)
    assert sizes(resolve_task("cvc_to_kvasir_seg", real_data)) == (495, 117, 1000)

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluation.tasks import resolve_task

Picture = Callable[..., Path]


def test_hyperkvasir_landmarks_use_the_official_folds(tmp_path: Path, picture: Picture) -> None:
    folder = tmp_path / "labeled-images"
    rows = ["file-name;class-name;split-index"]
    for tract, name in (("lower-gi-tract", "cecum"), ("lower-gi-tract", "retroflex-rectum"), ("upper-gi-tract", "z-line")):
        for fold in range(5):
            file = f"{name}-{fold}.png"
            picture(folder / tract / "anatomical-landmarks" / name / file, (9, 9, 9), seed=fold)
            rows.append(f"{file};{name};{fold}")
    picture(folder / "lower-gi-tract" / "anatomical-landmarks" / "cecum" / "unlisted.png", (9, 9, 9), seed=0)
    picture(folder / "lower-gi-tract" / "pathological-findings" / "polyps" / "1.png", (9, 9, 9), seed=0)
    (tmp_path / "official_splits").mkdir()
    (tmp_path / "official_splits" / "5_fold_split.csv").write_text("\n".join(rows))
    task = resolve_task("hyperkvasir_landmarks", tmp_path)
    assert task.classes == ("cecum", "retroflex-rectum", "z-line")
    assert Counter(item.split for item in task.items) == {"train": 9, "val": 3, "test": 3}
    assert "1 images are not in the official list and are left out" in task.notes
    assert {Path(item.path).stem[-1] for item in task.split("test")} == {"4"}


def test_limuc_groups_by_patient_and_uses_the_official_validation_fold(tmp_path: Path, picture: Picture) -> None:
    root = tmp_path / "LIMUC"
    for grade in range(4):
        for patient in (1, 2, 3):
            picture(root / "train_and_validation_sets" / f"Mayo {grade}" / f"UC_patient_{patient}_{grade}.bmp", (9, 9, 9), seed=patient)
        picture(root / "test_set" / f"Mayo {grade}" / f"UC_patient_9_{grade}.bmp", (9, 9, 9), seed=9)
    (tmp_path / "fold_0_val.json").write_text(json.dumps({f"Mayo {grade}": [f"UC_patient_2_{grade}.bmp"] for grade in range(4)}))
    task = resolve_task("limuc", tmp_path)
    assert task.kind == "ordinal"
    assert task.classes == ("Mayo 0", "Mayo 1", "Mayo 2", "Mayo 3")
    groups = {split: {item.group for item in task.split(split)} for split in ("train", "val", "test")}
    assert groups == {"train": {"patient 1", "patient 3"}, "val": {"patient 2"}, "test": {"patient 9"}}
    assert task.notes == ("validation patients: official fold 0",)


def test_the_phantoms_sets_are_found_from_their_parent_and_from_their_own_folder(tmp_path: Path, picture: Picture) -> None:
    rows = ["path,label,split,group"]
    for split in ("train", "val", "test"):
        for label in ("0", "1", "2", "3"):
            picture(tmp_path / "grades" / "images" / f"{split}{label}.jpg", (9, 9, 9), seed=int(label))
            rows.append(f"images/{split}{label}.jpg,{label},{split},{split}")
    (tmp_path / "grades" / "labels.csv").write_text("\n".join(rows))
    task = resolve_task("grades", tmp_path)
    task.validate()
    assert task.kind == "ordinal"
    assert resolve_task("grades", tmp_path / "grades") == task


@pytest.mark.real_data
def test_kvasir_size4_has_its_published_counts(real_data: Path) -> None:
    task = resolve_task("kvasir_size4", real_data)
    assert task.validate() == ()
    assert task.kind == "ordinal"
    assert Counter((item.label, item.split) for item in task.items) == {
        **{(grade, "train"): 200 for grade in "0123"},
        **dict(zip([(grade, "val") for grade in "0123"], (30, 18, 24, 28), strict=True)),
        **dict(zip([(grade, "test") for grade in "0123"], (25, 24, 23, 28), strict=True)),
    }


@pytest.mark.real_data
def test_the_patches_keep_a_cvc_sequence_in_one_split(real_data: Path) -> None:
    task = resolve_task("patch_polyp_vs_mucosa", real_data)
    assert task.validate() == ()
    assert len(task.items) == 2623
    assert Counter(item.split for item in task.items) == {"train": 2013, "val": 291, "test": 319}
    assert {item.box[2:] for item in task.items if item.box is not None} == {(96, 96)}
    assert len({item.group for item in task.items if item.group.startswith("cvc sequence")}) == 29


@pytest.mark.real_data
def test_kvasir_seg_joins_a_thousand_images_and_masks(real_data: Path) -> None:
    task = resolve_task("kvasir_seg", real_data)
    assert task.validate() == ()
    assert task.kind == "segmentation"
    assert Counter(item.split for item in task.items) == {"train": 800, "val": 100, "test": 100}


@pytest.mark.real_data
def test_cvc_clinicdb_is_split_by_sequence(real_data: Path) -> None:
    task = resolve_task("cvc_clinicdb", real_data)
    assert task.validate() == ()
    assert len(task.items) == 612
    assert len({item.group for item in task.items}) == 29

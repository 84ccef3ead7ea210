from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.tasks import KNOWN_TASKS, PATIENTS_UNKNOWN, read_task, resolve_task
from evaluation.tasks.items import Item, TaskData, TaskError, fingerprint

Picture = Callable[..., Path]


def test_class_folders_are_read_whatever_their_names(tmp_path: Path, picture: Picture) -> None:
    odd = ['it\'s "quoted"', "zwei\nzeilen", "結腸 ünï", "a,b;c"]
    for number, name in enumerate(odd):
        for repeat in range(6):
            picture(tmp_path / name / f"näme'{repeat}\n.png", (number, 0, 0), seed=repeat)
    task = read_task(tmp_path)
    task.validate()
    assert set(task.classes) == set(odd)
    assert len(task.items) == 24
    assert Counter(item.label for item in task.items) == dict.fromkeys(odd, 6)
    assert len(fingerprint(task).data_id) == 64


def test_split_folders_give_the_splits(tmp_path: Path, picture: Picture) -> None:
    for split in ("train", "validation", "Test"):
        for name in ("cecum", "ileum"):
            picture(tmp_path / split / name / "1.png", (9, 9, 9), seed=1)
    (tmp_path / "train" / "cecum" / ".hidden.png").write_bytes(b"")
    (tmp_path / "train" / "cecum" / "notes.txt").write_text("no image")
    task = read_task(tmp_path)
    assert Counter(item.split for item in task.items) == {"train": 2, "val": 2, "test": 2}
    assert task.kind == "classification"
    assert task.notes == (PATIENTS_UNKNOWN,)


def test_a_csv_with_quoted_newlines_groups_and_boxes_is_read(tmp_path: Path, picture: Picture) -> None:
    name = 'odd "name"\n ü.png'
    picture(tmp_path / name, (1, 2, 3), seed=0)
    table = tmp_path / "labels.csv"
    quoted = '"' + name.replace('"', '""') + '"'
    rows = [
        f"{quoted},{label},{split},p-{split},{x},2,30,40" for split in ("train", "validation", "test") for x, label in ((1, "a"), (5, "b"))
    ]
    table.write_text("path,label,split,patient,x,y,w,h\n" + "\n".join(rows) + "\n", encoding="utf-8-sig")
    task = read_task(table, name="mine")
    task.validate()
    first = task.items[0]
    assert first == Item(path=str(tmp_path / name), split="train", group="p-train", label="a", box=(1, 2, 30, 40))
    assert [item.split for item in task.items] == ["train", "train", "val", "val", "test", "test"]
    assert task.name == "mine"


def test_a_csv_elsewhere_starts_its_paths_at_the_data_folder(tmp_path: Path, picture: Picture) -> None:
    for split in ("train", "val", "test"):
        for label in ("0", "1"):
            picture(tmp_path / "data" / f"{split}{label}.png", (9, 9, 9), seed=int(label))
    table = tmp_path / "table.csv"
    table.write_text("file;class;split\n" + "".join(f"{s}{c}.png;{c};{s}\n" for s in ("train", "val", "test") for c in "01"))
    task = read_task(tmp_path / "data", labels=table)
    task.validate()
    assert task.classes == ("0", "1")


def test_masks_are_joined_by_stem_and_split_by_the_table(squares: Path) -> None:
    task = read_task(squares)
    assert task.kind == "segmentation"
    assert Counter(item.split for item in task.items) == {"train": 18, "val": 6, "test": 6}
    assert all(Path(str(item.mask)).stem == Path(item.path).stem for item in task.items)
    assert task.validate() == ()


def test_a_missing_split_is_carved_from_train_by_whole_patients_and_said(tmp_path: Path, picture: Picture) -> None:
    rows = ["path,label,split,group"]
    for patient in range(20):
        for repeat in range(3):
            path = picture(tmp_path / f"{patient}-{repeat}.png", (9, 9, 9), seed=patient)
            rows.append(f"{path.name},{'ab'[patient % 2]},{'test' if patient >= 16 else 'train'},p{patient}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    task = read_task(tmp_path, val_share=0.25)
    splits = {split: {item.group for item in task.split(split)} for split in ("train", "val", "test")}
    assert splits["test"] == {"p16", "p17", "p18", "p19"}
    assert len(splits["val"]) == 4
    assert not splits["val"] & splits["train"]
    assert {item.label for item in task.split("val")} == {"a", "b"}
    assert task.notes == ("the data names no val split: 25% of the training groups, whatever the seed",)
    assert read_task(tmp_path, val_share=0.25) == task


def test_a_set_with_only_train_and_val_reports_its_val_as_test(tmp_path: Path, picture: Picture) -> None:
    for split, count in (("train", 10), ("val", 4)):
        for name in ("a", "b"):
            for number in range(count):
                picture(tmp_path / split / name / f"{number}.png", (9, 9, 9), seed=number)
    task = read_task(tmp_path)
    assert len(task.split("test")) == 8
    assert {Path(item.path).parts[-3] for item in task.split("test")} == {"val"}
    assert {Path(item.path).parts[-3] for item in task.split("val")} == {"train"}
    assert task.notes[0] == "the data names no test split: its val split is reported as test"


@pytest.mark.parametrize(
    ("names", "kind", "order"),
    [
        (("Mayo 2", "Mayo 0", "Mayo 1"), "ordinal", ("Mayo 0", "Mayo 1", "Mayo 2")),
        (("10", "9", "0"), "ordinal", ("0", "9", "10")),
        (("0", "1"), "classification", ("0", "1")),
        (("polyp 1", "cecum 2", "ileum 3"), "classification", ("cecum 2", "ileum 3", "polyp 1")),
        (("z-line", "cecum", "ileum"), "classification", ("cecum", "ileum", "z-line")),
    ],
)
def test_numbered_classes_are_ordinal_and_sorted_by_number(
    tmp_path: Path, picture: Picture, names: tuple[str, ...], kind: str, order: tuple[str, ...]
) -> None:
    for name in names:
        for number in range(6):
            picture(tmp_path / name / f"{number}.png", (9, 9, 9), seed=number)
    task = read_task(tmp_path)
    assert (task.kind, task.classes) == (kind, order)


def _task(*items: Item, classes: tuple[str, ...] = ("a", "b")) -> TaskData:
    return TaskData(name="t", kind="classification", items=items, classes=classes)


def test_missing_files_are_counted_and_named(colours: Path) -> None:
    task = read_task(colours)
    broken = replace(task, items=(*task.items, replace(task.items[0], path="/nowhere/it's.png")))
    message = r"task .*: 1 files named by its 37 items do not exist \(\"/nowhere/it's.png\"\); correct the paths or the data folder"
    with pytest.raises(TaskError, match=message):
        broken.validate()
    with pytest.raises(TaskError, match="do not exist"):
        fingerprint(broken)


def test_a_class_without_training_images_is_an_error(colours: Path) -> None:
    task = read_task(colours)
    items = tuple(item for item in task.items if not (item.split == "train" and item.label == "red"))
    with pytest.raises(TaskError, match="no training image of class 'red'"):
        replace(task, items=items).validate()
    without_test = tuple(item for item in task.items if not (item.split == "test" and item.label == "red"))
    assert replace(task, items=without_test).validate() == ("no test image of class 'red', which therefore is not scored",)


def test_a_patient_in_two_splits_is_a_recorded_leak(colours: Path) -> None:
    task = read_task(colours)
    items = tuple(replace(item, group="patient 0") if item.split == "test" else item for item in task.items)
    (warning,) = replace(task, items=items).validate()
    assert warning.startswith("leak: patients")
    assert "(1 of 4 groups" in warning
    assert "patient 0" not in warning, "pages show warnings, and are passed on"


def test_equal_images_in_two_splits_are_a_recorded_leak(tmp_path: Path, picture: Picture) -> None:
    rows = ["path,label,split"]
    for name, seed in {"train a": 0, "train b": 1, "val a": 2, "val b": 3, "test a": 0, "test b": 4}.items():
        split, label = name.split()
        picture(tmp_path / f"{name}.png", (9, 9, 9), seed=seed)
        rows.append(f"{name}.png,{label},{split}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    (leak,) = fingerprint(read_task(tmp_path)).leaks
    assert "byte-identical" in leak
    assert "(1 of 5 images" in leak


def test_the_data_id_follows_content_labels_and_splits_but_not_the_place(tmp_path: Path, picture: Picture) -> None:
    def write(folder: Path, *, seed: int = 0, label: str = "b", split: str = "test") -> str:
        rows = ["path,label,split"]
        for number, (name, part) in enumerate((("a", "train"), ("b", "train"), ("a", "val"), ("b", "val"), ("a", "test"), (label, split))):
            picture(folder / f"{number}.png", (9, 9, 9), seed=seed + number)
            rows.append(f"{number}.png,{name},{part}")
        (folder / "labels.csv").write_text("\n".join(rows))
        return fingerprint(read_task(folder)).data_id

    first = write(tmp_path / "one")
    assert write(tmp_path / "two") == first
    assert len({first, write(tmp_path / "3", seed=9), write(tmp_path / "4", label="a"), write(tmp_path / "5", split="val")}) == 4


def test_the_data_id_follows_devices_sites_and_frame_rates_where_they_are_known(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"picture")
    item = Item(path=str(tmp_path / "a.png"), split="test", group="g", label="a")
    plain = TaskData(name="t", kind="classification", items=(item,), classes=("a", "b"))
    told = [replace(plain, items=(one,)) for one in (replace(item, device="x"), replace(item, site="x"))]
    ids = [fingerprint(task).data_id for task in (plain, *told, replace(plain, frames_per_s=25.0))]
    assert len(set(ids)) == 4
    assert ids[0] == "22f243cd237adc0abe4ef2f6a391f31d2d9d5c8a450135e074a79df491e76dfc", "sets that name none of these keep their ids"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,colour\nx.png,red\n", "none called label or class or class-name"),
        ("path,label\n", "has no rows"),
        ("path,label,split\nx.png,a,holdout\n", "split 'holdout' is not known; use train, val or test"),
        ("path,label,split\nx.png,a,train\ny.png,b,\n", "1 of 2 items name no split"),
        ("path,label\nx.png,a\ny.png,\n", "line 3 has no label"),
        ("path,label,x,y,w,h\nx.png,a,1,1,0,5\n", "crop box x=1 y=1 w=0 h=5 is empty"),
        ("path,label\nx.png,a\ny.png,a\n", "has one class"),
        ("path,label\nx.png,a\ny.png,b\n", "cannot be made from 2 training groups"),
    ],
)
def test_a_wrong_table_says_what_is_wrong(tmp_path: Path, table: str, message: str) -> None:
    (tmp_path / "labels.csv").write_text(table)
    with pytest.raises(TaskError, match=message):
        read_task(tmp_path)


def test_a_table_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00\x01path")
    with pytest.raises(TaskError, match="is not a UTF-8 table"):
        read_task(tmp_path)


def test_an_empty_folder_says_which_layouts_are_known(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"a folder per class, a labels.csv of path,label,split,group, or images/ and masks/"):
        read_task(tmp_path)
    with pytest.raises(TaskError, match="does not exist"):
        read_task(tmp_path / "nothing")


def test_an_unknown_task_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        TaskError, match="unknown task 'polyp'; use auto for your own data, or one of clips, cvc12k, cvc_clinicdb, cvc_clinicdb_boxes"
    ):
        resolve_task("polyp", tmp_path)
    for name in KNOWN_TASKS:
        with pytest.raises(TaskError, match=f"task {name}: "):
            resolve_task(name, tmp_path)


def test_masks_cannot_be_asked_for_as_classes(squares: Path) -> None:
    with pytest.raises(TaskError, match="asked for as ordinal, but its labels are masks"):
        read_task(squares, kind="ordinal")

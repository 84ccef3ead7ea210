"""Made splits on disk: read whatever the settings and wherever the images lie, and extended without moving an image."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from evaluation.tasks import Item, SplitStore, TaskData, resolve_task
from evaluation.tasks.splits import made_parts
from tests.evaluation.tasks.published import tree


def more(root: Path, names: list[str]) -> None:
    tree(root, [name for name in names if not (root / name).exists()])


def patients(root: Path, names: range) -> None:
    rows = ["path,label,patient"]
    for patient in names:
        rows += [f"{patient}_{i}.png,{'ab'[(patient + i) % 2]},p{patient}" for i in range(3)]
    more(root, [row.partition(",")[0] for row in rows[1:]])
    (root / "labels.csv").write_text("\n".join(rows))


def read(root: Path, folder: Path, *, fold: int | None = None, val_share: float = 0.2) -> TaskData:
    return resolve_task("auto", root, fold=fold, val_share=val_share, stored=SplitStore(folder=folder, data=root, key=b"k"))


def splits_of(task: TaskData) -> dict[str, str]:
    return {Path(item.path).name: item.split for item in task.items}


def test_the_first_division_is_the_one_without_a_store_and_stays_when_patients_are_added(tmp_path: Path) -> None:
    data, store = tmp_path / "polyps", tmp_path / "lake" / "splits"
    patients(data, range(20))
    first = read(data, store)
    assert splits_of(first) == splits_of(resolve_task("auto", data))
    assert first.split_protocol == "made: 5 folds of groups, stored as 'polyps'"
    assert sorted(path.name for path in (store / "polyps").iterdir()) == ["test-1.json", "val-5-fold-0-1.json"]
    assert not {"p1", "p19"} & set(json.loads((store / "polyps" / "test-1.json").read_text())["parts"])
    patients(data, range(26))
    assert splits_of(resolve_task("auto", data)).items() & splits_of(first).items() != splits_of(first).items()  # why it is stored
    later = read(data, store)
    assert splits_of(first).items() <= splits_of(later).items()
    assert len(later.items) == 78
    assert later.leaks() == ()
    note = "made splits 'polyps': 6 groups came after the first division and were given a split; old images keep theirs"
    assert note in later.notes
    assert read(data, store).notes == later.notes
    assert [path.name for path in sorted((store / "polyps").glob("test-*"))] == ["test-1.json", "test-2.json"]
    tested = [{item.group for item in read(data, store, fold=fold).split("test")} for fold in range(5)]
    assert sorted(group for found in tested for group in found) == sorted(f"p{n}" for n in range(26))


def test_without_the_key_no_group_is_found_and_read_only_nothing_is_written(tmp_path: Path) -> None:
    items = [Item(path=f"/{i}.png", split="train", group=f"p{i}", label="ab"[i % 2]) for i in range(12)]

    def stored(name: str, key: bytes, *, is_read_only: bool = False) -> list[list[int]]:
        store = SplitStore(folder=tmp_path / name, data=Path("/"), key=key, is_read_only=is_read_only)
        return store.parts("set", items, "test", "test", 5, made_parts)

    unwritten = stored("none", b"one", is_read_only=True)
    assert not (tmp_path / "none").exists()
    assert unwritten == stored("first", b"one") == stored("second", b"two")
    groups = [set(json.loads((tmp_path / name / "set" / "test-1.json").read_text())["parts"]) for name in ("first", "second")]
    assert len(groups[0]) == 12
    assert not groups[0] & groups[1]


def test_a_set_that_was_moved_is_the_same_one_and_another_of_its_name_is_not(tmp_path: Path) -> None:
    store = tmp_path / "splits"
    tree(tmp_path / "set", [f"{label}/{i}.png" for label in ("a", "b") for i in range(20)])  # no patients: images by their paths
    first = read(tmp_path / "set", store)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(tmp_path / "set", tmp_path / "elsewhere" / "set")
    assert {Path(item.path).parent.name + Path(item.path).name: item.split for item in first.items} == {
        Path(item.path).parent.name + Path(item.path).name: item.split for item in read(tmp_path / "elsewhere" / "set", store).items
    }
    patients(tmp_path / "set", range(12))
    assert read(tmp_path / "set", store).split_protocol == "made: 5 folds of groups, stored as 'set-2'"
    assert sorted(path.name for path in store.iterdir()) == ["set", "set-2"]


def test_of_a_set_with_its_own_test_split_the_validation_images_are_stored(tmp_path: Path) -> None:
    data, store = tmp_path / "ours", tmp_path / "splits"
    tree(data, [f"{split}/{label}/{i}.png" for split in ("train", "test") for label in ("a", "b") for i in range(10)])
    first = read(data, store)
    more(data, [f"train/{label}/{i}.png" for label in ("a", "b") for i in range(10, 14)])
    val = {item.path for item in first.split("val")}
    assert val <= {item.path for item in read(data, store).split("val")}
    assert [path.name for path in sorted((store / "ours").iterdir())] == ["val-5-1.json", "val-5-2.json"]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=12, max_size=40), st.lists(st.integers(0, 30), max_size=20))
def test_whatever_is_added_no_group_is_divided_or_moved(tmp_path_factory: pytest.TempPathFactory, old: list[int], new: list[int]) -> None:
    if len(set(old)) < 3:
        return
    folder = tmp_path_factory.mktemp("splits")

    def divided(groups: list[int]) -> dict[str, set[int]]:
        items = [Item(path=f"/{i}.png", split="train", group=f"p{one}", label="ab"[one % 2]) for i, one in enumerate(groups)]
        parts = SplitStore(folder=folder, data=Path("/"), key=b"k").parts("set", items, "test", "test", 5, made_parts)
        found: dict[str, set[int]] = {}
        for place, part in enumerate(parts):
            for number in part:
                found.setdefault(items[number].group, set()).add(place)
        return found

    before, after = divided(old), divided(old + new)
    assert all(len(places) == 1 for places in after.values())
    assert before.items() <= after.items()

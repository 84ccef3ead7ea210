"""The page about a labelled set, which needs no lake."""

from __future__ import annotations

import hmac
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evaluation.config import EvaluateConfig
from evaluation.data_check import class_rows, published_rows
from evaluation.tasks import Expected, Item, TaskData
from flows.stages import run_check_data
from warehouse.store import content_id


def classes(root: Path) -> Path:
    """Two classes of six patients; one picture stands in train and test, and one patient in train and val."""
    rows = ["path,label,split,patient"]
    for patient in range(6):
        for place, label in enumerate(("a & <b>", "polyp")):
            split = ("train", "train", "val", "val", "test", "test")[patient]
            name, group = f"{patient}-{place}.png", 1 if patient == 2 else patient
            shade = 0 if (patient, place) == (4, 0) else 40 * patient + 10 * place
            Image.fromarray(np.full((20, 30, 3), shade, np.uint8)).save(root / name)
            rows.append(f"{name},{label},{split},P{group}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


def masks(root: Path) -> Path:
    for place in range(20):
        for kind in ("images", "masks"):
            (root / kind).mkdir(exist_ok=True)
            values = np.zeros((24, 32), np.uint8)
            values[2:20, 2 : 4 + place] = 1
            Image.fromarray(values * (1 if kind == "masks" else 200)).save(root / kind / f"{place}.png")
    return root


def machine(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.findall(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)[0])
    return found


def test_the_page_of_classes_has_counts_duplicates_and_leaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "page"
    (tmp_path / "set").mkdir()
    assert run_check_data(classes(tmp_path / "set"), task="auto", output=output, config=EvaluateConfig())
    page = (output / "index.html").read_text()
    tables = {table["title"]: table["rows"] for table in machine(page)["tables"]}
    assert tables["Counts"] == [["a & <b>", "2", "2", "2", "6"], ["polyp", "2", "2", "2", "6"], ["all", "4", "4", "4", "12"]]
    assert tables["Patients, or other groups"][0] == ["train", "2", "2", "2", "2"]
    assert tables["Image sizes"] == [["30 x 20", "12"]]
    assert tables["Groups in several splits"] == [[content_id(["P1"])[:8], "2", "2", "0"]]
    assert "P1" not in re.sub(r"base64,[^\"]*", "", page)
    ((files, splits),) = tables["Files of equal bytes"]
    assert (len(files.split(", ")), splits) == (2, "train, test")
    assert [note["level"] for note in machine(page)["notes"]] == ["leak", "leak", "warning"]
    assert "whoever knows a patient&#39;s name can find it on this page; give --lake" in page
    assert page.count("<img ") == 12
    assert "a &amp; &lt;b&gt;" in page
    assert "<b>polyp" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    said = capsys.readouterr().err
    assert "check-data: leak: byte-identical images stand in several splits" in said
    assert "P1" not in said
    key = b"12" * 32
    (tmp_path / "lake" / "forgotten").mkdir(parents=True)
    (tmp_path / "lake" / "forgotten" / "key").write_bytes(key)
    lake = tmp_path / "lake"
    assert run_check_data(tmp_path / "set", task="auto", output=output, config=EvaluateConfig(), lake=lake)
    page = (output / "index.html").read_text()
    tables = {table["title"]: table["rows"] for table in machine(page)["tables"]}
    digest = hmac.new(bytes.fromhex(key.decode()), b"P1", "sha256").hexdigest()[:8]
    assert tables["Groups in several splits"] == [[digest, "2", "2", "0"]]
    assert content_id(["P1"])[:8] not in page
    assert "can find it on this page" not in page


def test_the_page_of_masks_has_twelve_outlines_and_the_encoding(tmp_path: Path) -> None:
    assert run_check_data(masks(tmp_path), task="auto", output=tmp_path / "page", config=EvaluateConfig())
    page = (tmp_path / "page" / "index.html").read_text()
    assert page.count("<img ") == 12
    assert "masks: values 0 and 1, of 20 PNG files" in page
    assert "patients unknown" in page


def test_a_set_that_cannot_be_scored_has_a_page_and_is_no_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    masks(tmp_path)
    for place in range(3):
        (tmp_path / "images" / f"{place}.png").write_bytes(b"no image")
    assert not run_check_data(tmp_path, task="auto", output=tmp_path / "page", config=EvaluateConfig())
    page = (tmp_path / "page" / "index.html").read_text()
    (level,) = [note["level"] for note in machine(page)["notes"] if "3 of 20 images cannot be used" in note["text"]]
    assert level == "problem"
    assert 'class="note problem"' in page
    assert re.search("check-data: problem: .*3 of 20 images cannot be used", capsys.readouterr().err)


def test_published_counts_stand_beside_those_found() -> None:
    items = tuple(
        Item(path=f"/{number}", split=split, group="", label=label)
        for number, (split, label) in enumerate([("train", "a"), ("train", "b"), ("test", "b")])
    )
    task = TaskData(name="t", kind="classification", items=items, classes=("a", "b"))
    assert class_rows(task) == (("a", "1", "0", "0", "1"), ("b", "1", "0", "1", "2"), ("all", "2", "0", "1", "3"))
    assert published_rows(task, Expected(counts={"a": 1, "b": 1300})) == (("a", "1", "1", "0"), ("b", "1,300", "2", "-1,298"))
    by_split = Expected(counts={"test": 1}, tally=lambda found: Counter(item.split for item in found))
    assert published_rows(task, by_split) == (("test", "1", "1", "0"),)

"""The page of scores of a task of many classes, with clinical measures, in a browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.report import render_scorecard
from evaluation.report.score_columns import metrics_by_table
from warehouse.records import Score
from warehouse.store import canonical_json, write_json, write_parquet

CLASSES = tuple(
    f"{what}-{grade}"
    for what in ("ulcerative-colitis-grade", "barretts-segment", "retroflex-stomach", "dyed-resection-margins", "esophagitis")
    for grade in ("1", "1-2", "2", "2-3")
)
WHOLE = ("accuracy", "balanced_accuracy", "macro_f1", "quadratic_weighted_kappa", "brier", "ece")


def _head(root: Path, name: str, validation: str) -> list[Score]:
    """Scores of one head, and its predictions of two images a class by two devices: all right but the first."""
    count = 2 * len(CLASSES)
    labels = [CLASSES[number % len(CLASSES)] for number in range(count)]
    predicted = [CLASSES[1], *labels[1:]]
    shares = np.full((count, len(CLASSES)), 0.01, np.float32)
    shares[np.arange(count), [CLASSES.index(each) for each in predicted]] = 1 - 0.01 * (len(CLASSES) - 1)
    nothing = pa.nulls(count)
    table = pa.table(
        {
            "path": [f"{number}.jpg" for number in range(count)],
            **dict.fromkeys(("mask", "mask_encoding", "box"), nothing),
            "group": [f"Müller {number % 9}" for number in range(count)],
            "device": [("Olympus CF-HQ190L", "Fujifilm EC-760R-V/L")[number % 2] for number in range(count)],
            "label": labels,
            "prediction": predicted,
            "probabilities": list(shares),
        }
    )
    known = {"head": name, "task": "gastro", "kind": "ordinal", "classes": list(CLASSES), "data_id": "d"}
    write_parquet(root / f"{name}.parquet", table.replace_schema_metadata({"endoforge": canonical_json(known)}))
    write_json(root / f"{name}.json", {"format": 1, "data": str(root), "state": {}})
    each = [f"{measure}/{one}" for one in CLASSES for measure in ("sensitivity", "specificity", "auroc", "auprc")]
    details = {
        "image_size": "224",
        "val_quadratic_weighted_kappa": validation,
        "head_file": f"{name}.safetensors",
        "predictions_file": f"{name}.parquet",
        "difference": "+0.1200",
        "difference_low": "+0.0800",
        "difference_high": "+0.1600",
        "difference_to": "tf_efficientnetv2_xl.in21k_ft_in1k",
    }
    return [
        Score(
            score_id=f"{name}{metric}",
            model_id="m",
            model="vit_small_patch14_reg4_dinov2.lvd142m",
            task="gastro",
            data_id="d",
            split="test",
            head=name,
            metric=metric,
            value=0.8125,
            ci_low=0.7125,
            ci_high=0.9125,
            num_items=count,
            num_groups=9,
            seed=0,
            details=details,
        )
        for metric in (*WHOLE, *each, "no remission/auroc", "no remission/sensitivity")
    ]


def test_every_cell_lies_in_its_card_and_the_head_that_validation_chose_is_open(
    tmp_path: Path, tables_at: Callable[..., dict[int, list[dict[str, Any]]]]
) -> None:
    scores = [*_head(tmp_path, "knn", "0.7000"), *_head(tmp_path, "linear_grid", "0.9000")]
    render_scorecard(scores, root=tmp_path, path=tmp_path / "scorecard.html")
    page = (tmp_path / "scorecard.html").read_text()
    opened, _, closed = page.partition("<details open>")[2].partition("<details>")
    assert "linear grid <span" in opened
    assert "best on validation: weighted kappa 0.900" in opened
    assert "knn <span" in closed
    assert "Müller" not in page
    assert page.index("over the best reference") > page.index("<th>weighted kappa</th>") < page.index("<th>accuracy</th>")
    found = tables_at(tmp_path / "scorecard.html", 390, 1440, screenshots=tmp_path)
    for width, tables in found.items():
        assert len(tables) == 3 + 2 * 4, width  # whole twice and by class; of each head confusion, rates, by device, and the worst groups
        assert [table["outside"] for table in tables if table["outside"]] == [], width
        assert all(table["shown"] for table in tables)


def test_columns_of_whole_measures_have_the_deciding_one_first_and_six_at_most() -> None:
    names = ("accuracy", "sensitivity/a", "macro_f1", "kappa/b", "x/auroc", *"abcdefghi")
    assert metrics_by_table(names, primary="b") == (
        ("b", "accuracy", "macro_f1", "kappa/b"),
        ("a", "c", "d", "e", "f", "g"),
        ("h", "i"),
    )
    for shuffled in (("hd95", "iou", "dice", "precision"), ("iou", "precision", "hd95", "dice")):
        assert metrics_by_table(shuffled, primary="dice") == (("dice", "iou", "precision", "hd95"),), "whatever the order of the rows"

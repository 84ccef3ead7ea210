from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from evaluation.report import ReportData, render_report
from warehouse.records import Score


def score(data_id: str, head: str, value: float, val: float, num_items: int, **details: str) -> Score:
    return Score(
        score_id=f"{data_id}{head}{value}",
        model_id="m",
        model="ours",
        task="test",
        data_id=data_id,
        split="test",
        head=head,
        metric="balanced_accuracy",
        value=value,
        ci_low=value - 0.05,
        ci_high=value + 0.05,
        num_items=num_items,
        num_groups=9,
        seed=0,
        details={"val_balanced_accuracy": f"{val:.4f}", "image_size": "96", **details},
    )


def page(scores: tuple[Score, ...], path: Path) -> str:
    render_report(ReportData(title="t", scores=scores, own_models=("m",)), path)
    return path.read_text()


def test_two_sets_of_one_name_have_a_table_and_a_tile_each(tmp_path: Path) -> None:
    text = page((score("a" * 64, "knn", 0.95, 0.9, 30), score("b" * 64, "knn", 0.5, 0.6, 3000)), tmp_path / "r.html")
    assert "30 images, 9 groups" in text
    assert "3,000 images, 9 groups" in text
    assert re.findall(r'data-value="([\d.]+)"', text) == ["0.95", "0.5"]
    assert re.findall(r'<div class="tile"><b>([\d.]+)</b>', text) == ["0.950", "0.500"]


def test_the_headline_is_the_head_that_validation_chose_and_not_the_best_on_test(tmp_path: Path) -> None:
    text = page((score("a" * 64, "linear", 0.384, 0.2, 30), score("a" * 64, "knn", 0.194, 0.3, 30)), tmp_path / "r.html")
    assert re.findall(r'<div class="tile"><b>([\d.]+)</b><span>([^<]*)', text) == [
        ("0.194", "test: balanced accuracy, knn (chosen on validation)")
    ]


def test_a_table_that_mixes_resolutions_or_leaks_says_so(tmp_path: Path) -> None:
    ours = score("a" * 64, "knn", 0.6, 0.6, 30, leak="overlap 3", patients="unknown", leak_pretraining="unknown")
    other = replace(ours, model_id="o", model="lite0", value=0.7, details={**ours.details, "image_size": "224"})
    text = page((ours, other), tmp_path / "r.html")
    assert "saw the images at different sizes (96, 224 px)" in text
    assert "Between the splits: overlap 3. Patients: unknown." in text
    told = json.loads(re.search(r'id="report-data">(.*?)</script>', text, re.S).group(1))  # type: ignore[union-attr]
    assert [(s["leak"], s["patients"], s["leak_pretraining"]) for s in told["scores"]] == [("overlap 3", "unknown", "unknown")] * 2


def test_clips_are_called_so(tmp_path: Path) -> None:
    ours = score("a" * 64, "knn", 0.6, 0.6, 30, unit="clips")
    other = replace(ours, model_id="o", model="lite0", details={**ours.details, "image_size": "224"})
    text = page((ours, other), tmp_path / "r.html")
    assert "30 clips, 9 groups" in text
    assert "saw the clips at different sizes (96, 224 px)" in text


def test_one_model_scored_at_two_sizes_has_two_rows(tmp_path: Path) -> None:
    small = score("a" * 64, "knn", 0.573, 0.6, 30)
    large = replace(small, score_id="x", value=0.496, details={**small.details, "image_size": "224"})
    assert re.findall(r'data-value="([\d.]+)"', page((small, large), tmp_path / "r.html")) == ["0.573", "0.496"]

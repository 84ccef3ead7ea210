"""The page of scores, made from an evaluation that really ran."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.metrics import Interval
from evaluation.report import render_scorecard
from evaluation.rotation import rotation_rows
from evaluation.run import evaluate_model
from evaluation.tasks import fingerprint, read_task
from warehouse.records import Score

CONFIG = EvaluateConfig(num_bootstrap=20, few_shot=True, few_shot_draws=2, few_shot_counts=(1,), few_shot_shares=(0.5,), device="cpu")


@pytest.fixture(scope="module")
def scores(colours: Path, vit_folder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[Score, ...]]:
    root, task = tmp_path_factory.mktemp("lake"), read_task(colours)
    model = ModelRef(model_id="m", label="<model>", path=vit_folder)
    told = {"task": task, "identity": fingerprint(task), "config": CONFIG, "cache_dir": str(root / "cache"), "root": str(root)}
    return root, evaluate_model(model, **told, data=str(colours))  # type: ignore[arg-type]


def _heads(page: str) -> list[tuple[str, str]]:
    """Name of each head that can be opened, and what is said of its validation."""
    return re.findall(r'<summary>(.*?) <span class="pill">(.*?)</span></summary>', page)


def test_the_page_shows_each_head_and_names_no_patient_and_no_network(scores: tuple[Path, tuple[Score, ...]], tmp_path: Path) -> None:
    root, found = scores
    render_scorecard(found, root=root, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    heads = _heads(page)
    assert [name for name, _ in heads] == ["&lt;model&gt;, knn", "&lt;model&gt;, linear"]
    assert heads[0][1] == "best on validation: balanced accuracy 1.000"
    assert heads[1][1].startswith("validation: balanced accuracy ")
    assert page.count('aria-label="reliability"') == 2
    ids = {score.score_id[:12] for score in found if score.metric == "balanced_accuracy" and "head_file" in score.details}
    assert set(re.findall(r"Score <code>(\w+)</code>: with this id <code>endoforge predict --head</code>", page)) == ids
    assert page.count('aria-label="few-shot curve"') == 1
    assert "patient" not in page.replace("The patients or sequences", "")
    assert 'src="http' not in page
    assert 'href="http' not in page


def test_two_models_of_one_name_stay_two_rows(scores: tuple[Path, tuple[Score, ...]], tmp_path: Path) -> None:
    root, found = scores
    twin = [replace(score, score_id=f"twin {score.score_id}", model_id="other", value=0.123) for score in found]
    render_scorecard([*found, *found, *twin], root=root, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count('<td class="name">&lt;model&gt; m</td>') == page.count('<td class="name">&lt;model&gt; other</td>') == 2
    assert "0.123" in page
    assert "at different sizes" not in page
    larger = [replace(score, details={**score.details, "image_size": "224"}) for score in twin]
    render_scorecard([*found, *larger], root=root, path=tmp_path / "page.html")
    assert "seen at different sizes (28, 224 px)" in (tmp_path / "page.html").read_text()


def test_predictions_that_are_gone_leave_the_numbers(scores: tuple[Path, tuple[Score, ...]], tmp_path: Path) -> None:
    _, found = scores
    render_scorecard(found, root=tmp_path, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<summary>" not in page
    assert "macro f1" in page


def test_all_folds_have_their_spread_and_one_confusion_matrix_of_them_together(
    scores: tuple[Path, tuple[Score, ...]], tmp_path: Path
) -> None:
    root, found = scores
    whole = [score for score in found if "shots" not in score.details and score.metric == "accuracy"]
    lower = [replace(score, value=score.value - 0.1) for score in whole]
    pooled = {(score.model_id, score.head, score.metric): Interval(0.7, 0.6, 0.8) for score in whole}
    rows = rotation_rows([whole, lower], num_items=24, num_groups=4, pooled=pooled)
    render_scorecard(rows, root=root, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert [name for name, _ in _heads(page)] == ["&lt;model&gt;, knn", "&lt;model&gt;, linear"]
    value = float(rows[0].details["mean"])
    assert f'0.600 to 0.800</span> <span class="interval folds">2 folds: {value:.4f} ± 0.0707</span>' in page
    assert "over the best reference" not in page, "folds have no such difference, and an empty column would take the space of the others"
    counts = re.findall(r'<td class="cell"[^>]*>(\d+)</td>', page)
    assert sum(map(int, counts)) == 2 * 24  # heads, and the twelve test images of both folds


def test_devices_stand_apart(scores: tuple[Path, tuple[Score, ...]], tmp_path: Path) -> None:
    root, found = scores
    for file in {score.details["predictions_file"] for score in found if "predictions_file" in score.details}:
        table = pq.read_table(root / file)
        named = table.append_column("device", pa.array(["scope A" if n % 2 else "scope B" for n in range(table.num_rows)]))
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(named, tmp_path / file)
        shutil.copy(root / file.replace(".parquet", ".json"), tmp_path / file.replace(".parquet", ".json"))
    render_scorecard(found, root=tmp_path, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert page.count("<h3>By device</h3>") == 2
    assert page.count('<td class="name">scope A</td><td data-label="images">6</td><td data-label="groups">2</td>') == 2


def test_clips_are_called_so_everywhere(scores: tuple[Path, tuple[Score, ...]], tmp_path: Path) -> None:
    root, found = scores
    for file in {score.details["predictions_file"] for score in found if "predictions_file" in score.details}:
        table = pq.read_table(root / file)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table.append_column("site", pa.array(["A" if n % 2 else "B" for n in range(table.num_rows)])), tmp_path / file)
        shutil.copy(root / file.replace(".parquet", ".json"), tmp_path / file.replace(".parquet", ".json"))
    clips = [replace(score, details={**score.details, "unit": "clips"}) for score in found]
    larger = [replace(one, score_id=f"l {one.score_id}", details={**one.details, "image_size": "224"}) for one in clips]
    render_scorecard([*clips, *larger], root=tmp_path, path=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "12 test clips of 2 groups" in page
    assert "labelled training clips" in page
    assert "<h3>By site</h3>" in page
    assert "images" not in page


def test_without_scores_it_says_so(tmp_path: Path) -> None:
    render_scorecard([], root=tmp_path, path=tmp_path / "page.html")
    assert "No scores yet." in (tmp_path / "page.html").read_text()

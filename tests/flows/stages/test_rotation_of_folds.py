"""All folds of a task scored in turn, with one row of them together."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
from PIL import Image
from timm.models import save_for_hf

from curation.embedding import EmbedConfig
from evaluation.config import EvaluateConfig
from evaluation.report.score_columns import size_words
from evaluation.tasks import TaskError
from flows.job import Job
from flows.runners import make_runner
from flows.stages import evaluate_folds, evaluate_models
from warehouse.lake import open_lake


def ward(root: Path) -> Path:
    """Two classes of pictures of four patients."""
    rows = ["path,label,patient"]
    for patient in range(4):
        for label, level in (("bright", 200), ("dark", 40)):
            pixels = np.random.default_rng(patient).normal(level, 30, (32, 32, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(root / f"{label}{patient}.png")
            rows.append(f"{label}{patient}.png,{label},{patient}")
    (root / "labels.csv").write_text("\n".join(rows))
    return root


@pytest.mark.slow
def test_each_fold_is_a_scored_set_and_the_rotation_one_row_a_metric(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ward").mkdir()
    options: dict[str, Any] = {"depth": 1, "img_size": 32}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, pretrained_cfg_overlay={"input_size": (3, 32, 32)}, **options)
    save_for_hf(model, str(tmp_path / "vit"), model_args=options, safe_serialization=True)
    data, encoder = ward(tmp_path / "ward"), EmbedConfig()
    what: dict[str, Any] = {"models": [str(tmp_path / "vit")], "pairs": [("auto", data)], "encoder": encoder}
    told: dict[str, Any] = {"num_bootstrap": 20, "num_workers": 1, "k": (1,), "regularization": (1.0,)}
    config = EvaluateConfig(fold="all", random_draws=2, clip_frames=8, **told)
    with open_lake(tmp_path / "lake", create=True) as lake:
        job = Job(lake=lake, runner=make_runner("serial"))
        rows = evaluate_models(job, **what, config=config)
        again = evaluate_models(job, **what, config=config)
        stored = lake.rows(
            "SELECT details ->> 'fold' AS fold, count(*) AS n, min(num_items) AS items FROM scores GROUP BY ALL ORDER BY ALL"
        )
        of_folds = "model = 'random weights' AND (details ->> 'fold') <> 'all'"
        drawn = lake.rows(f"SELECT details ->> 'draws' AS draws FROM scores WHERE {of_folds}")
        paired = lake.rows("SELECT details ->> 'difference_to' AS beside FROM scores WHERE (details ->> 'difference') IS NOT NULL")
        with pytest.raises(ValueError, match="fold is 7; give 0 to 3, or all"):
            evaluate_folds(job, checkpoint=str(tmp_path / "vit"), task="auto", data=data, encoder=encoder, config=EvaluateConfig(fold=7))
    one_fold = (3 * 2 + 1) * 3  # models and heads, the guess without a picture, metrics
    assert [tuple(row.values()) for row in stored] == [(fold, one_fold, 2) for fold in "0123"] + [("all", one_fold, 8)]
    assert {row.score_id for row in again} == {row.score_id for row in rows}
    value_is = {row.model: row.details["value_is"] for row in rows}
    assert value_is == {
        "vit": "of all predictions pooled",
        "efficientnet-lite0": "of all predictions pooled",
        "random weights": "the mean of the folds",
        "no picture": "the mean of the folds",
    }
    why = {row.model: row.details["interval"] for row in rows}
    assert why == {
        "vit": "no interval: below 5 groups",
        "efficientnet-lite0": "no interval: below 5 groups",
        "random weights": "no interval: draws of weights have no common predictions",
        "no picture": "no interval: of a guess no predictions are kept",
    }
    assert {row["draws"] for row in drawn} == {"2"}
    assert {row["beside"] for row in paired} <= {"efficientnet-lite0", "random weights, draw 1", "random weights, draw 2", "no picture"}
    assert len(paired) == 4 * 6
    assert {(row.num_items, row.num_groups, row.details["num_folds"]) for row in rows} == {(8, 4, "4")}
    assert len(list((tmp_path / "lake" / "staging" / "evaluate").glob("*.safetensors"))) == 4, "features are made once for all folds"
    seen = {row.model: size_words(row) for row in rows}
    assert seen == {"vit": "32", "random weights": "32", "efficientnet-lite0": "32 (own 224)", "no picture": ""}
    said = capsys.readouterr().err
    spread = r"\d\.\d{4} ± \d\.\d{4} over 4 folds"
    of_four = r"\d\.\d{3} \(no interval: below 5 groups\)"
    assert re.search(rf"balanced_accuracy {of_four} of all predictions, {spread} vit\n", said)
    assert re.search(rf"balanced_accuracy {spread} random weights\n", said), "of draws no predictions are pooled"
    assert "evaluate: ward fold 3 is scored already\n" in said
    alone = "is an image network and sees each frame of ward alone; clip_frames is of video networks"
    assert f"evaluate: vit {alone}\n" in said
    assert "evaluate: efficientnet-lite0 sees images at 32 px, not at its own 224\n" in said


def test_a_set_without_folds_is_refused_before_any_work(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        for label in ("a", "b"):
            (tmp_path / "data" / split / label).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / "data" / split / label / "1.png")
    with open_lake(tmp_path / "lake", create=True) as lake, pytest.raises(TaskError, match="has one test split and no folds"):
        evaluate_folds(
            Job(lake=lake, runner=make_runner("serial")),
            checkpoint="none",
            task="auto",
            data=tmp_path / "data",
            encoder=EmbedConfig(),
            config=EvaluateConfig(fold="all"),
        )

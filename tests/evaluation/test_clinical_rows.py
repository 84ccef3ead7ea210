"""Clinical measures as rows: against scikit-learn, in a real evaluation, and again from what it stored."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, recall_score, roc_auc_score

from evaluation.backbone import ModelRef
from evaluation.clinical_rows import clinical_scores
from evaluation.config import EvaluateConfig
from evaluation.replay import from_head, from_predictions, open_score
from evaluation.run import evaluate_model
from evaluation.tasks import BinaryCut, fingerprint, read_task

MAYO = ("Mayo 0", "Mayo 1", "Mayo 2", "Mayo 3")


def test_rows_by_class_and_remission_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 80)
    probabilities = rng.dirichlet(np.ones(4), 80).astype(np.float32)
    found = clinical_scores(labels, probabilities, np.arange(80), classes=MAYO, cut=BinaryCut(name="active", positive=MAYO[2:]))
    called = probabilities.argmax(1)
    for number, name in enumerate(MAYO):
        truth = labels == number
        assert found[f"sensitivity/{name}"].value == pytest.approx(recall_score(truth, called == number))
        assert found[f"specificity/{name}"].value == pytest.approx(recall_score(~truth, called != number))
        assert found[f"auroc/{name}"].value == pytest.approx(roc_auc_score(truth, probabilities[:, number]))
        assert found[f"auprc/{name}"].value == pytest.approx(average_precision_score(truth, probabilities[:, number]))
        assert found[f"auroc/{name}"].low < found[f"auroc/{name}"].value < found[f"auroc/{name}"].high
    active, score = labels >= 2, probabilities[:, 2:].sum(1)
    assert found["active/auroc"].value == pytest.approx(roc_auc_score(active, score))
    assert found["active/sensitivity"].value == pytest.approx(recall_score(active, score >= 0.5))
    assert found["active/specificity"].value == pytest.approx(recall_score(~active, score < 0.5))
    one_hot = np.eye(4)[labels]
    assert found["brier"].value == pytest.approx(sum(brier_score_loss(one_hot[:, c], probabilities[:, c]) for c in range(4)), abs=1e-6)
    assert math.isnan(found["ece"].low)


def test_an_evaluation_gives_them_if_asked_and_a_replay_the_same_numbers(
    vit_folder: str, cnn_folder: str, colours: Path, squares: Path, tmp_path: Path
) -> None:
    for folder, data, head, expected in (
        (vit_folder, colours, "knn", {"sensitivity/red", "auprc/blue", "ece", "accuracy"}),
        (cnn_folder, squares, "linear", {"precision", "recall", "hd95", "dice"}),
    ):
        task, model = read_task(data), ModelRef(model_id="m", label="m", path=folder)
        config = EvaluateConfig(heads=(head,), clinical=True, segmentation_epochs=2, segmentation_learning_rates=(0.03,), device="cpu")
        scores = evaluate_model(
            model,
            task=task,
            identity=fingerprint(task),
            config=config,
            cache_dir=str(tmp_path / "cache"),
            root=str(tmp_path),
            data=str(data),
        )
        assert expected < {score.metric for score in scores}
        for score in scores:
            stored = open_score(score, tmp_path)
            assert from_predictions(stored) == pytest.approx(score.value, nan_ok=True)
            if score.metric in ("hd95", "auprc/blue"):
                assert from_head(stored, data) == pytest.approx(score.value, abs=1e-5)
            if score.metric == "hd95":
                assert score.value > 1
                assert score.ci_low <= score.value <= score.ci_high

"""Stored heads and predictions, replay, few-shot curves, and what the test split may change."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from evaluation.backbone import ModelRef
from evaluation.config import EvaluateConfig
from evaluation.few_shot import draw_images, interval_of_draws
from evaluation.heads import HeadError
from evaluation.replay import from_head, from_predictions, open_score
from evaluation.run import evaluate_model
from evaluation.sequence_scores import SEQUENCE_METRICS
from evaluation.tasks import TaskData, fingerprint, read_task
from warehouse.records import Score

QUICK = EvaluateConfig(
    k=(1, 3),
    regularization=(0.01, 1.0),
    segmentation_epochs=4,
    segmentation_learning_rates=(0.03,),
    decoder_epochs=2,
    num_bootstrap=20,
    grid_steps=40,
    fpn_width=8,
    dpt_width=8,
)


def evaluate(folder: str, task: TaskData, config: EvaluateConfig, root: Path, data: Path | None = None) -> tuple[Score, ...]:
    model = ModelRef(model_id="abc", label="ours", path=folder)
    told = {"cache_dir": str(root / "cache"), "root": str(root), "data": str(data) if data else None}
    return evaluate_model(model, task=task, identity=fingerprint(task), config=config, **told)  # type: ignore[arg-type]


def test_equal_weights_with_another_preprocessing_are_another_score(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    folder, task, config = tmp_path / "ours", read_task(colours), replace(QUICK, heads=("knn",))
    shutil.copytree(vit_folder, folder)
    before = evaluate(str(folder), task, config, tmp_path, colours)
    told = json.loads((folder / "config.json").read_text())
    told["pretrained_cfg"] |= {"mean": [0.0, 0.0, 0.0], "std": [0.01, 0.01, 0.01]}
    (folder / "config.json").write_text(json.dumps(told))
    after = evaluate(str(folder), task, config, tmp_path, colours)
    for what in ("head_file", "backbone_config"):
        assert {score.details[what] for score in before}.isdisjoint(score.details[what] for score in after)
    assert {score.score_id for score in before}.isdisjoint(score.score_id for score in after)
    assert from_head(open_score(after[0], tmp_path), colours) == after[0].value
    with pytest.raises(HeadError, match=r"config.json of .* is another than the one that was scored"):
        from_head(open_score(before[0], tmp_path), colours)


def test_every_class_score_is_computed_again_from_what_is_stored(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    heads = ("knn", "linear", "linear_grid", "ordinal")
    task = read_task(colours, kind="ordinal", order=("blue", "green", "red"))
    scores = evaluate(vit_folder, task, replace(QUICK, heads=heads), tmp_path, colours)
    assert list(dict.fromkeys(score.head for score in scores)) == list(heads)
    for score in scores:
        stored = open_score(score, tmp_path)
        assert from_predictions(stored) == score.value
        if score.metric == "accuracy":
            assert from_head(stored, colours) == score.value
    first = open_score(scores[0], tmp_path)
    rows = first.predictions.to_pylist()
    assert len(rows) == 12
    assert rows[0]["path"] == "p4_red_0.png"
    assert rows[0]["group"] == "patient 4"
    assert rows[0]["label"] == "red"
    for row in rows:
        assert task.classes[int(np.argmax(row["probabilities"]))] == row["prediction"]
    assert json.loads(first.predictions.schema.metadata[b"endoforge"])["classes"] == list(task.classes)
    first.head.with_suffix(".json").unlink()
    with pytest.raises(HeadError, match="is not there or not readable"):
        open_score(scores[0], tmp_path)
    again = evaluate(vit_folder, task, replace(QUICK, heads=heads), tmp_path, colours)
    assert again == scores
    (tmp_path / scores[0].details["predictions_file"]).unlink()
    assert evaluate(vit_folder, task, replace(QUICK, heads=heads), tmp_path, colours) == scores
    assert (tmp_path / scores[0].details["predictions_file"]).is_file(), "predictions that are gone are made again"
    mean = replace(scores[0], details={"shots": "1 image", "draws": "3"})
    with pytest.raises(HeadError, match="is of a few-shot curve"):
        open_score(mean, tmp_path)


def test_every_mask_score_is_computed_again_from_what_is_stored(cnn_folder: str, squares: Path, tmp_path: Path) -> None:
    heads = ("linear", "boosted_linear", "fpn", "unet", "dpt")
    config = replace(QUICK, heads=heads, boosted_test_scales=(1.0, 1.5), decoder_test_scales=(1.5,))
    task = read_task(squares)
    metrics = ("dice", "iou", *SEQUENCE_METRICS)
    scores = evaluate(cnn_folder, replace(task, own_protocol=replace(task.protocol, metrics=metrics)), config, tmp_path)
    assert list(dict.fromkeys(score.head for score in scores)) == ["linear_segmentation", *heads[1:]]
    assert {score.metric for score in scores} == set(metrics)
    for score in scores:
        stored = open_score(score, tmp_path)
        assert from_predictions(stored) == pytest.approx(score.value, abs=1e-12)
        if score.metric == "dice" or (score.metric in SEQUENCE_METRICS and score.head == "linear_segmentation"):
            assert from_head(stored, squares) == pytest.approx(score.value, abs=1e-6)
    of_heads = {score.head: score.details for score in scores}
    assert [of_heads["boosted_linear"][name] for name in ("input_size", "test_scales", "test_views")] == ["128", "1 1.5", "4"]
    assert [of_heads["fpn"][name] for name in ("input_size", "test_scales", "test_views")] == ["64", "1.5", "1"]
    assert "input_size" not in of_heads["linear_segmentation"]
    table = pq.read_table(tmp_path / scores[0].details["predictions_file"])
    assert table["mask"][0].as_py() == "masks/4.png"
    assert table["predicted_mask"][0].as_py().startswith(b"\x89PNG")


def test_masks_of_0_and_1_are_read_as_such_when_a_score_is_computed_again(cnn_folder: str, squares: Path, tmp_path: Path) -> None:
    shutil.copytree(squares, tmp_path / "ones")
    for file in (tmp_path / "ones" / "masks").iterdir():
        Image.fromarray(np.asarray(Image.open(file)) // 255).save(file)
    plain = evaluate(cnn_folder, read_task(squares), QUICK, tmp_path / "a")[0]
    score = evaluate(cnn_folder, read_task(tmp_path / "ones"), QUICK, tmp_path / "b")[0]
    assert score.value == plain.value
    assert from_head(open_score(score, tmp_path / "b"), tmp_path / "ones") == pytest.approx(score.value, abs=1e-6)


def test_a_transformer_gives_maps_for_every_mask_head(vit_folder: str, squares: Path, tmp_path: Path) -> None:
    config = replace(QUICK, heads=("boosted_linear", "fpn", "dpt"), boosted_test_scales=(1.0, 1.5), image_size=56)
    scores = evaluate(vit_folder, read_task(squares), config, tmp_path)
    assert [score.details["tokens"] for score in scores if score.metric == "dice"] == ["8x8", "4x4", "4x4"]


def test_test_labels_change_no_choice_and_no_prediction(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    task = read_task(colours)
    turned = dict(zip(task.classes, task.classes[1:] + task.classes[:1], strict=True))
    items = tuple(replace(item, label=turned[str(item.label)]) if item.split == "test" else item for item in task.items)
    config = replace(QUICK, heads=("knn", "linear"), few_shot=True, few_shot_counts=(2,), few_shot_shares=(0.5,), few_shot_draws=2)
    true = evaluate(vit_folder, task, config, tmp_path / "true")
    false = evaluate(vit_folder, replace(task, items=items), config, tmp_path / "false")
    files = ("head_file", "predictions_file")
    assert [{k: v for k, v in s.details.items() if k not in files} for s in true] == [
        {k: v for k, v in s.details.items() if k not in files} for s in false
    ]
    assert [score.value for score in true] != [score.value for score in false]
    for one, other in zip(true, false, strict=True):
        if "predictions_file" in one.details:
            columns = [open_score(s, tmp_path / name).predictions for s, name in ((one, "true"), (other, "false"))]
            assert columns[0]["probabilities"].equals(columns[1]["probabilities"])
            heads = [(tmp_path / name / s.details["head_file"]).read_bytes() for s, name in ((one, "true"), (other, "false"))]
            assert heads[0] == heads[1]


def test_the_few_shot_curve_has_draws_and_their_mean(vit_folder: str, colours: Path, tmp_path: Path) -> None:
    config = replace(QUICK, heads=("knn",), few_shot=True, few_shot_counts=(1, 2, 9), few_shot_shares=(0.5,), few_shot_draws=3)
    scores = evaluate(vit_folder, read_task(colours), config, tmp_path)
    curve = [score for score in scores if "shots" in score.details]
    assert [(s.details["shots"], s.details["draw"]) for s in curve] == [
        (shots, draw) for shots in ("1 per class", "2 per class", "50%") for draw in ("0", "1", "2", "mean")
    ]
    assert {s.metric for s in curve} == {"balanced_accuracy"}
    one, mean = curve[0], curve[3]
    assert (one.details["train_images"], one.details["train_patients"], one.details["val_images"]) == ("3", "1", "3")
    assert mean.value == pytest.approx(np.mean([s.value for s in curve[:3]]))
    assert mean.ci_low <= mean.value <= mean.ci_high <= 1
    with pytest.raises(HeadError, match="is of a few-shot curve, so it has no stored head"):
        open_score(one, tmp_path)


def test_masks_have_a_few_shot_curve_of_images(vit_folder: str, squares: Path, tmp_path: Path) -> None:
    told: dict[str, Any] = {"few_shot": True, "few_shot_counts": (1, 5, 18), "few_shot_shares": (0.5,), "few_shot_draws": 2}
    config = replace(QUICK, heads=("linear", "boosted_linear"), image_size=56, boosted_test_scales=(1.0,), **told)
    scores = evaluate(vit_folder, read_task(squares), config, tmp_path)
    curve = [score for score in scores if "shots" in score.details]
    assert [(s.details["shots"], s.details["draw"]) for s in curve] == [
        (shots, draw) for shots in ("1 image", "5 images", "50%") for draw in ("0", "1", "mean")
    ]
    assert {(s.head, s.metric) for s in curve} == {("linear_segmentation", "dice")}
    one, other, mean = curve[3:6]
    assert (one.details["train_images"], one.details["train_patients"], one.details["val_images"]) == ("5", "5", "5")
    assert mean.value == pytest.approx((one.value + other.value) / 2)
    assert mean.ci_low <= mean.value <= mean.ci_high


def test_a_draw_takes_few_patients_and_parts_of_larger_draws() -> None:
    labels = np.array([0, 0, 1, 1, 0, 0, 1, 1, 1])
    patients = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])
    for seed in range(8):
        one, two, all_of_them = (draw_images(labels, patients, [n, n], np.random.default_rng(seed)) for n in (1, 2, 99))
        assert sorted(labels[one]) == [0, 1]
        assert len(set(patients[two])) == 1, "two images of each class are from one patient"
        assert set(one) < set(two) < set(all_of_them)
        assert all_of_them.tolist() == list(range(9))
    draws = [draw_images(labels, patients, [1, 1], np.random.default_rng(seed)).tolist() for seed in range(8)]
    assert len({tuple(draw) for draw in draws}) > 2


def test_the_interval_over_draws_is_students() -> None:
    found = interval_of_draws([0.2, 0.4, 0.6])
    half = 4.302652729749464 * 0.2 / np.sqrt(3)
    assert (found.value, found.low, found.high) == pytest.approx((0.4, 0.4 - half, 0.4 + half))
    assert interval_of_draws([1.0, 1.0, 0.9]).high == 1.0
